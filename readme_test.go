package ringfd_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/internal/kernels"
	"github.com/ringfd/ringfd/uring"
)

var update = flag.Bool("update", false, "write the tables into README.md")

// TestReadmeExample builds and runs the first Go block of the README.
func TestReadmeExample(t *testing.T) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command in the PATH")
	}
	if os.Getenv("RINGFD_TEST_EXEC") != "" {
		t.Skip("what is built here does not run here; a run that is not emulated would make this run")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "example.exe")
	if err := os.WriteFile(source, []byte(block(t, "README.md", "go")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), goCommand, "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, backend := range []string{"net", "auto"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes milliseconds
		cmd := exec.CommandContext(ctx, program)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // for the stacks
		cmd.WaitDelay = 10 * time.Second
		cmd.Env = append(os.Environ(), "RINGFD_BACKEND="+backend)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		cancel()
		if want := "hello, connection closed by peer\n"; err != nil || string(out) != want {
			t.Errorf("backend %s: printed %q, %v, want %q\n%s", backend, out, err, want, &stderr)
		}
	}
}

// TestReadmeFeatures compares the table in the README with that of the engine.
func TestReadmeFeatures(t *testing.T) {
	var want strings.Builder
	want.WriteString("| feature | Linux | used | what for | without it |\n|---|---|---|---|---|\n")
	for _, f := range uring.FeatureTable {
		used := "not yet"
		if f.Used {
			used = "yes"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s | %s |\n", f.Name, f.Since, used, f.For, f.Without)
	}
	readmeTable(t, "features", want.String())
}

// TestReadmeKernels compares the table in the README with the results that are
// kept.
func TestReadmeKernels(t *testing.T) {
	results, err := kernels.Load("internal/kernels/results.json")
	if err != nil || len(results.Kernels) == 0 {
		t.Fatal("no results of kernels: ", err)
	}
	readmeTable(t, "kernels", results.Table())
}

// readmeTable compares a table in the README with what it should be, or writes it.
func readmeTable(t *testing.T, name, want string) {
	t.Helper()
	begin, end := t.Name()+" -update .` writes this table -->\n", "<!-- end of "+name+" -->"
	before, rest, found := strings.Cut(read(t, "README.md"), begin)
	got, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		t.Fatalf("README.md does not have %q and then %q", begin, end)
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the table of %s is not as it should be; write it with\n\tgo test -run %s -update .", name, t.Name())
	}
}

// TestSeccompProfile checks that the rule in SECURITY.md allows the three
// system calls of io_uring and nothing else.
func TestSeccompProfile(t *testing.T) {
	var rule struct {
		Names  []string
		Action string
	}
	if err := json.Unmarshal([]byte(block(t, "SECURITY.md", "json")), &rule); err != nil {
		t.Fatal(err)
	}
	want := []string{"io_uring_setup", "io_uring_enter", "io_uring_register"}
	if !slices.Equal(rule.Names, want) || rule.Action != "SCMP_ACT_ALLOW" {
		t.Errorf("the rule is %+v, want to allow %v", rule, want)
	}
}

// TestSecurityNamesTests: what SECURITY.md names as the tests of its promises, by
// name or by the beginning of names, is there.
func TestSecurityNamesTests(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	var all []string
	for _, dir := range []string{".", "uring", "internal/selection"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, m := range declared.FindAllStringSubmatch(read(t, file), -1) {
				all = append(all, m[1])
			}
		}
	}
	named := regexp.MustCompile("`(Test\\w+)[`/]").FindAllStringSubmatch(read(t, "SECURITY.md"), -1)
	if len(named) == 0 {
		t.Error("SECURITY.md names no test")
	}
	for _, m := range named {
		if !slices.ContainsFunc(all, func(name string) bool { return strings.HasPrefix(name, m[1]) }) {
			t.Errorf("SECURITY.md names %s, which is no test", m[1])
		}
	}
}

// block returns the first block of a language in a Markdown file.
func block(t *testing.T, file, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, file), "\n```"+language+"\n")
	code, _, found2 := strings.Cut(rest, "\n```\n")
	if !found || !found2 {
		t.Fatalf("%s has no block of %s", file, language)
	}
	return code
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
