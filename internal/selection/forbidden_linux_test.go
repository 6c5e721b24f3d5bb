package selection

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/internal/child"
	"github.com/ringfd/ringfd/uring"
)

// run runs a part of TestMain's, free of what the environment chooses.
func run(t *testing.T, part string) result {
	t.Helper()
	var r result
	child.Run(t, part, &r, "RINGFD_BACKEND=", "RINGFD_WITHOUT=")
	return r
}

// checkUnavailable looks for a working fallback that says why, and for a forced
// io_uring that fails with the same reason and a cure.
func checkUnavailable(t *testing.T, r result, cause, cure string) {
	t.Helper()
	want := outcome{Kind: ringfd.Net, Why: "io_uring is not available: " + cause}
	if r.Auto != want {
		t.Errorf("auto: got %+v, want %+v", r.Auto, want)
	}
	want = outcome{
		Err:         "backend io_uring is not available: " + cause + "; " + cure,
		Unavailable: true, Cause: cause, Cure: cure,
	}
	if r.Forced != want {
		t.Errorf("forced: got %+v, want %+v", r.Forced, want)
	}
}

// disabled returns kernel.io_uring_disabled; kernels before 6.6 have no such thing.
func disabled() string {
	b, _ := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	return strings.TrimSpace(string(b))
}

// sysctl skips a test that a sysctl forbids to see a filter's doing.
func sysctl(t *testing.T) {
	t.Helper()
	if value := disabled(); value != "" && value != "0" {
		t.Skip("needs kernel.io_uring_disabled to be 0: the reason would be the sysctl")
	}
}

func TestRefusedWithEPERM(t *testing.T) {
	child.NeedFilters(t)
	sysctl(t)
	checkUnavailable(t, run(t, "EPERM"),
		"io_uring_setup: operation not permitted: a seccomp filter forbids it, as the default profiles of container engines do",
		"allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile")
}

// TestRefusedBySysctl meets the sysctl itself. With 1 it refuses those who are not
// root.
func TestRefusedBySysctl(t *testing.T) {
	const denied = "io_uring_setup: operation not permitted: "
	switch disabled() {
	case "1":
		checkUnavailable(t, run(t, "not root"),
			denied+"the sysctl kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN and the group kernel.io_uring_group may use io_uring",
			"add this user to the group of kernel.io_uring_group, or sysctl -w kernel.io_uring_disabled=0")
	case "2":
		checkUnavailable(t, run(t, "as it is"),
			denied+"the sysctl kernel.io_uring_disabled is 2: io_uring is off for everybody",
			"sysctl -w kernel.io_uring_disabled=0")
	default:
		t.Skip("needs kernel.io_uring_disabled to be 1 or 2 (Linux 6.6): `make kernels` runs this")
	}
}

// TestNoSystemCall is on a kernel that does not have the system call.
func TestNoSystemCall(t *testing.T) {
	if err := uring.Probe().Err; !errors.Is(err, syscall.ENOSYS) {
		t.Skip("needs a kernel without io_uring: `make emulated` runs this")
	}
	checkUnavailable(t, run(t, "as it is"),
		"io_uring_setup: function not implemented: the kernel does not have it: it is older than 5.4, was built without CONFIG_IO_URING, or is an emulation",
		"use a kernel of 5.10 or later with CONFIG_IO_URING")
}

func TestRefusedByDocker(t *testing.T) {
	amd64(t)
	sysctl(t)
	checkUnavailable(t, run(t, "docker"),
		"io_uring_setup: operation not permitted: a seccomp filter forbids it, as the default profiles of container engines do",
		"allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile")
}

func TestRefusedWithENOSYS(t *testing.T) {
	child.NeedFilters(t)
	checkUnavailable(t, run(t, "ENOSYS"),
		"io_uring_setup: function not implemented: a seccomp filter hides it, or the kernel does not have it",
		"allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile; the kernel must be built with CONFIG_IO_URING")
}

// TestKilled shows that Net makes no io_uring system call at all, by a filter
// that kills who does.
func TestKilled(t *testing.T) {
	child.NeedFilters(t)
	got := run(t, "killed, net").Forced
	if want := (outcome{Kind: ringfd.Net, Why: "forced by options"}); got != want {
		t.Errorf("net forced: got %+v, want %+v", got, want)
	}

	var r result
	child.Run(t, "environment", &r, "RINGFD_BACKEND=net", "RINGFD_WITHOUT=")
	if want := (outcome{Kind: ringfd.Net, Why: "forced by RINGFD_BACKEND"}); r.Auto != want {
		t.Errorf("net forced by the environment: got %+v, want %+v", r.Auto, want)
	}

	// The filter is not a blunt one.
	err := child.Command("killed, auto", "RINGFD_BACKEND=", "RINGFD_WITHOUT=").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("auto under the filter: %v, want death by SIGSYS", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGSYS {
		t.Errorf("auto under the filter: %v, want death by SIGSYS", err)
	}
}

func TestMemlock(t *testing.T) {
	needRing(t)
	sysctl(t)
	r := run(t, "no memory")
	if r.Auto.Kind == ringfd.IOUring {
		t.Skip("needs a kernel that charges rings to RLIMIT_MEMLOCK: before 5.12, or from 6.14")
	}
	checkUnavailable(t, r,
		"io_uring_setup: cannot allocate memory: the ring's memory does not fit into RLIMIT_MEMLOCK (0 KiB, shared by all processes of the user), even for the smallest ring",
		"raise the limit (ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock= of container engines)")

	// There is room for a smaller ring, and it does.
	r = run(t, "some memory")
	for _, got := range []outcome{r.Auto, r.Forced} {
		if got.Kind != ringfd.IOUring || got.Err != "" || got.Echo != "" {
			t.Errorf("with 64 KiB: got %+v, want io_uring", got)
		}
	}
}
