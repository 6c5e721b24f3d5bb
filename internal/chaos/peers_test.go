package chaos

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// manners are what peers do that have none. Each ends its connection, or leaves that
// to who calls.
var manners = []struct {
	name string
	do   func(c *net.TCPConn, random *rand.Rand)
}{
	{"vanish with a reset", func(c *net.TCPConn, _ *rand.Rand) { _ = c.SetLinger(0) }},
	{"vanish", func(*net.TCPConn, *rand.Rand) {}},
	{"reset in the middle", func(c *net.TCPConn, random *rand.Rand) {
		_, _ = c.Write(noise[:size(random, unread)])
		_, _ = c.Read(make([]byte, size(random, unread)))
		_ = c.SetLinger(0)
	}},
	{"half-close", func(c *net.TCPConn, random *rand.Rand) {
		_, _ = c.Write(noise[:size(random, unread)])
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}},
	{"half-close the other half", func(c *net.TCPConn, random *rand.Rand) {
		_ = c.CloseRead()
		_, _ = c.Write(noise[:size(random, unread)])
	}},
	{"stall", func(c *net.TCPConn, random *rand.Rand) {
		// Until nothing goes any more, since the echo is not read.
		_ = c.SetReadBuffer(4 << 10)
		for {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := c.Write(noise); err != nil {
				return
			}
		}
	}},
	{"flood", func(c *net.TCPConn, random *rand.Rand) {
		drained := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, c)
			close(drained)
		}()
		for range 1 + random.IntN(4) {
			_, _ = c.Write(noise)
		}
		_ = c.CloseWrite()
		<-drained
	}},
}

// peers connect, misbehave, and leave.
func peers(t testing.TB, s *site) (end func()) {
	address := s.listener.Addr().String()
	return repeat(t, 3, func() error {
		random := s.random()
		c, err := net.Dial("tcp4", address)
		if err != nil {
			return err
		}
		defer c.Close()
		// One that the server does not serve must not hold the test for ever.
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		manners[random.IntN(len(manners))].do(c.(*net.TCPConn), random)
		return nil
	})
}

// TestPeers has peers of each kind, one after the other, and looks at how the FDs of
// the server end.
func TestPeers(t *testing.T) {
	eachStyle(t, func(t *testing.T, st style) {
		s := st.open(t)
		s.listen(t)
		const each = 5
		rounds(func() {
			for _, m := range manners {
				for range each {
					c, err := net.Dial("tcp4", s.listener.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					m.do(c.(*net.TCPConn), s.random())
					_ = c.Close()
				}
			}
			s.traffic(t, 2, 16<<10)
		})
		// Every FD is over, for a reason that says what the peer did. One that was
		// reset in the backlog was perhaps never accepted.
		told := func() bool { return s.ended[fd.ClosedByPeer].Load() > 0 && s.ended[fd.Lost].Load() > 0 }
		for deadline := time.Now().Add(patience); (s.backend.Stats().Sockets > 0 || !told()) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		for _, r := range []fd.Reason{fd.ClosedByPeer, fd.Lost} {
			if s.ended[r].Load() == 0 {
				t.Errorf("no FD has ended for the reason %q", r)
			}
		}
		t.Logf("closed by peer %d, by us %d, lost %d; %d accepts failed",
			s.ended[fd.ClosedByPeer].Load(), s.ended[fd.ClosedLocally].Load(), s.ended[fd.Lost].Load(), s.refusals.Load())
	})
}

// TestVanishedPeersEnd is about a connection that stalls: what the server waits with
// ends when its peer goes.
func TestVanishedPeersEnd(t *testing.T) {
	eachStyle(t, func(t *testing.T, st style) {
		s := st.open(t)
		s.listen(t)
		f, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// The echo is not read: nothing goes any more, and the server waits for room, not
		// for the processor.
		for stuck := 0; stuck < 5; stuck++ {
			_ = f.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			n, err := f.Write(noise)
			if n > 0 {
				stuck = 0
			}
			if err == nil {
				continue
			}
			if !isDeadline(err) {
				t.Fatal(err)
			}
			if e, ok := errors.AsType[*fd.Error](err); !ok || e.Reason != fd.None {
				t.Fatalf("%v (%T), want an *fd.Error without a reason", err, err)
			}
		}
		// With bytes unread, closing resets (RFC 2525, 2.17).
		_ = f.Close()
		// Both ends; the guard's patience ends it. An FD is told of after its socket.
		over := func() (n int64) {
			for _, k := range s.counts() {
				n += k
			}
			return n
		}
		for s.backend.Stats().Sockets > 0 || over() < 2 {
			time.Sleep(time.Millisecond)
		}
		if s.ended[fd.Lost].Load() == 0 {
			t.Errorf("the server's FD was not lost; by reason: %v", s.counts())
		}
	})
}

// counts are the FDs that ended, by reason.
func (s *site) counts() map[fd.Reason]int64 {
	all := make(map[fd.Reason]int64)
	for r := range s.ended {
		if n := s.ended[r].Load(); n > 0 {
			all[fd.Reason(r)] = n
		}
	}
	return all
}
