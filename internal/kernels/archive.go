package kernels

import (
	"fmt"
	"io"
	"os"
)

// Archive writes an initramfs: a cpio archive in the format that the kernel calls
// newc. Reference: Documentation/driver-api/early-userspace/buffer-format.rst of
// the kernel.
type Archive struct {
	w     io.Writer
	inode int
	err   error
}

// NewArchive returns an Archive that is written to w.
func NewArchive(w io.Writer) *Archive { return &Archive{w: w} }

const (
	directory = 0o040755
	program   = 0o100755
)

// Dir adds a directory.
func (a *Archive) Dir(name string) { a.add(name, directory, nil) }

// File adds a file that may be executed.
func (a *Archive) File(name string, content []byte) { a.add(name, program, content) }

// Copy adds a file of this machine.
func (a *Archive) Copy(name, from string) {
	content, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.File(name, content)
}

// Close ends the archive and returns the first error.
func (a *Archive) Close() error {
	a.add("TRAILER!!!", 0, nil)
	return a.err
}

func (a *Archive) add(name string, mode int, content []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	const uid, gid, links, mtime, device = 0, 0, 1, 0, 0
	header := "070701"
	for _, field := range []int{
		a.inode, mode, uid, gid, links, mtime, len(content),
		device, device, device, device, len(name) + 1, 0,
	} {
		header += fmt.Sprintf("%08X", field)
	}
	a.write(padded(append([]byte(header), name+"\x00"...)))
	a.write(padded(content))
}

// padded fills b up to a multiple of four bytes.
func padded(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (a *Archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
}
