package soak

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const message = 512

// group serves in one process what a soak needs, until the test ends.
func group(t *testing.T, service control.Service) (addresses []string) {
	t.Helper()
	s := server.New(server.Spec{Service: service, Request: message, Reply: message, Buffer: 64 << 10, Forgets: true})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	for range cap(ended) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, l.Addr().String())
		go func() { ended <- s.ServeNet(ctx, l) }()
	}
	t.Cleanup(func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return addresses
}

// Against a server that does all right the peers find no fault, and each kind of
// misbehaviour was seen.
func TestPeers(t *testing.T) {
	spec := Spec{
		Groups: [][]string{group(t, control.Echo), group(t, control.Fanout)},
		Conns:  16, Members: 8, Churn: 100, Message: message, Faulty: 4, Seed: 1,
	}
	p, err := open(spec)
	if err != nil {
		t.Fatal(err)
	}
	faults := make(map[string]uint64)
	for runs := 0; runs < 20 && len(faults) < len(all); runs++ {
		r, err := p.run(50 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range r.Faults {
			faults[name] += n
		}
		if r.Trace.Messages == 0 || r.Churn.Messages == 0 || len(r.Fanout) != 1 || r.Fanout[0].Messages == 0 || r.Received() <= r.Trace.Received {
			t.Errorf("result %+v", r)
		}
	}
	if len(faults) < len(all) {
		t.Errorf("only these were done: %v", faults)
	}
	if got := spec.Standing(); got != 16+8 {
		t.Errorf("%d connections stand", got)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// one returns a peer that is connected to a server that handle is.
func one(t *testing.T, handle func(net.Conn)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		conn, err := l.Accept()
		if err == nil {
			handle(conn)
			_ = conn.Close()
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = l.Close(); served.Wait() })
	p := &peer{faults: newFaults(Spec{Message: message, Faulty: 1}), end: time.Now().Add(100 * time.Millisecond), conn: conn.(*net.TCPConn)}
	p.random = p.peers[0]
	_ = conn.SetDeadline(time.Now().Add(patience))
	return p
}

func TestEchoesAreChecked(t *testing.T) {
	echo := func(change func([]byte) []byte) func(net.Conn) {
		return func(conn net.Conn) {
			all, err := io.ReadAll(conn)
			if err == nil {
				_, _ = conn.Write(change(all))
			}
		}
	}
	for what, c := range map[string]struct {
		change func([]byte) []byte
		want   error
	}{
		"an echo":                {func(p []byte) []byte { return p }, nil},
		"a wrong byte":           {func(p []byte) []byte { p[len(p)/2] ^= 1; return p }, errWrong},
		"a wrong byte, the last": {func(p []byte) []byte { p[len(p)-1] ^= 1; return p }, errWrong},
		"a byte too few":         {func(p []byte) []byte { return p[1:] }, errWrong},
		"an early end":           {func(p []byte) []byte { return p[:len(p)-1] }, io.ErrUnexpectedEOF},
		"a byte too many":        {func(p []byte) []byte { return append(p, 0) }, errWrong},
	} {
		p := one(t, echo(c.change))
		e := newEchoes(p)
		p.stream = e
		done := p.later(100_000, p.conn.CloseWrite)
		err := errors.Join(e.takeAll(), <-done)
		if !errors.Is(err, c.want) || c.want == nil && e.checked != 100_000 {
			t.Errorf("%s: %v after %d bytes, want %v", what, err, e.checked, c.want)
		}
	}
}

func TestBroadcastsAreChecked(t *testing.T) {
	pattern := pattern(Spec{Message: message})[:message]
	// stamped is broadcast n.
	stamped := func(n byte) []byte {
		m := append([]byte(nil), pattern...)
		copy(m, []byte{n, 0, 0, 0, 0, 0, 0, 0})
		return m
	}
	if stamp := stamped(1); stamp[0] != 1 {
		t.Fatal("no stamp")
	}
	wrong := stamped(7)
	wrong[message/2] ^= 1
	for what, c := range map[string]struct {
		messages [][]byte
		want     error
	}{
		"in order":     {[][]byte{stamped(3), stamped(4), stamped(5)[:9]}, nil},
		"one left out": {[][]byte{stamped(3), stamped(5)}, nil},
		"twice":        {[][]byte{stamped(3), stamped(3)}, errWrong},
		"a wrong byte": {[][]byte{stamped(6), wrong}, errWrong},
	} {
		p := one(t, func(conn net.Conn) {
			for _, m := range c.messages {
				_, _ = conn.Write(m)
			}
		})
		if err := newBroadcasts(p).takeAll(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	// Whom nothing is sent to does not wait for ever, but for the end.
	quiet := one(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	if err := newBroadcasts(quiet).takeSome(); err != nil {
		t.Errorf("without broadcasts: %v", err)
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	f := newFaults(Spec{Groups: [][]string{{address}}, Message: message, Faulty: 2})
	if _, _, err := f.run(time.Second); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("no server: %v", err)
	}
	if _, err := open(Spec{}); err == nil {
		t.Error("a soak of nothing")
	}
}
