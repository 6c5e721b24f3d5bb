package child

import (
	"syscall"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// NeedFilters skips a test where no filter can be installed.
func NeedFilters(t testing.TB) {
	t.Helper()
	if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		t.Skipf("needs a kernel with seccomp, which no emulation by qemu-user is: %v", err)
	}
}

// RefuseIOUring makes io_uring's three system calls fail with errno in this
// process, on all threads and for good.
func RefuseIOUring(errno syscall.Errno) {
	filter(seccomp.ActionErrno | seccomp.Action(errno))
}

// KillIOUring makes io_uring's three system calls kill this process.
func KillIOUring() { filter(seccomp.ActionKillProcess) }

func filter(action seccomp.Action) {
	load(seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{{
			Names:  []string{"io_uring_setup", "io_uring_enter", "io_uring_register"},
			Action: action,
		}},
	})
}
