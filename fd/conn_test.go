package fd_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// TestConnIsItsFD: what the net view does, the FD has done.
func TestConnIsItsFD(t *testing.T) {
	f, s := connected(0, nil)
	s.write = func(p []byte) (int, error) { return len(p), nil }
	c := f.Conn()
	if c.FD() != f || c.ID() != f.ID() {
		t.Errorf("the view is of fd %d, want %d", c.ID(), f.ID())
	}
	if n, err := c.Writev([][]byte{[]byte("ab"), nil, []byte("c")}); n != 3 || err != nil || f.Stats().Written != 3 {
		t.Errorf("Writev = %d, %v; the counter says %d", n, err, f.Stats().Written)
	}
	if err := errors.Join(c.CloseRead(), c.CloseWrite()); err != nil {
		t.Errorf("half-closes: %v", err)
	}
	banned := errors.New("banned")
	if err := c.CloseWithReason(banned); err != nil || s.closes != 1 {
		t.Errorf("CloseWithReason: %v; the socket was closed %d times", err, s.closes)
	}
	if r := f.Reasons(); len(r) != 1 || r[0] != banned {
		t.Errorf("Reasons = %v", r)
	}
}

// TestConnErrorForms: every call of the net view fails with a *net.OpError that
// names the call and the network, whatever the cause.
func TestConnErrorForms(t *testing.T) {
	calls := map[string]struct {
		op   string
		call func(c *fd.Conn) error
	}{
		"Writev":             {"write", func(c *fd.Conn) error { _, err := c.Writev([][]byte{{1}}); return err }},
		"CloseRead":          {"close", (*fd.Conn).CloseRead},
		"CloseWrite":         {"close", (*fd.Conn).CloseWrite},
		"SetDeadline":        {"set", func(c *fd.Conn) error { return c.SetDeadline(time.Time{}) }},
		"SetReadDeadline":    {"set", func(c *fd.Conn) error { return c.SetReadDeadline(time.Time{}) }},
		"SetWriteDeadline":   {"set", func(c *fd.Conn) error { return c.SetWriteDeadline(time.Time{}) }},
		"SetLinger":          {"set", func(c *fd.Conn) error { return c.SetLinger(0) }},
		"SetKeepAlive":       {"set", func(c *fd.Conn) error { return c.SetKeepAlive(true) }},
		"SetKeepAlivePeriod": {"set", func(c *fd.Conn) error { return c.SetKeepAlivePeriod(time.Second) }},
		"SetReadBuffer":      {"set", func(c *fd.Conn) error { return c.SetReadBuffer(1) }},
		"SetWriteBuffer":     {"set", func(c *fd.Conn) error { return c.SetWriteBuffer(1) }},
		"MultipathTCP":       {"set", func(c *fd.Conn) error { _, err := c.MultipathTCP(); return err }},
		"SyscallConn":        {"raw-control", func(c *fd.Conn) error { _, err := c.SyscallConn(); return err }},
		"File":               {"file", func(c *fd.Conn) error { _, err := c.File(); return err }},
	}
	check := func(name string, err error, op string, is error) {
		t.Helper()
		e, ok := err.(*net.OpError)
		if !ok || e.Op != op || e.Net != "tcp" || !errors.Is(err, is) {
			t.Errorf("%s: %v (%T), want a *net.OpError of %q with %v", name, err, err, op, is)
		}
	}
	for name, c := range calls {
		f, s := connected(0, syscall.EIO)
		s.option, s.half = syscallErr("call", syscall.EIO), syscallErr("call", syscall.EIO)
		check(name, c.call(f.Conn()), c.op, syscall.EIO)

		f, _ = connected(0, nil)
		_ = f.Close()
		// The fake forgets that it is closed, and an FD does not ask it then.
		if c.op != "set" || name == "SetLinger" {
			check(name+" after Close", c.call(f.Conn()), c.op, net.ErrClosed)
		}

		fresh := fd.New(&fakeSocket{option: syscallErr("call", syscall.ENOTCONN)}, nil)
		check(name+" before Connect", c.call(fresh.Conn()), c.op, syscall.ENOTCONN)
	}
}

// TestConnectFailureString: the kinds have names, and each its own.
func TestConnectFailureString(t *testing.T) {
	seen := make(map[string]bool)
	for kind, want := range map[fd.ConnectFailure]string{
		fd.ConnectOther: "other", fd.ConnectRefused: "refused", fd.ConnectHostUnreachable: "host unreachable",
		fd.ConnectNetworkUnreachable: "network unreachable", fd.ConnectTimedOut: "timed out", fd.ConnectCanceled: "canceled",
	} {
		if got := kind.String(); got != want || seen[got] {
			t.Errorf("%d is %q, want %q", kind, got, want)
		}
		seen[want] = true
	}
}

// TestReasonString: an unknown reason has words, too.
func TestReasonString(t *testing.T) {
	if got := fd.Reason(200).String(); got != "unknown reason" {
		t.Errorf("reason 200 is %q", got)
	}
	if got := fd.None.String(); got != "no reason" {
		t.Errorf("None is %q", got)
	}
}

// TestHandlerCheck: a handler has one style.
func TestHandlerCheck(t *testing.T) {
	blocking, data := func(*fd.FD) {}, func(*fd.FD, []byte) {}
	for name, c := range map[string]struct {
		h  fd.Handler
		ok bool
	}{
		"blocking":           {fd.Handler{Blocking: blocking}, true},
		"data":               {fd.Handler{Data: data, Open: blocking, End: func(*fd.FD, error) {}}, true},
		"none":               {fd.Handler{}, false},
		"both":               {fd.Handler{Blocking: blocking, Data: data}, false},
		"blocking with Open": {fd.Handler{Blocking: blocking, Open: blocking}, false},
		"blocking with End":  {fd.Handler{Blocking: blocking, End: func(*fd.FD, error) {}}, false},
	} {
		if err := c.h.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPanicEnds: a handler's panic closes its FD, with a reason that leads to what
// it panicked with.
func TestPanicEnds(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		value any
		text  string
	}{{cause, "the handler panicked: cause"}, {"text", "the handler panicked: text"}, {nil, "the handler ended its goroutine"}} {
		f, s := connected(0, nil)
		p := &fd.PanicError{Value: c.value}
		f.Panicked(p)
		reason, err := f.Reason()
		if got, ok := errors.AsType[*fd.PanicError](err); reason != fd.Unexpected || s.closes != 1 || !ok || got != p {
			t.Errorf("%v: reason %q, %v", c.value, reason, err)
		}
		if p.Error() != c.text || errors.Is(err, cause) != (c.value == cause) {
			t.Errorf("%v: the text is %q, and it leads to the cause: %v", c.value, p, errors.Is(err, cause))
		}
	}
}
