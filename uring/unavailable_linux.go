package uring

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unavailable says why io_uring cannot be used here. It wraps what the kernel
// answered.
type Unavailable struct {
	Cause error
	Why   string // in words: who refuses
	Cure  string
	// final: asking again in this process gets the same answer.
	final bool
}

// Error is the cause and who is behind it.
func (u *Unavailable) Error() string { return u.Cause.Error() + ": " + u.Why }

// Unwrap returns what the kernel answered.
func (u *Unavailable) Unwrap() error { return u.Cause }

// Cure says what to change so that io_uring becomes available, "" if unknown.
func Cure(err error) string {
	var u *Unavailable
	if errors.As(err, &u) {
		return u.Cure
	}
	return ""
}

// Variables for tests.
var (
	sysctlPath = "/proc/sys/kernel/io_uring_disabled"
	statusPath = "/proc/self/status"
)

// explain finds out who refused. It is called with what io_uring_setup, mmap
// or the self-test answered.
func explain(err error) *Unavailable {
	u := &Unavailable{Cause: err}
	sysctl, seccomp := readSysctl(), readSeccomp()
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		u.final = true
		switch {
		case sysctl == "2":
			u.Why = "the sysctl kernel.io_uring_disabled is 2: io_uring is off for everybody"
			u.Cure = "sysctl -w kernel.io_uring_disabled=0"
		case sysctl == "1":
			u.Why = "the sysctl kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN and the group kernel.io_uring_group may use io_uring"
			u.Cure = "add this user to the group of kernel.io_uring_group, or sysctl -w kernel.io_uring_disabled=0"
		case seccomp:
			u.Why = "a seccomp filter forbids it, as the default profiles of container engines do"
			u.Cure = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile"
		default:
			u.Why = "a security policy forbids it"
			u.Cure = "look for an LSM or a sandbox that denies io_uring_setup"
		}
	case errors.Is(err, syscall.ENOSYS):
		u.final = true
		if seccomp {
			u.Why = "a seccomp filter hides it, or the kernel does not have it"
			u.Cure = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile; the kernel must be built with CONFIG_IO_URING"
		} else {
			u.Why = "the kernel does not have it: it is older than 5.4, was built without CONFIG_IO_URING, or is an emulation"
			u.Cure = "use a kernel of 5.10 or later with CONFIG_IO_URING"
		}
	case errors.Is(err, syscall.ENOMEM):
		u.Why = "the ring's memory does not fit into RLIMIT_MEMLOCK (" + readMemlock() + ", shared by all processes of the user), even for the smallest ring"
		u.Cure = "raise the limit (ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock= of container engines)"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		u.Why = "no file descriptor is left for the ring"
		u.Cure = "raise RLIMIT_NOFILE or fs.file-max"
	case errors.Is(err, errTooOld):
		u.final = true
		u.Why = "this kernel's io_uring is too old for sockets"
		u.Cure = "use a kernel of 5.10 or later"
	default:
		u.Why = "io_uring is there but does not work"
		u.Cure = "report this with the output of ringfd doctor --json"
	}
	return u
}

var errTooOld = errors.New("io_uring lacks what this library needs")

// readSysctl returns kernel.io_uring_disabled, "" before Linux 6.6.
func readSysctl() string {
	b, _ := os.ReadFile(sysctlPath)
	return strings.TrimSpace(string(b))
}

// readSeccomp reports whether this process runs under a seccomp filter.
func readSeccomp() bool {
	b, _ := os.ReadFile(statusPath)
	for line := range strings.Lines(string(b)) {
		if mode, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			return strings.TrimSpace(mode) == "2"
		}
	}
	return false
}

func readMemlock() string {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return "unknown"
	}
	if l.Cur == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprintf("%d KiB", l.Cur/1024)
}

func readKernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func yesNo(b bool) string { return strconv.FormatBool(b) }
