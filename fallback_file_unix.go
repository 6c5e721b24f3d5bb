//go:build unix

package ringfd

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// duplicate makes a file of a descriptor, which does not block: so it has deadlines. The
// Fd of a file that net makes lets the two of them block, and then nothing would end
// calls that wait; that of this one does not.
func duplicate(c interface {
	syscall.Conn
	File() (*os.File, error)
}, name string) (*os.File, error) {
	var dup int
	err := control(c, func(h uintptr) (err error) {
		if dup, err = unix.FcntlInt(h, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("dup", err)
		}
		return nil
	})
	if err != nil {
		return nil, bare(err)
	}
	if err := syscall.SetNonblock(dup, true); err != nil {
		_ = syscall.Close(dup)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(dup), name), nil
}

func unblock(h uintptr) error { return syscall.SetNonblock(int(h), true) }
