package uring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// machine fakes what the kernel says of itself until the test ends. An empty
// sysctl is of a kernel that has none.
func machine(t *testing.T, sysctl string, seccomp bool) {
	t.Helper()
	dir := t.TempDir()
	oldSysctl, oldStatus := sysctlPath, statusPath
	t.Cleanup(func() { sysctlPath, statusPath = oldSysctl, oldStatus })
	sysctlPath, statusPath = filepath.Join(dir, "io_uring_disabled"), filepath.Join(dir, "status")
	mode := 0
	if seccomp {
		mode = 2
	}
	write(t, statusPath, fmt.Sprintf("Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t%d\nSeccomp_filters:\t0\n", mode))
	if sysctl != "" {
		write(t, sysctlPath, sysctl+"\n")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExplain(t *testing.T) {
	const (
		off    = "the sysctl kernel.io_uring_disabled is 2"
		admin  = "the sysctl kernel.io_uring_disabled is 1"
		filter = "a seccomp filter forbids it"
		hidden = "a seccomp filter hides it"
		old    = "it is older than 5.4"
	)
	for _, c := range []struct {
		errno     syscall.Errno
		sysctl    string
		seccomp   bool
		why, cure string
		final     bool
	}{
		{syscall.EPERM, "2", false, off, "sysctl -w kernel.io_uring_disabled=0", true},
		{syscall.EPERM, "2", true, off, "sysctl -w kernel.io_uring_disabled=0", true},
		{syscall.EPERM, "1", false, admin, "kernel.io_uring_group", true},
		{syscall.EPERM, "0", true, filter, "seccomp profile", true},
		{syscall.EPERM, "", true, filter, "seccomp profile", true},
		{syscall.EPERM, "0", false, "a security policy", "LSM", true},
		{syscall.EACCES, "", false, "a security policy", "LSM", true},
		{syscall.ENOSYS, "0", true, hidden, "seccomp profile", true},
		{syscall.ENOSYS, "", false, old, "5.10", true},
		{syscall.ENOMEM, "0", false, "RLIMIT_MEMLOCK", "ulimit -l", false},
		{syscall.EMFILE, "0", true, "no file descriptor", "RLIMIT_NOFILE", false},
		{syscall.ENFILE, "0", false, "no file descriptor", "fs.file-max", false},
		{syscall.EIO, "0", false, "does not work", "ringfd doctor", false},
	} {
		t.Run(fmt.Sprintf("%v with sysctl %q, seccomp %v", c.errno, c.sysctl, c.seccomp), func(t *testing.T) {
			machine(t, c.sysctl, c.seccomp)
			cause := os.NewSyscallError("io_uring_setup", c.errno)
			u := explain(cause)
			if !errors.Is(u, c.errno) {
				t.Errorf("%v is not %v any more", u, c.errno)
			}
			if want := cause.Error() + ": "; !strings.HasPrefix(u.Error(), want) {
				t.Errorf("%q does not begin with %q", u, want)
			}
			if !strings.Contains(u.Why, c.why) {
				t.Errorf("the reason is %q, want one with %q", u.Why, c.why)
			}
			if got := Cure(fmt.Errorf("wrapped: %w", u)); !strings.Contains(got, c.cure) {
				t.Errorf("the cure is %q, want one with %q", got, c.cure)
			}
			if u.final != c.final {
				t.Errorf("final is %v, want %v", u.final, c.final)
			}
		})
	}
}

func TestCureOfAnotherError(t *testing.T) {
	if got := Cure(errors.New("another")); got != "" {
		t.Errorf("the cure of another error is %q", got)
	}
}
