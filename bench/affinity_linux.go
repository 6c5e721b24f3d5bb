package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// startOn starts cmd with all its threads on one CPU: a child inherits the
// affinity of the thread that forks it, so this thread takes it on for the
// moment of the fork. The Go runtime of the child sees one CPU from its start.
func startOn(cmd *exec.Cmd, cpu int) error {
	if cpu == anyCPU {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	startErr := cmd.Start()
	if err := unix.SchedSetaffinity(0, &before); err != nil {
		runtime.LockOSThread() // once more: this thread ends with its goroutine
		if startErr == nil {
			startErr = os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return startErr
}

// pinCPUs returns a CPU for the server and another for the generator: the
// first that this process may use, and the next that is not a hyperthread of
// the same core, where there is one.
func pinCPUs() (server, load int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, 0, os.NewSyscallError("sched_getaffinity", err)
	}
	var allowed []int
	for cpu := 0; len(allowed) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			allowed = append(allowed, cpu)
		}
	}
	if len(allowed) < 2 {
		return 0, 0, fmt.Errorf("pinning needs two CPUs, and this process may use %d", len(allowed))
	}
	for _, cpu := range allowed[1:] {
		if coreOf(cpu) != coreOf(allowed[0]) {
			return allowed[0], cpu, nil
		}
	}
	return allowed[0], allowed[1], nil
}

// coreOf names the core of a CPU by the list of its hyperthreads.
func coreOf(cpu int) string {
	list, err := os.ReadFile("/sys/devices/system/cpu/cpu" + strconv.Itoa(cpu) + "/topology/thread_siblings_list")
	if err != nil {
		return "cpu" + strconv.Itoa(cpu)
	}
	return strings.TrimSpace(string(list))
}
