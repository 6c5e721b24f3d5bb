package uring

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// deaths are the ways in which these tests have a ring die.
var deaths = []struct {
	name string
	// foreign: the descriptor is another file's, and the kernel refuses it. Else a
	// completion was lost: the kernel says so once, and would go on.
	foreign bool
	without Features
}{
	{"a completion is lost", false, 0},
	{"a completion is lost, no sync_cancel", false, FeatureSyncCancel},
	{"the descriptor is lost", true, 0},
}

// breakDescriptor puts another file in the place of a descriptor. What stood there
// must not be closed by who thinks that it is still its own: that is checked.
func breakDescriptor(t *testing.T, sysfd int) {
	t.Helper()
	other, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		err = unix.Dup3(other, sysfd, unix.O_CLOEXEC)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !sameFile(t, other, sysfd) {
			t.Error("the descriptor of a stranger was closed")
		}
		_ = unix.Close(other)
		_ = unix.Close(sysfd)
	})
}

func sameFile(t *testing.T, a, b int) bool {
	t.Helper()
	one := [8]byte{0: 1, 7: 1}
	if _, err := unix.Write(a, one[:]); err != nil {
		t.Fatal(err)
	}
	n, err := unix.Read(b, one[:]) // it would wait for a signal, if it is another eventfd
	return n == 8 && err == nil
}

// wantLost checks that err says that a ring was lost, and shows no errno of io_uring's.
func wantLost(t *testing.T, call string, err error) {
	t.Helper()
	lost, ok := errors.AsType[*RingLostError](err)
	if !ok {
		t.Errorf("%s: %v, want a *RingLostError", call, err)
		return
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		t.Errorf("%s: %v shows the errno %d", call, err, int(errno))
	}
	if lost.Err == nil || lost.Error() == "" {
		t.Errorf("%s: %#v says nothing", call, lost)
	}
}

// descriptors counts the open descriptors of the process.
func descriptors(t *testing.T) int {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the netpoller's own stay open
		_, _ = r.Close(), w.Close()
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
