package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var ofLinux = []fault{
	{"signals", usual, signals},
	{"children", usual, children},
}

// signals go to every thread, again and again: SIGURG, which is Go's own for
// preemption, and SIGUSR1, which somebody handles.
func signals(t testing.TB, _ *site) (end func()) {
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, unix.SIGUSR1)
	var sent atomic.Int64
	process := os.Getpid()
	stop := repeat(t, 1, func() error {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for range 10 {
			for _, task := range tasks {
				thread, _ := strconv.Atoi(task.Name())
				for _, s := range []unix.Signal{unix.SIGURG, unix.SIGUSR1} {
					if err := unix.Tgkill(process, thread, s); err != nil && err != unix.ESRCH {
						return fmt.Errorf("tgkill: %w", err)
					}
					sent.Add(1)
				}
			}
			time.Sleep(50 * time.Microsecond) // or nobody would get anywhere
		}
		return nil
	})
	return func() {
		stop()
		signal.Stop(handled)
		t.Logf("%d signals", sent.Load())
		if len(handled) == 0 {
			t.Error("no signal has arrived")
		}
	}
}

// children are started beside the traffic, one after the other, and tell which
// descriptors they have got: no socket and no ring of ours.
func children(t testing.TB, _ *site) (end func()) {
	ls, err := exec.LookPath("ls")
	if err != nil {
		t.Skipf("%v; coreutils would make this run", err)
	}
	var started atomic.Int64
	stop := repeat(t, 2, func() error {
		out, err := exec.Command(ls, "-l", "/proc/self/fd").CombinedOutput()
		if err != nil {
			return fmt.Errorf("ls: %w: %s", err, out)
		}
		if strings.Contains(string(out), "socket:") || strings.Contains(string(out), "anon_inode:") {
			return fmt.Errorf("a child has got what is ours:\n%s", out)
		}
		started.Add(1)
		return nil
	})
	return func() {
		for started.Load() < 5 { // the traffic may have been faster
			time.Sleep(time.Millisecond)
		}
		stop()
		t.Logf("%d children", started.Load())
	}
}
