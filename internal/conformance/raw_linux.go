package conformance

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// rawLinuxCases are what the application does with a descriptor by system calls.
var rawLinuxCases = []Case{
	{Name: "LingerByDescriptor", Core: true, TCP: true, Run: func(t *testing.T, e *Env) {
		// As with net: whoever asks for a reset gets one, however.
		wantReset := func(t *testing.T, ours *fd.FD, peer net.Conn) {
			write(t, peer, "x")
			read(t, ours, "x") // it is served
			if err := ours.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer reads %v, want ECONNRESET", err)
			}
		}
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			rc, err := ours.SyscallConn()
			if err == nil {
				err = resetsOnClose(rc)
			}
			if err != nil {
				t.Fatal(err)
			}
			wantReset(t, ours, peer)
		})
		hook := func(_, _ string, rc syscall.RawConn) error { return resetsOnClose(rc) }
		t.Run("of the listener", func(t *testing.T) {
			l := e.Listen(t, accept.Config{Control: hook})
			peer := e.peerOf(t, l)
			wantReset(t, e.Accept(t, l), peer)
		})
		t.Run("of the dialer", func(t *testing.T) {
			e := e.With(t, func(o *ringfd.Options) { o.Dial.Control = hook })
			l, err := net.Listen(e.Network, e.Address(t))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ours := e.Dial(t, l.Addr())
			peer, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			wantReset(t, ours, peer)
		})
	}},
}

// resetsOnClose sets SO_LINGER without our knowing.
func resetsOnClose(rc syscall.RawConn) error {
	var inner error
	err := rc.Control(func(h uintptr) {
		inner = unix.SetsockoptLinger(int(h), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	return errors.Join(err, inner)
}
