package model

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// listener is a Listener and what the model knows of it.
type listener struct {
	l       *accept.Listener
	queue   []*queued
	expired bool // its deadline has passed
	closed  bool
	shut    bool // shutdown(2) behind its back
	waiting *acceptCall
}

// queued is a connection that nobody has accepted, and what its peer did meanwhile.
type queued struct {
	peer *net.TCPConn
	wire
}

// acceptCall is an Accept that waits.
type acceptCall struct {
	cancel context.CancelFunc
	done   chan accepted
}

type accepted struct {
	f    *fd.FD
	addr net.Addr
	err  error
}

// Listen opens the listener, if there is none.
func (m *machine) Listen(t *rapid.T) {
	if m.serve != nil || m.listener != nil && !m.listener.closed {
		t.Skip("there is one")
	}
	l, err := m.backend.Listen(t.Context(), "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	m.listener = &listener{l: l}
}

func (m *machine) needListener(t *rapid.T, ok func(l *listener) bool) *listener {
	if m.listener == nil || !ok(m.listener) {
		t.Skip("there is no listener for it")
	}
	return m.listener
}

// PeerDial has a peer connect, and perhaps do something before it is accepted.
func (m *machine) PeerDial(t *rapid.T) {
	l := m.needListener(t, func(l *listener) bool { return !l.closed && !l.shut && len(l.queue) < 4 })
	m.hasRoom(t)
	c, err := net.Dial("tcp4", l.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	q := &queued{peer: c.(*net.TCPConn)}
	switch rapid.SampledFrom([]string{"waits", "waits", "writes", "closes", "resets"}).Draw(t, "and then") {
	case "writes":
		q.sent = 100
		if _, err := c.Write(stream(0, 100)); err != nil {
			t.Fatal(err)
		}
		q.sure = q.sent
	case "closes":
		_ = c.Close()
		q.fin, q.peerGone = true, true
	case "resets":
		if l.waiting != nil { // may be accepted before
			break
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		q.broken, q.pending, q.peerGone = true, syscall.ECONNRESET, true
	}
	l.queue = append(l.queue, q)
	m.wakeAccept(t, l)
}

// Accept accepts the one that came first, or fails, or waits.
func (m *machine) Accept(t *rapid.T) {
	l := m.needListener(t, func(l *listener) bool { return l.waiting == nil })
	m.hasRoom(t)
	ctx, cancel := context.WithCancel(context.Background())
	canceled := rapid.IntRange(0, 4).Draw(t, "canceled if 0") == 0
	if canceled {
		cancel()
	}
	l.waiting = &acceptCall{cancel, make(chan accepted, 1)}
	go func(call *acceptCall) {
		var a accepted
		a.f, a.addr, a.err = l.l.Accept(ctx)
		call.done <- a
	}(l.waiting)
	if canceled {
		a := l.result(t)
		if a.err != context.Canceled {
			t.Fatalf("Accept: %v, want context.Canceled", a.err)
		}
		return
	}
	if !l.closed && !l.expired && !l.shut && len(l.queue) == 0 {
		rest(t, "accept.(*Listener).Accept", 1)
		return
	}
	m.wakeAccept(t, l)
}

func (l *listener) result(t *rapid.T) accepted {
	t.Helper()
	a := await(t, l.waiting.done, "the end of Accept")
	l.waiting.cancel()
	l.waiting = nil
	return a
}

// wakeAccept ends the Accept that the model says does not wait any more.
func (m *machine) wakeAccept(t *rapid.T, l *listener) {
	t.Helper()
	switch {
	case l.waiting == nil:
	case l.closed:
		l.wantPlain(t, net.ErrClosed)
	case l.expired:
		l.wantPlain(t, os.ErrDeadlineExceeded)
	case len(l.queue) > 0 && !l.shut:
		m.takeIn(t, l, l.result(t))
	case l.shut:
		a := l.result(t)
		if e, ok := errors.AsType[*accept.Error](a.err); !ok || e.Class != accept.Unexpected || !errors.Is(e, syscall.EINVAL) || e.Temporary() {
			t.Fatalf("Accept: %v, want an Unexpected EINVAL", a.err)
		}
	}
}

// wantPlain awaits an error without a class.
func (l *listener) wantPlain(t *rapid.T, want error) {
	t.Helper()
	a := l.result(t)
	if _, classed := errors.AsType[*accept.Error](a.err); classed || !errors.Is(a.err, want) {
		t.Fatalf("Accept: %v, want a plain %v", a.err, want)
	}
}

// takeIn notes a connection that was accepted.
func (m *machine) takeIn(t *rapid.T, l *listener, a accepted) {
	t.Helper()
	q := l.queue[0]
	l.queue = l.queue[1:]
	if a.err != nil {
		t.Fatalf("Accept: %v", a.err)
	}
	if want := q.peer.LocalAddr().String(); a.addr.String() != want || a.f.RemoteAddr().String() != want {
		t.Fatalf("Accept gave %v at %v, want %s: the first comes first", a.f.RemoteAddr(), a.addr, want)
	}
	c := m.add(t, a.f, &conn{wire: q.wire, phase: connected, peer: q.peer, point: fd.SocketString(a.addr)})
	c.expect("accept %s", c.point)
	if q.peerGone {
		c.peer = nil
	} else {
		limitBuffers(t, c.f, c.peer)
	}
	c.awaitEnd(t)
}

// CancelAccept ends the Accept that waits.
func (m *machine) CancelAccept(t *rapid.T) {
	l := m.needListener(t, func(l *listener) bool { return l.waiting != nil })
	l.waiting.cancel()
	l.wantPlain(t, context.Canceled)
}

// SetAcceptDeadline sets a deadline that has passed, or none.
func (m *machine) SetAcceptDeadline(t *rapid.T) {
	l := m.needListener(t, func(l *listener) bool { return true })
	at := rapid.SampledFrom([]time.Time{time.Unix(1, 0), {}}).Draw(t, "when")
	err := l.l.SetDeadline(at)
	if l.closed {
		if !errors.Is(err, net.ErrClosed) {
			t.Fatalf("SetDeadline: %v, want net.ErrClosed", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("SetDeadline: %v", err)
	}
	l.expired = !at.IsZero()
	m.wakeAccept(t, l)
}

// ShutListener makes the listener one that cannot listen.
func (m *machine) ShutListener(t *rapid.T) {
	l := m.needListener(t, func(l *listener) bool { return !l.closed && !l.shut })
	raw, err := l.l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(sysfd uintptr) { err = unix.Shutdown(int(sysfd), unix.SHUT_RD) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.shut = true
	l.dropQueue()
	m.wakeAccept(t, l)
}

// CloseListener closes it, and again.
func (m *machine) CloseListener(t *rapid.T) {
	l := m.needListener(t, func(l *listener) bool { return true })
	l.close(t)
	m.wakeAccept(t, l)
}

func (l *listener) close(t *rapid.T) {
	t.Helper()
	err := await(t, async(l.l.Close), "the end of Close")
	if l.closed {
		if !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Close of a closed listener: %v, want net.ErrClosed", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Close of a listener: %v", err)
	}
	l.closed = true
	l.dropQueue()
}

func (l *listener) dropQueue() {
	for _, q := range l.queue {
		_ = q.peer.Close()
	}
	l.queue = nil
}

func (l *listener) abandon() {
	_ = l.l.Close()
	if l.waiting != nil {
		l.waiting.cancel()
	}
	l.dropQueue()
}
