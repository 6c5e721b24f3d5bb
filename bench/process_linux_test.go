package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/bench/control"
)

const knownCalls = 5000

// callKernel makes a known number of system calls for each request.
func callKernel(requests *bufio.Scanner) {
	for requests.Scan() {
		for range knownCalls {
			_, _, _ = syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
		fmt.Println("{}")
	}
}

func TestCountSyscalls(t *testing.T) {
	counters := map[string]func(context.Context, int) (syscallCounter, error){
		"perf":   func(ctx context.Context, pid int) (syscallCounter, error) { return attachPerf(ctx, pid) },
		"strace": func(ctx context.Context, pid int) (syscallCounter, error) { return attachStrace(ctx, pid) },
	}
	for name, attach := range counters {
		t.Run(name, func(t *testing.T) {
			p, err := startProcess(t.Context(), fake(t, "syscalls"), control.RoleServer, placement{anyCPU, 1})
			if err != nil {
				t.Fatal(err)
			}
			defer p.end()
			if _, err := p.call(control.Request{}); err != nil { // it is up, and at rest
				t.Fatal(err)
			}
			counter, err := attach(t.Context(), p.cmd.Process.Pid)
			if err != nil {
				t.Skipf("%s cannot attach here (%v): install it, and run as root or with perf_event_paranoid and ptrace_scope at 0", name, err)
			}
			if _, err := p.call(control.Request{}); err != nil {
				t.Fatal(err)
			}
			calls, err := counter.end()
			// The rest is what the Go runtime does to read and print a line.
			if err != nil || calls < knownCalls || calls > knownCalls+500 {
				t.Errorf("counted %d calls, %v; %d were made", calls, err, knownCalls)
			}
		})
	}
}

func TestCountSyscallsOfNobody(t *testing.T) {
	if _, err := countSyscalls(t.Context(), 1<<30); err == nil {
		t.Error("attached to a process that does not exist")
	}
	t.Setenv("PATH", "")
	if _, err := countSyscalls(t.Context(), 1); err == nil {
		t.Error("counted without perf and strace")
	}
}

func TestStraceTotal(t *testing.T) {
	const summary = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000030           3        10         2 read
 40.00    0.000020           4         5           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000050           3        15         2 total
`
	if got, err := straceTotal(summary); err != nil || got != 15 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := straceTotal(""); err == nil {
		t.Error("no summary passes")
	}
}

// A pinned child has one CPU from its start, and its parent keeps its own.
func TestPinning(t *testing.T) {
	first, second, err := pinCPUs()
	if err != nil {
		t.Skipf("%v: run this on a machine with two", err)
	}
	if first == second {
		t.Fatalf("both on CPU %d", first)
	}
	p, err := startProcess(t.Context(), fake(t, "cpus"), control.RoleServer, placement{second, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.end()
	answer, err := p.call(control.Request{})
	if err != nil || answer.Ready.PID != 1 {
		t.Errorf("the child may use %d CPUs, %v", answer.Ready.PID, err)
	}
	if a, b, err := pinCPUs(); a != first || b != second || err != nil {
		t.Errorf("afterwards this process has other CPUs: %d, %d, %v", a, b, err)
	}
}

func TestKilledChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := startProcess(ctx, fake(t, "cpus"), control.RoleServer, placement{anyCPU, 1})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	p.end()
	if p.cmd.ProcessState == nil {
		t.Error("the child was not waited for")
	}
	if _, err := p.call(control.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call after the interrupt: %v", err)
	}
}
