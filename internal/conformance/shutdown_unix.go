//go:build unix

package conformance

import (
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/accept"
)

// shutdown ends a listening socket without closing it.
func shutdown(t testing.TB, l *accept.Listener) {
	t.Helper()
	rc, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(h uintptr) { err = syscall.Shutdown(int(h), syscall.SHUT_RD) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
