package conformance

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd"
	"golang.org/x/sys/unix"
)

// selfConnectCases make the kernel give a socket the very port that it connects to, where
// nobody listens: then it connects to itself (RFC 9293, 3.5, simultaneous open).
var selfConnectCases = []Case{
	{Name: "SelfConnectOnce", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		var made atomic.Int32
		addr, e := e.selfConnecting(t, &made, 1)
		f := e.Backend.Socket()
		if err := f.Connect(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Connect, where nobody listens: %v", err)
		}
		if n := made.Load(); n != 2 {
			t.Errorf("%d sockets were made, want 2", n)
		}
		made.Store(0)
		if f, err := e.Backend.DialServe(t.Context(), e.Network, addr.String(), blockingEcho()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("DialServe, where nobody listens: %v, %v", f, err)
		}
	}},
	{Name: "SelfConnectGivesUp", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// As with net, the third result stands. The first leaves the port in TIME_WAIT, so
		// that the others find it in use, which is tried again as well.
		var made atomic.Int32
		addr, e := e.selfConnecting(t, &made, 100)
		f := e.Backend.Socket()
		if err := f.Connect(t.Context(), addr); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("Connect: %v, want EADDRNOTAVAIL", err)
		}
		if n := made.Load(); n != 3 {
			t.Errorf("%d sockets were made, want 3", n)
		}
	}},
	{Name: "SelfConnectMeant", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// As with net, who names the port means it.
		var made atomic.Int32
		addr, _ := e.selfConnecting(t, &made, 0)
		e = e.With(t, func(o *ringfd.Options) { o.Dial.LocalAddr = addr })
		f := e.Backend.Socket()
		if err := f.Connect(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
		write(t, f, "myself")
		read(t, plainReader{f}, "myself")
		_ = f.Close()
	}},
}

// selfConnecting returns an address where nobody listens, and an Env whose first sockets
// may have that port only.
func (e *Env) selfConnecting(t *testing.T, made *atomic.Int32, times int32) (net.Addr, *Env) {
	t.Helper()
	l, err := net.Listen(e.Network, e.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	return addr, e.With(t, func(o *ringfd.Options) {
		o.Dial.Control = func(_, _ string, c syscall.RawConn) error {
			if made.Add(1) > times {
				return nil
			}
			var failed error
			err := c.Control(func(h uintptr) {
				failed = unix.SetsockoptInt(int(h), unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, addr.Port|addr.Port<<16)
			})
			if errors.Is(failed, unix.ENOPROTOOPT) {
				t.Skip("needs IP_LOCAL_PORT_RANGE; Linux 6.3 would make this run")
			}
			return errors.Join(err, failed)
		}
	})
}
