package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/ringfd/ringfd/bench/control"
)

// TestMain makes the test binary its own child process, and some that only
// tests need: see fakes.
func TestMain(m *testing.M) {
	args := os.Args[1:]
	if len(args) == 2 && args[0] == control.Command {
		if err := Child(args[1], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(args) == 3 && args[1] == control.Command {
		fakes[args[0]](bufio.NewScanner(os.Stdin))
		return
	}
	os.Exit(m.Run())
}

// fakes are child processes that do not do what they should, or that a test
// looks at. The name is the argument before control.Command.
var fakes = map[string]func(requests *bufio.Scanner){
	"dying": func(requests *bufio.Scanner) {
		requests.Scan()
		fmt.Fprintln(os.Stderr, "the cause")
		os.Exit(3)
	},
	"unavailable": func(requests *bufio.Scanner) {
		for requests.Scan() {
			fmt.Println(`{"unavailable":true,"error":"not on this machine"}`)
		}
	},
	"cpus": func(requests *bufio.Scanner) {
		for requests.Scan() {
			fmt.Printf(`{"ready":{"pid":%d}}`+"\n", runtime.NumCPU())
		}
	},
	"syscalls": callKernel,
}

// fake returns the command of a fake.
func fake(t *testing.T, name string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, name}
}
