package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// style is a backend and a way to serve on it.
type style struct {
	name    string
	kind    ringfd.Kind
	handler fd.Handler // empty: a goroutine per connection, by accept.Loop
}

// styles are all; net is the control group.
var styles = []style{
	{name: "net", kind: ringfd.Net},
	{name: "io_uring", kind: ringfd.IOUring},
	{name: "io_uring-blocking", kind: ringfd.IOUring, handler: fd.Handler{Blocking: echo}},
	{name: "io_uring-data", kind: ringfd.IOUring, handler: fd.Handler{Data: echoData}},
}

func (s style) serves() bool { return s.handler.Check() == nil }

// eachStyle runs f for every style that this machine can have.
func eachStyle(t *testing.T, f func(t *testing.T, s style)) {
	for _, s := range styles {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

// site is an echo server, and clients of it on the same backend.
type site struct {
	style    style
	backend  *ringfd.Backend
	listener *accept.Listener
	stop     context.CancelFunc
	served   chan error

	deep        atomic.Bool  // calls are made far down the stack
	streams     atomic.Int64 // begun
	echoed      atomic.Int64 // bytes that came back
	unexpected  atomic.Pointer[fd.Error]
	ended       [fd.UnexpectedWhenClosing + 1]atomic.Int64 // FDs, by reason
	refusals    atomic.Int64                               // accepts that failed
	lastRefusal atomic.Pointer[accept.Error]
}

// begin opens a backend.
func (s style) begin(change ...func(*ringfd.Options)) (*site, error) {
	st := &site{style: s}
	o := ringfd.Options{
		Backend: s.kind,
		Events:  &fd.Events{Close: st.closed},
		Accept: accept.Loop{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, OnError: func(err *accept.Error, _ time.Duration) {
			st.lastRefusal.Store(err)
			st.refusals.Add(1)
		}},
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	st.backend, err = ringfd.Open(o)
	return st, err
}

// closed counts the reasons of all FDs.
func (s *site) closed(c fd.Closed) {
	s.ended[c.Cause.Reason].Add(1)
	if c.Cause.Op == "connect" {
		return // who dialled has got the error
	}
	if c.Cause.Reason == fd.Unexpected || c.Cause.Reason == fd.UnexpectedWhenClosing {
		s.unexpected.CompareAndSwap(nil, c.Cause)
	}
}

// open is begin, for the length of a test, which fails if anything is left at its
// end or an FD has ended for a reason that nobody should see.
func (s style) open(t testing.TB, change ...func(*ringfd.Options)) *site {
	t.Helper()
	guard(t)
	st, err := s.begin(change...)
	if unavailable, ok := errors.AsType[*ringfd.UnavailableError](err); ok {
		t.Skipf("%v (a kernel that allows io_uring would make this run)", unavailable)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.end(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// listen begins to serve, on the loopback.
func (s *site) listen(t testing.TB) {
	t.Helper()
	if err := s.serve("127.0.0.1:0", accept.Config{}); err != nil {
		t.Fatal(err)
	}
}

// serve begins to serve.
func (s *site) serve(address string, config accept.Config) error {
	l, err := s.backend.Listen(context.Background(), "tcp4", address, config)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.listener, s.stop, s.served = l, stop, make(chan error, 1)
	go func() { s.served <- s.run(ctx) }()
	return nil
}

func (s *site) run(ctx context.Context) error {
	if s.style.serves() {
		return s.backend.Serve(ctx, s.listener, s.style.handler)
	}
	loop := accept.Loop{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, OnError: func(err *accept.Error, _ time.Duration) {
		s.lastRefusal.Store(err)
		s.refusals.Add(1)
	}}
	var handlers sync.WaitGroup
	err := loop.Run(ctx, s.listener, func(f *fd.FD, _ net.Addr) { handlers.Go(func() { echo(f) }) })
	handlers.Wait()
	return err
}

// end ends all, and says what is wrong or left.
func (s *site) end() (err error) {
	if s.listener != nil {
		s.stop()
		if served := <-s.served; served != nil {
			err = fmt.Errorf("serving ended: %w", served)
		}
		if closed := s.listener.Close(); !errors.Is(closed, net.ErrClosed) {
			err = errors.Join(err, closed)
		}
	}
	left := s.backend.Stats()
	for end := time.Now().Add(leakPatience); busy(left) && time.Now().Before(end); left = s.backend.Stats() {
		time.Sleep(time.Millisecond) // a CQE that nobody waits for, of a cancel say
	}
	if busy(left) {
		err = errors.Join(err, fmt.Errorf("leak: %d sockets, %d listeners and %d requests in flight are left", left.Sockets, left.Listeners, left.InFlight))
	}
	err = errors.Join(err, s.backend.Close())
	if e := s.unexpected.Load(); e != nil {
		err = errors.Join(err, fmt.Errorf("an FD ended for the reason %q: %w", e.Reason, e))
	}
	return err
}

func busy(s ringfd.Stats) bool { return s.Sockets != 0 || s.Listeners != 0 || s.InFlight != 0 }

// echo is the server of blocking style. Its buffers are of the sizes at which
// receiving changes its ways.
func echo(f *fd.FD) {
	defer f.Close()
	buf := make([]byte, []int{500, 4 << 10, 64 << 10}[f.ID()%3])
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return
		}
		junk(buf[:n]) // the library must be done with it
	}
}

// echoData is the server of data style.
func echoData(f *fd.FD, data []byte) {
	if _, err := f.Write(data); err != nil {
		_ = f.CloseWithReason(err)
	}
	junk(data)
}

// dial connects a client.
func (s *site) dial() (*fd.FD, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.backend.Dial(ctx, "tcp4", s.listener.Addr().String())
}

// dialServe connects a client that h serves.
func (s *site) dialServe(h fd.Handler) (*fd.FD, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.backend.DialServe(ctx, "tcp4", s.listener.Addr().String(), h)
}

// random returns a source that is like no other of this run.
func (s *site) random() *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(s.streams.Add(1)))) }
