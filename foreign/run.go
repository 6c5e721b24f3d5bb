package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// outcome is what became of a test.
type outcome string

const (
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip"
	crashed outcome = "crash" // it took the process with it, or did not end in time
)

// binary is a built test binary.
type binary struct {
	path, dir string // dir is where it runs
	args      []string
	timeout   time.Duration
	test2json string
	env       []string
	tests     []string // of top level, what is run
	known     func(test, kind string) bool
	log       io.Writer
}

// results maps names of tests, subtests too, to what became of them.
type results map[string]outcome

func (r results) count(o outcome) (n int) {
	for _, got := range r {
		if got == o {
			n++
		}
	}
	return n
}

// knownTimeout is how long a test may take that is known to fail: one that panics may
// wait for its server for ever.
const knownTimeout = 15 * time.Second

// all runs every test on a backend: those that are known to fail alone, the others in
// one process first, as the project means it; where a test ends that, the suspects each in one of their own, and the rest
// together again.
func (b *binary) all(kind string) (results, error) {
	got := make(results)
	var left []string
	for _, test := range b.tests {
		if kind == "plain" || !b.known(test, kind) {
			left = append(left, test)
		} else if err := b.alone(kind, got, test, knownTimeout); err != nil {
			return nil, err
		}
	}
	for len(left) > 0 {
		begun, err := b.run(kind, got, left, b.timeout)
		if err != nil {
			return nil, err
		}
		suspects := slices.DeleteFunc(slices.Clone(begun), func(test string) bool { _, ended := got[test]; return ended })
		for _, test := range suspects {
			if err := b.alone(kind, got, test, b.timeout/3); err != nil {
				return nil, err
			}
		}
		before := len(left)
		left = slices.DeleteFunc(slices.Clone(left), func(test string) bool { _, ended := got[test]; return ended })
		if len(left) == before { // it ended without a test, or does not know these
			for _, test := range left {
				if err := b.alone(kind, got, test, b.timeout/3); err != nil {
					return nil, err
				}
			}
			break
		}
	}
	return got, nil
}

// alone runs one test in a process of its own, which may end in any way.
func (b *binary) alone(kind string, got results, test string, timeout time.Duration) error {
	own := make(results)
	if _, err := b.run(kind, own, []string{test}, timeout); err != nil {
		return err
	}
	if own[test] == "" {
		own[test] = crashed
	}
	for name, o := range own {
		got[name] = o
	}
	return nil
}

// run runs tests in one process and adds what became of them to got. It returns those
// of top level that began.
func (b *binary) run(kind string, got results, tests []string, timeout time.Duration) (begun []string, err error) {
	names := make([]string, len(tests))
	for i, test := range tests {
		names[i] = regexp.QuoteMeta(test)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout+30*time.Second)
	defer cancel()
	args := append([]string{"-t", b.path, "-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + timeout.String(),
		"-test.run=^(" + strings.Join(names, "|") + ")$"}, b.args...)
	c := exec.CommandContext(ctx, b.test2json, args...)
	c.Dir = b.dir
	c.Env = append(b.env, "RINGFD_FOREIGN="+kind, "PWD="+b.dir)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	out, in := io.Pipe()
	c.Stdout, c.Stderr = in, in
	fmt.Fprintf(b.log, "\n# %s %s, %d tests\n", b.path, kind, len(tests))
	go func() {
		_ = c.Run() // what failed is in its output
		_ = in.Close()
	}()
	defer out.Close()

	events := bufio.NewScanner(out)
	events.Buffer(nil, 64<<20)
	for events.Scan() {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(events.Bytes(), &e) != nil {
			fmt.Fprintln(b.log, events.Text())
			continue
		}
		if e.Action == "output" {
			_, _ = io.WriteString(b.log, e.Output)
		}
		if e.Test == "" {
			continue
		}
		switch e.Action {
		case "run":
			if !strings.Contains(e.Test, "/") {
				begun = append(begun, e.Test)
			}
		case "pass", "fail", "skip":
			got[e.Test] = outcome(e.Action)
		}
	}
	return begun, events.Err()
}

// build builds the tests of a part, which lies in dir, into path.
func build(goroot, dir, path string, p part) (*binary, error) {
	env := goEnv(goroot)
	if _, err := output(dir, env, "go", "test", "-c", "-vet=off", "-o", path, "."); err != nil {
		return nil, err
	}
	b := &binary{path: path, dir: dir, args: p.args, timeout: p.timeout, env: env}
	if b.timeout == 0 {
		b.timeout = 5 * time.Minute
	}
	list, err := output(dir, append(env, "RINGFD_FOREIGN=plain"), path, "-test.list=^(Test|Example)")
	if err != nil {
		return nil, err
	}
	b.tests = strings.Fields(list)
	if p.files != nil {
		declared := regexp.MustCompile(`(?m)^func ((?:Test|Example)\w*)\(`)
		var named []string
		for _, file := range p.files {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return nil, err
			}
			for _, m := range declared.FindAllSubmatch(text, -1) {
				named = append(named, string(m[1]))
			}
		}
		b.tests = slices.DeleteFunc(b.tests, func(test string) bool { return !slices.Contains(named, test) })
	}
	b.tests = slices.DeleteFunc(b.tests, func(test string) bool { return slices.Contains(p.without, test) })
	if len(b.tests) == 0 {
		return nil, fmt.Errorf("%s has no tests", path)
	}
	return b, nil
}

// goEnv makes the go command build with goroot, and see files that were made a moment
// ago: it keeps an index of GOROOT, whose files never change for it.
func goEnv(goroot string) []string {
	return append(os.Environ(), "GOROOT="+goroot, "GODEBUG=goindex=0", "GOFLAGS=-mod=mod -p=1", "GOWORK=off")
}

func output(dir string, env []string, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir, c.Env = dir, env
	var out, bad bytes.Buffer
	c.Stdout, c.Stderr = &out, &bad
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s in %s: %w\n%s%s", name, strings.Join(args, " "), dir, err, out.String(), bad.String())
	}
	return strings.TrimSpace(out.String()), nil
}
