package ringfd_test

import (
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "github.com/ringfd/ringfd"
	giouring = "github.com/pawelgaczynski/giouring"
)

// ours says which of our packages each package may import: those of all files
// that are not tests, for whatever system they are.
var ours = map[string][]string{
	".":         {"accept", "fd", "uring"},
	"fd":        {},
	"accept":    {"fd"},
	"uring":     {"accept", "fd", "internal/testsize"},
	"zapevents": {"fd"},

	"bench":         {".", "bench/control", "bench/load", "bench/server", "bench/soak"},
	"bench/control": {},
	"bench/load":    {"bench/control"},
	"bench/page":    {"bench", "bench/load"},
	"bench/server":  {".", "accept", "bench/control", "fd"},
	"bench/soak":    {"bench/control", "bench/load"},
}

// TestImportsOfOurs proves the picture of the packages in ARCHITECTURE.md.
func TestImportsOfOurs(t *testing.T) {
	seen := make(map[string]bool)
	eachFile(t, func(path string, imports []string, tags constraint.Expr) {
		if tags != nil && !tags.Eval(func(tag string) bool { return tag != "sim" }) {
			return // a kernel for tests
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		allowed, ok := ours[dir]
		if !ok {
			return // commands and internal packages
		}
		seen[dir] = true
		for _, name := range imports {
			if name != module && !strings.HasPrefix(name, module+"/") {
				continue
			}
			short := strings.TrimPrefix(strings.TrimPrefix(name, module), "/")
			if short == "" {
				short = "."
			}
			if !slices.Contains(allowed, short) {
				t.Errorf("%s imports %s; package %s may import of ours only %v", path, name, dir, allowed)
			}
		}
	})
	for dir := range ours {
		if !seen[dir] {
			t.Errorf("there is no package %s", dir)
		}
	}
}

// TestNothingLogs: the library has events, and leaves it to others to log them.
func TestNothingLogs(t *testing.T) {
	library := []string{".", "fd", "accept", "uring"}
	seen := 0
	eachFile(t, func(path string, imports []string, _ constraint.Expr) {
		if !slices.Contains(library, filepath.ToSlash(filepath.Dir(path))) {
			return
		}
		seen++
		for _, name := range imports {
			if name == "log" || name == "log/slog" || name == "log/syslog" {
				t.Errorf("%s imports %s", path, name)
			}
		}
	})
	if seen == 0 {
		t.Error("this test looks at no file")
	}
}

// TestGiouringIsTagged: only files with its build tag import giouring, which
// does not link without a linker flag.
func TestGiouringIsTagged(t *testing.T) {
	found := 0
	eachFile(t, func(path string, imports []string, tags constraint.Expr) {
		if !slices.Contains(imports, giouring) {
			return
		}
		found++
		without := func(tag string) bool { return tag != "giouring" }
		if tags == nil || tags.Eval(without) {
			t.Errorf("%s imports giouring and is built without its tag", path)
		}
	})
	if found == 0 {
		t.Error("no file imports giouring: this test looks at nothing")
	}
}

// eachFile calls f for each Go file of this module, the bench and the command
// that is no test.
func eachFile(t *testing.T, f func(path string, imports []string, tags constraint.Expr)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || path == "dist" || filepath.ToSlash(path) == "bench/peers" || filepath.ToSlash(path) == "bench/apps") {
				return filepath.SkipDir // no package, or not ours
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range file.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, name)
		}
		var tags constraint.Expr
		for _, group := range file.Comments {
			for _, line := range group.List {
				if group.Pos() < file.Package && constraint.IsGoBuild(line.Text) {
					if tags, err = constraint.Parse(line.Text); err != nil {
						return err
					}
				}
			}
		}
		f(path, imports, tags)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDependencies: who imports the library gets golang.org/x/sys with it and
// nothing else, on every system.
func TestDependencies(t *testing.T) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("%v; a Go installation in PATH would make this run", err)
	}
	for _, goos := range []string{"linux", "windows", "darwin", "freebsd", "openbsd"} {
		list := exec.CommandContext(t.Context(), goCommand, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
		list.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", goos, err)
		}
		deps := strings.Fields(string(out))
		if !slices.Contains(deps, module) {
			t.Fatalf("go list for %s gave %q", goos, deps)
		}
		for _, dep := range deps {
			if dep != module && !strings.HasPrefix(dep, module+"/") && !strings.HasPrefix(dep, "golang.org/x/sys/") {
				t.Errorf("on %s the library depends on %s", goos, dep)
			}
		}
	}
}
