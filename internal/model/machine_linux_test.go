package model

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// world is what the sequences of a row have in common: the backend, and addresses
// of every kind.
type world struct {
	backend *ringfd.Backend
	log     *eventLog
	peers   net.Listener     // whose connections the test drives
	dead    net.Addr         // where nobody listens
	full    net.Addr         // where a connect hangs
	serve   *accept.Listener // of Serve
	served  chan held
	onRing  bool
}

// machine is one sequence.
type machine struct {
	*world
	conns    []*conn
	lastID   uint64
	listener *listener
}

// pattern is what is sent: the byte at each place of a stream tells the place.
var pattern = func() []byte {
	p := make([]byte, fillSize+period)
	for i := range p {
		p[i] = byte(i % period)
	}
	return p
}()

const (
	period = 251
	// fillSize is more than a connection's buffers take: see limitBuffers.
	fillSize = 4 << 20
	// window is how much may be on the way for a Write not to wait.
	window   = 32 << 10
	maxConns = 4
)

func stream(at uint64, n int) []byte { return pattern[at%period:][:n] }

// pick draws one of the connections for which ok holds, or skips the action.
func (m *machine) pick(t *rapid.T, ok func(c *conn) bool) *conn {
	var fit []*conn
	for _, c := range m.conns {
		if ok(c) {
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		t.Skip("no connection is fit for it")
	}
	return fit[rapid.IntRange(0, len(fit)-1).Draw(t, "connection")]
}

// add takes a new FD in. Ids are given one by one.
func (m *machine) add(t *rapid.T, f *fd.FD, c *conn) *conn {
	t.Helper()
	if f.ID() <= m.lastID {
		t.Fatalf("id %d comes after %d", f.ID(), m.lastID)
	}
	if m.lastID != 0 && f.ID() != m.lastID+1 {
		t.Fatalf("id %d comes after %d: one was left out", f.ID(), m.lastID)
	}
	m.lastID = f.ID()
	c.f, c.onRing = f, m.onRing
	c.expect("create")
	m.conns = append(m.conns, c)
	if len(m.conns) > maxConns { // the oldest that is over goes
		for i, old := range m.conns {
			if old.phase == closed {
				old.release()
				m.conns = slices.Delete(m.conns, i, i+1)
				break
			}
		}
	}
	return c
}

func (m *machine) hasRoom(t *rapid.T) {
	open := 0
	for _, c := range m.conns {
		if c.phase != closed {
			open++
		}
	}
	if open >= maxConns {
		t.Skip("there are enough connections")
	}
}

// Check is called after every action.
func (m *machine) Check(t *rapid.T) {
	for _, c := range m.conns {
		m.wake(t, c)
	}
	for _, c := range m.conns {
		c.checkEvents(t, m.log, c.racy)
		c.racy = false
		c.checkState(t)
	}
}

// checkState compares what an FD says of itself at any time.
func (c *conn) checkState(t *rapid.T) {
	t.Helper()
	f := c.f
	if got := f.Stats(); got.Read != c.read || got.Written != c.written {
		t.Fatalf("fd %d: Stats = %+v, want %d and %d", f.ID(), got, c.read, c.written)
	}
	reason, cause := f.Reason()
	if reason != c.reason || (cause == nil) != (reason == fd.None) {
		t.Fatalf("fd %d: Reason = %q (%v), want %q", f.ID(), reason, cause, c.reason)
	}
	if got := f.Reasons(); !sameTexts(got, c.reasons) {
		t.Fatalf("fd %d: Reasons = %v, want %v", f.ID(), got, c.reasons)
	}
	if had := c.point != ""; (f.RemoteAddr() != nil) != had || had && fd.SocketString(f.RemoteAddr()) != c.point {
		t.Fatalf("fd %d: RemoteAddr = %v, want %q", f.ID(), f.RemoteAddr(), c.point)
	}
	if had := c.point != ""; (f.LocalAddr() != nil) != had {
		t.Fatalf("fd %d: LocalAddr = %v", f.ID(), f.LocalAddr())
	}
	_, rawErr := f.SyscallConn()
	if v, ok := c.unusable(); ok != (rawErr != nil) {
		t.Fatalf("fd %d: SyscallConn: %v", f.ID(), rawErr)
	} else if ok {
		c.check(t, "raw-control", result{err: rawErr}, v)
	}
}

// await receives what must come.
func await[T any](t *rapid.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen in %v\n%s", what, patience, conformance.Stacks())
		panic("unreachable")
	}
}

// rest waits until n calls wait in a function.
func rest(t *rapid.T, function string, n int) {
	t.Helper()
	for end := time.Now().Add(patience); conformance.AtRest(function) < n; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%d calls did not come to rest in %s\n%s", n, function, conformance.Stacks())
		}
	}
}

// count counts connections.
func (m *machine) count(is func(c *conn) bool) (n int) {
	for _, c := range m.conns {
		if is(c) {
			n++
		}
	}
	return n
}

// finish ends a sequence: everything is closed and looked at once more, and nothing
// is left.
func (m *machine) finish(t *rapid.T) {
	for _, c := range m.conns {
		if c.phase != closed {
			m.close(t, c, nil)
		}
	}
	m.Check(t)
	for _, c := range m.conns {
		c.release()
	}
	if m.listener != nil {
		m.listener.close(t)
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Microsecond) {
		s := m.backend.Stats()
		if s.Sockets == 0 && (m.serve != nil || s.InFlight == 0) { // Serve accepts
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left: %d sockets, %d requests", s.Sockets, s.InFlight)
		}
	}
}

// abandon ends what a failed sequence has left.
func (m *machine) abandon() {
	for _, c := range m.conns {
		_ = c.f.Close()
		c.release()
	}
	if m.listener != nil {
		m.listener.abandon()
	}
	m.log.forget()
}

// release ends what a connection of the model has beside its FD.
func (c *conn) release() {
	if c.peer != nil {
		_ = c.peer.Close()
		c.peer = nil
	}
	if c.connecting != nil {
		c.connecting.cancel()
	}
	if c.handler != nil {
		close(c.handler)
		c.handler = nil
	}
}

// limitBuffers makes it known how much a connection takes before a Write waits.
func limitBuffers(t *rapid.T, f *fd.FD, peer *net.TCPConn) {
	if err := f.Conn().SetWriteBuffer(128 << 10); err != nil {
		t.Fatal(err)
	}
	if err := peer.SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
}

// TestModel runs the state machine over every backend, and over io_uring without
// the features that change how it works.
func TestModel(t *testing.T) {
	for _, row := range rows() {
		t.Run(row.Name, func(t *testing.T) {
			w := newWorld(t, row)
			rapid.Check(t, func(t *rapid.T) {
				m := &machine{world: w}
				defer m.abandon()
				m.begin(t)
				t.Repeat(rapid.StateMachineActions(m))
				m.finish(t)
			})
		})
	}
}

// begin makes the first connection, so that most of a sequence has something to
// be about.
func (m *machine) begin(t *rapid.T) {
	if m.serve != nil {
		m.Dial(t)
		return
	}
	m.Socket(t)
	m.conns[0].connectUp(t, m)
	m.Listen(t)
}

// rows are those of the conformance suite that differ in more than a detail.
func rows() (rows []conformance.Row) {
	for _, r := range conformance.Rows() {
		if !r.Core {
			rows = append(rows, r)
		}
	}
	for _, r := range conformance.ServeRows() {
		if !r.Core {
			rows = append(rows, r)
		}
	}
	return rows
}

func newWorld(t *testing.T, row conformance.Row) *world {
	log := newEventLog()
	b := row.Open(t, func(o *ringfd.Options) { o.Events = log.events() })
	w := &world{backend: b, log: log, onRing: b.Kind() == ringfd.IOUring}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w.peers = l
	w.dead, w.full = conformance.DeadAddr(t, "tcp4"), conformance.FullAddr(t, "tcp4", b)
	if row.Served {
		w.startServe(t)
	}
	return w
}

// startServe has Serve give its connections to the sequences, as DialServe does.
func (w *world) startServe(t *testing.T) {
	l, err := w.backend.Listen(t.Context(), "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w.serve, w.served = l, make(chan held, 16)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.backend.Serve(ctx, l, hold(w.served)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		_ = l.Close()
	})
}

// held is a connection whose handler waits for done.
type held struct {
	f    *fd.FD
	done chan struct{}
}

// hold returns a handler that gives its connection away, and waits.
func hold(give chan<- held) fd.Handler {
	return fd.Handler{Blocking: func(f *fd.FD) {
		h := held{f, make(chan struct{})}
		give <- h // which has room
		f.Offload(func() { <-h.done })
	}}
}

func (v verdict) String() string {
	text := ""
	if v.waits {
		text = "that it waits; "
	}
	if v.succeeds {
		text += fmt.Sprintf("%d to %d bytes; ", v.min, v.max)
	}
	for _, o := range v.outcomes {
		text += fmt.Sprintf("%q with %v; ", o.reason, o.is)
	}
	return text
}
