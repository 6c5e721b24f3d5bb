package main

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed testdata
var testdata embed.FS

// patches are what is changed in Go's sources: each text, which is there once, gets
// another in front of it.
var patches = []struct{ file, before, insert string }{
	{"net/dial.go",
		"\ttrace, _ := ctx.Value(nettrace.TraceKey{}).(*nettrace.Trace)\n\tif trace != nil {\n\t\traStr",
		"\tif c, err, ok := sd.foreignDial(ctx, ra); ok {\n\t\treturn c, err\n\t}\n"},
	{"net/dial.go",
		"\tswitch la := la.(type) {\n\tcase *TCPAddr:\n\t\tif sl.MultipathTCP() {",
		"\tif l, err, ok := sl.foreignListen(ctx, la); ok {\n\t\treturn l, err\n\t}\n"},
	// What every test binary imports, and nothing else does: so ours is in each of
	// them, and package net does not import what imports it.
	{"testing/internal/testdeps/deps.go",
		"\t\"internal/testlog\"\n",
		"\t_ \"internal/ringfd/glue\"\n"},
}

// copyGo makes dst a GOROOT with the sources of src, changed as patches say, and
// with this tree, root, as internal/ringfd.
func copyGo(src, dst, root string) error {
	version, err := os.ReadFile(filepath.Join(src, "VERSION"))
	if err != nil {
		return err
	}
	stamp := filepath.Join(dst, "copied")
	if had, err := os.ReadFile(stamp); err != nil || !bytes.Equal(had, version) {
		if err := os.RemoveAll(dst); err != nil {
			return err
		}
		if err := os.CopyFS(filepath.Join(dst, "src"), os.DirFS(filepath.Join(src, "src"))); err != nil {
			return err
		}
		entries, err := os.ReadDir(src)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() != "src" {
				if err := os.Symlink(filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())); err != nil {
					return err
				}
			}
		}
		if err := os.WriteFile(stamp, version, 0o666); err != nil {
			return err
		}
	}

	changed := make(map[string]string)
	for _, p := range patches {
		text, ok := changed[p.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(src, "src", p.file))
			if err != nil {
				return err
			}
			text = string(b)
		}
		if n := strings.Count(text, p.before); n != 1 {
			return fmt.Errorf("%s of this Go has %d times instead of once:\n%s", p.file, n, p.before)
		}
		changed[p.file] = strings.Replace(text, p.before, p.insert+p.before, 1)
	}
	for file, text := range changed {
		if err := writeIfOther(filepath.Join(dst, "src", file), []byte(text)); err != nil {
			return err
		}
	}
	return copyOurs(root, filepath.Join(dst, "src"))
}

// copyOurs puts this tree, what it depends on, and the files of testdata under src.
func copyOurs(root, src string) error {
	ours := filepath.Join(src, "internal", "ringfd")
	if err := os.RemoveAll(ours); err != nil {
		return err
	}
	unix, err := output(root, nil, "go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix")
	if err != nil {
		return err
	}
	for to, from := range map[string]string{
		".":                 root,
		"fd":                filepath.Join(root, "fd"),
		"accept":            filepath.Join(root, "accept"),
		"uring":             filepath.Join(root, "uring"),
		"internal/testsize": filepath.Join(root, "internal", "testsize"),
		"unix":              unix,
	} {
		if err := copyPackage(os.DirFS(from), filepath.Join(ours, to), false); err != nil {
			return err
		}
	}
	for to, from := range map[string]string{"internal/ringfd": "ringfd", "internal/ringfd/glue": "glue", "net": "net"} {
		files, err := fs.Sub(testdata, "testdata/"+from)
		if err != nil {
			return err
		}
		if err := copyPackage(files, filepath.Join(src, to), true); err != nil {
			return err
		}
	}
	return nil
}

// renamed are the imports of our tree as they are in the copy; and what our backend
// on net makes its connections with, which has to be Go's own there.
var renamed = strings.NewReplacer(
	`"github.com/ringfd/ringfd"`, `"internal/ringfd"`,
	`"github.com/ringfd/ringfd/`, `"internal/ringfd/`,
	`"golang.org/x/sys/unix"`, `"internal/ringfd/unix"`,
	"net.Dialer{", "net.ForeignDialer{",
	"net.ListenConfig{", "net.ForeignListenConfig{",
)

// copyPackage copies the Go and assembly files of a package, and its tests or not.
func copyPackage(from fs.FS, to string, tests bool) error {
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	entries, err := fs.ReadDir(from, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); ext != ".go" && ext != ".s" || !tests && strings.HasSuffix(name, "_test.go") {
			continue
		}
		if strings.HasSuffix(name, "_giouring_linux.go") || strings.HasSuffix(name, "_sim_linux.go") {
			continue // of build tags, with other imports
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		if err := writeIfOther(filepath.Join(to, name), []byte(renamed.Replace(string(text)))); err != nil {
			return err
		}
	}
	return nil
}

func writeIfOther(path string, text []byte) error {
	if had, err := os.ReadFile(path); err == nil && bytes.Equal(had, text) {
		return nil
	}
	return os.WriteFile(path, text, 0o666)
}
