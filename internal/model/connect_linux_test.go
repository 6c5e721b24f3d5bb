package model

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/ringfd/ringfd/fd"
)

// connectCall is a Connect that waits.
type connectCall struct {
	cancel context.CancelFunc
	done   chan error
}

// Socket makes an FD.
func (m *machine) Socket(t *rapid.T) {
	m.hasRoom(t)
	m.add(t, m.backend.Socket(), &conn{})
}

// Connect connects one, or fails to. It may be at any phase.
func (m *machine) Connect(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return true })
	if c.phase != fresh {
		m.connectAgain(t, c)
		return
	}
	switch rapid.SampledFrom([]string{"up", "up", "up", "dead", "canceled", "too late", "hangs"}).Draw(t, "where to") {
	case "up":
		c.connectUp(t, m)
	case "dead":
		c.expect("connect %s", fd.SocketString(m.dead))
		err := c.f.Connect(t.Context(), m.dead)
		c.connectFailed(t, err, fd.Unexpected, fd.ConnectRefused, syscall.ECONNREFUSED)
	case "canceled":
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.expect("connect %s", fd.SocketString(m.peers.Addr()))
		err := c.f.Connect(ctx, m.peers.Addr())
		c.connectFailed(t, err, fd.ClosedLocally, fd.ConnectCanceled, context.Canceled)
	case "too late":
		ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
		c.expect("connect %s", fd.SocketString(m.peers.Addr()))
		err := c.f.Connect(ctx, m.peers.Addr())
		cancel()
		c.connectFailed(t, err, fd.ClosedLocally, fd.ConnectTimedOut, context.DeadlineExceeded)
	case "hangs":
		m.connectHanging(t, c)
	}
}

// connectAgain is refused, and leaves what is as it is.
func (m *machine) connectAgain(t *rapid.T, c *conn) {
	c.expect("connect %s", fd.SocketString(m.peers.Addr()))
	err := c.f.Connect(t.Context(), m.peers.Addr())
	v := fails(outcome{is: []error{syscall.EISCONN}})
	if c.phase == closed {
		v = fails(c.sticky())
	}
	c.check(t, "connect", result{err: err}, v)
}

func (c *conn) connectUp(t *rapid.T, m *machine) {
	c.expect("connect %s", fd.SocketString(m.peers.Addr()))
	done := make(chan error, 1)
	go func() { done <- c.f.Connect(context.Background(), m.peers.Addr()) }()
	if err := await(t, done, "the end of Connect"); err != nil {
		t.Fatalf("fd %d: Connect: %v", c.f.ID(), err)
	}
	c.up(t, m.acceptPeer(t, c.f))
}

// acceptPeer accepts the far end of f.
func (m *machine) acceptPeer(t *rapid.T, f *fd.FD) *net.TCPConn {
	for {
		peer, err := m.peers.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if peer.RemoteAddr().String() == f.LocalAddr().String() {
			return peer.(*net.TCPConn)
		}
		_ = peer.Close() // of a Connect that was given up
	}
}

// up notes that the FD is connected with peer.
func (c *conn) up(t *rapid.T, peer *net.TCPConn) {
	c.phase, c.peer = connected, peer
	c.point = fd.SocketString(c.f.RemoteAddr())
	if c.point != fd.SocketString(peer.LocalAddr()) {
		t.Fatalf("fd %d: RemoteAddr = %s, the peer is %v", c.f.ID(), c.point, peer.LocalAddr())
	}
	limitBuffers(t, c.f, peer)
}

func (c *conn) connectFailed(t *rapid.T, err error, reason fd.Reason, kind fd.ConnectFailure, is error) {
	t.Helper()
	c.check(t, "connect", result{err: err}, fails(outcome{reason: reason, is: []error{is}, ends: true}))
	if e, _ := errors.AsType[*fd.Error](err); e.Connect != kind {
		t.Fatalf("fd %d: Connect: %v is called %q, want %q", c.f.ID(), err, e.Connect, kind)
	}
}

// connectHanging leaves a Connect waiting.
func (m *machine) connectHanging(t *rapid.T, c *conn) {
	ctx, cancel := context.WithCancel(context.Background())
	c.connecting = &connectCall{cancel, make(chan error, 1)}
	c.phase = connecting
	c.expect("connect %s", fd.SocketString(m.full))
	go func(call *connectCall) { call.done <- c.f.Connect(ctx, m.full) }(c.connecting)
	rest(t, "fd.(*FD).Connect", m.count(func(c *conn) bool { return c.connecting != nil }))
}

// CancelConnect ends one that waits.
func (m *machine) CancelConnect(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.phase == connecting })
	c.connecting.cancel()
	err := await(t, c.connecting.done, "the end of Connect")
	c.connecting = nil
	c.connectFailed(t, err, fd.ClosedLocally, fd.ConnectCanceled, context.Canceled)
}

// Dial makes a connection that is held by DialServe, where the row serves.
func (m *machine) Dial(t *rapid.T) {
	if m.serve == nil {
		t.Skip("the row does not serve")
	}
	m.hasRoom(t)
	given := make(chan held, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := m.backend.DialServe(ctx, "tcp4", m.peers.Addr().String(), hold(given))
	if err != nil {
		t.Fatalf("DialServe: %v", err)
	}
	h := await(t, given, "the handler")
	if h.f != f {
		t.Fatalf("the handler was given fd %d, DialServe returned %d", h.f.ID(), f.ID())
	}
	c := m.add(t, f, &conn{style: m.heldStyle(), handler: h.done})
	c.expect("connect %s", fd.SocketString(m.peers.Addr()))
	c.up(t, m.acceptPeer(t, f))
}

func (m *machine) heldStyle() style {
	if m.onRing {
		return heldLoop
	}
	return heldNet
}

// Accepted makes a connection that comes from Serve, where the row serves.
func (m *machine) Accepted(t *rapid.T) {
	if m.serve == nil {
		t.Skip("the row does not serve")
	}
	m.hasRoom(t)
	peer, err := net.Dial("tcp4", m.serve.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := await(t, m.served, "a connection")
	c := m.add(t, h.f, &conn{style: m.heldStyle(), handler: h.done})
	c.expect("accept %s", fd.SocketString(h.f.RemoteAddr()))
	c.up(t, peer.(*net.TCPConn))
}
