// Package child runs parts of tests in processes of their own: those that
// install a filter, lower a limit, give up a privilege, or may be killed.
package child

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// emulator is the command that runs test binaries here, "" where they run by
// themselves. See scripts/emulated.
var emulator = os.Getenv("RINGFD_TEST_EXEC")

// variable names the part that a process is to run.
const variable = "RINGFD_TEST_CHILD"

// Main runs the part that this process was started for, if it was, and does
// not return then. It is called first in TestMain. What a part returns goes to
// Run as JSON.
func Main(parts map[string]func() any) {
	name := os.Getenv(variable)
	if name == "" {
		return
	}
	part := parts[name]
	if part == nil {
		fmt.Fprintf(os.Stderr, "no part %q in this test\n", name)
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(part()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(0)
}

// Run runs a part of the calling test binary in a new process, with env added
// to the environment, and decodes what it returned into result.
func Run(t testing.TB, name string, result any, env ...string) {
	t.Helper()
	c := Command(name, env...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("child %s: %v", name, err)
	}
	if err := json.Unmarshal(out, result); err != nil {
		t.Fatalf("child %s: %v in %q", name, err, out)
	}
}

// Exec is exec.CommandContext for a test binary.
func Exec(ctx context.Context, path string) *exec.Cmd {
	if emulator == "" {
		return exec.CommandContext(ctx, path)
	}
	return exec.CommandContext(ctx, emulator, path)
}

// Command is what Run runs.
func Command(name string, env ...string) *exec.Cmd {
	c := Exec(context.Background(), os.Args[0])
	// The race detector would wait for a second at the end of each process.
	c.Env = append(os.Environ(), variable+"="+name, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	c.Env = append(c.Env, env...)
	c.WaitDelay = time.Minute
	return c
}
