package uring

import (
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stepPoller gives s a poller that looks only when the test says so, by its poll: all
// that comes in between is one event.
func stepPoller(t *testing.T, s *Socket) *poller {
	t.Helper()
	p := &poller{engine: s.engine}
	p.batch.engine = s.engine
	var err error
	if p.epoll, err = sysEpollCreate(); err == nil {
		err = p.batch.open()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		p.batch.close()
		_ = sysClose(p.epoll)
	})
	s.endpoint.poller = p
	return p
}

// reading is a Read on a goroutine.
type reading struct {
	s     *Socket
	buf   []byte
	ended chan struct{}
	n     int
	err   error
}

func startRead(s *Socket, size int) *reading {
	r := &reading{s: s, buf: make([]byte, size), ended: make(chan struct{})}
	go func() {
		r.n, r.err = s.Read(r.buf)
		close(r.ended)
	}()
	return r
}

// errWaits is of a Read that waits.
var errWaits = errors.New("it waits")

// end returns the outcome of the Read, or errWaits.
func (r *reading) end(t *testing.T) ([]byte, error) {
	t.Helper()
	over := func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	}
	until(t, "Read ends or waits", func() bool { return over() || r.s.read.state.Load()&dirWaiting != 0 })
	if !over() {
		return nil, errWaits
	}
	return r.buf[:r.n], r.err
}

// rest reads to the end, or until there is nothing. first is the Read that was there
// before.
func rest(t *testing.T, first *reading) (got []byte, err error) {
	t.Helper()
	for r := first; ; r = startRead(first.s, len(first.buf)) {
		part, err := r.end(t)
		got = append(got, part...)
		if err != nil {
			return got, err
		}
	}
}

// tcpState returns the state of a TCP connection (include/net/tcp_states.h).
func tcpState(t *testing.T, sysfd int32) uint8 {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(int(sysfd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return info.State
}

const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// TestMore has a peer do in one go what a receive ends in the middle of. The reader gets
// everything by a single event, and never waits while something lies there.
func TestMore(t *testing.T) {
	send := func(t *testing.T, peer int, text string, flags int) {
		t.Helper()
		err := unix.Sendto(peer, []byte(text), flags, nil)
		if err == unix.EOPNOTSUPP && flags&unix.MSG_OOB != 0 {
			t.Skip("no urgent data on unix sockets here: Linux 5.15 makes this run")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := func(t *testing.T, _ *Socket, peer int) bool {
		n, err := unix.IoctlGetInt(peer, unix.TIOCOUTQ)
		return err != nil || n == 0
	}
	inState := func(want uint8) func(*testing.T, *Socket, int) bool {
		return func(t *testing.T, s *Socket, _ int) bool {
			return s.family == unix.AF_UNIX || tcpState(t, s.sysfd) == want
		}
	}
	for _, c := range []struct {
		name      string
		tcp, unix bool
		buf       int
		before    func(t *testing.T, s *Socket) // before the reader waits
		act       func(t *testing.T, l lane, peer int)
		arrived   func(t *testing.T, s *Socket, peer int) bool
		want      string
		end       error
	}{
		{"a part of a message", true, true, 3, nil, func(t *testing.T, _ lane, peer int) {
			send(t, peer, "0123456789", 0)
		}, acknowledged, "0123456789", errWaits},
		{"exactly a message", true, true, 10, nil, func(t *testing.T, _ lane, peer int) {
			send(t, peer, "0123456789", 0)
		}, acknowledged, "0123456789", errWaits},
		{"several messages", true, true, 4, nil, func(t *testing.T, _ lane, peer int) {
			for range 3 {
				send(t, peer, "abcd", 0)
			}
		}, acknowledged, "abcdabcdabcd", errWaits},
		{"the end behind data", true, true, 64, nil, func(t *testing.T, _ lane, peer int) {
			send(t, peer, "last words", 0)
			if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
		}, inState(tcpCloseWait), "last words", io.EOF},
		{"the end behind a part", true, true, 4, nil, func(t *testing.T, _ lane, peer int) {
			send(t, peer, "last words", 0)
			if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
		}, inState(tcpCloseWait), "last words", io.EOF},
		{"a reset behind data", true, true, 64, func(t *testing.T, s *Socket) {
			if s.family == unix.AF_UNIX { // what the peer leaves unread makes its close a reset
				if _, err := s.Write([]byte("unread")); err != nil {
					t.Fatal(err)
				}
			}
		}, func(t *testing.T, l lane, peer int) {
			send(t, peer, "last words", 0)
			resetPeer(t, l, peer)
		}, inState(tcpClose), "last words", syscall.ECONNRESET},
		{"urgent data", true, true, 64, nil, func(t *testing.T, _ lane, peer int) {
			send(t, peer, "before", 0)
			send(t, peer, "!", unix.MSG_OOB)
			send(t, peer, "after", 0)
		}, acknowledged, "beforeafter", errWaits},
		{"urgent data, and the end", true, false, 64, nil, func(t *testing.T, _ lane, peer int) {
			send(t, peer, "before", 0)
			send(t, peer, "!", unix.MSG_OOB)
			if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
		}, inState(tcpCloseWait), "before", io.EOF},
		{"descriptors", false, true, 64, nil, func(t *testing.T, _ lane, peer int) {
			for _, text := range []string{"one", "two", "three"} {
				if err := unix.Sendmsg(peer, []byte(text), unix.UnixRights(peer), nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			send(t, peer, "four", 0)
		}, acknowledged, "onetwothreefour", errWaits},
		{"descriptors, and the end", false, true, 64, nil, func(t *testing.T, _ lane, peer int) {
			if err := unix.Sendmsg(peer, []byte("one"), unix.UnixRights(1), nil, 0); err != nil {
				t.Fatal(err)
			}
			send(t, peer, "two", 0)
			if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
		}, inState(0), "onetwo", io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachLane(t, func(t *testing.T, l lane) {
				if l.tcp() && !c.tcp || !l.tcp() && !c.unix {
					return
				}
				for _, buf := range []int{c.buf, receiveLimit + 1} { // a large one is its reader's to fill
					e := newEngine(t, Config{Without: l.without})
					s, peer := l.pair(t, e)
					p := stepPoller(t, s)
					if c.before != nil {
						c.before(t, s)
					}
					r := startRead(s, buf)
					untilWaits(t, &s.read)
					c.act(t, l, peer)
					if l.tcp() {
						until(t, "all has arrived", func() bool { return c.arrived(t, s, peer) })
					}
					p.poll()
					got, err := rest(t, r)
					if string(got) != c.want || !errors.Is(err, c.end) {
						t.Errorf("by %d bytes: read %q, and then: %v; want %q, and then: %v", buf, got, err, c.want, c.end)
					}
					if p.batch.ring != nil && buf == c.buf && p.batch.submitted.Load() == 0 {
						t.Error("the poller did not receive for the reader: the test shows nothing")
					}
				}
			})
		})
	}
}

// resetPeer closes the peer so that our end gets a reset. The number stays taken, for
// the end of the test to close.
func resetPeer(t *testing.T, l lane, peer int) {
	t.Helper()
	if l.tcp() {
		if err := sysSetLinger(peer, &unix.Linger{Onoff: 1}); err != nil {
			t.Fatal(err)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), peer, unix.O_CLOEXEC); err != nil { // closes what was there
		t.Fatal(err)
	}
}

// TestLessIsNoEnd: after a receive by the poller that emptied the socket the next Read
// does not look, where the ring can say so; it does where it cannot, and where the
// application may have changed what a receive is: one that kernel TLS answers ends
// with its record, and says nothing of the next.
func TestLessIsNoEnd(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		for _, touched := range []bool{false, true} {
			e := newEngine(t, Config{Without: l.without})
			s, peer := l.pair(t, e)
			p := stepPoller(t, s)
			if touched {
				if _, err := s.SyscallConn(); err != nil {
					t.Fatal(err)
				}
			}
			r := startRead(s, 64)
			untilWaits(t, &s.read)
			if _, err := unix.Write(peer, []byte("record")); err != nil {
				t.Fatal(err)
			}
			until(t, "it arrives", func() bool { n, _ := unix.IoctlGetInt(int(s.sysfd), unix.TIOCINQ); return n == len("record") })
			p.poll()
			if got, err := r.end(t); string(got) != "record" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			looks := s.read.state.Load()&dirReady != 0
			if want := touched || !l.exact(e); looks != want {
				t.Errorf("descriptor given away: %v; the next Read looks: %v, want %v", touched, looks, want)
			}
		}
	})
}

// TestShortReceives has the next part of a stream come after each receive and without an
// event of its own, as records of kernel TLS do that wait to be decrypted.
func TestShortReceives(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		e := newEngine(t, Config{Without: l.without})
		s, peer := l.pair(t, e)
		p := stepPoller(t, s)
		if _, err := s.SyscallConn(); err != nil {
			t.Fatal(err)
		}
		r := startRead(s, 64)
		untilWaits(t, &s.read)
		for range 5 {
			if _, err := unix.Write(peer, []byte("record")); err != nil {
				t.Fatal(err)
			}
			until(t, "it arrives", func() bool { n, _ := unix.IoctlGetInt(int(s.sysfd), unix.TIOCINQ); return n == len("record") })
			if s.read.state.Load()&dirWaiting != 0 {
				p.poll() // the first only
			}
			if got, err := r.end(t); string(got) != "record" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			if s.read.state.Load()&dirReady == 0 {
				t.Fatal("the next Read does not look")
			}
			if _, err := unix.Write(peer, []byte("record")); err != nil {
				t.Fatal(err)
			}
			if got, err := startRead(s, 64).end(t); string(got) != "record" || err != nil {
				t.Fatalf("read %q, %v, and no event is to tell of it", got, err)
			}
			r = startRead(s, 64)
			if _, err := r.end(t); err != errWaits {
				t.Fatalf("with nothing there: %v", err)
			}
			p.poll() // the events of what was received
			if _, err := r.end(t); err != errWaits {
				t.Fatalf("with nothing there: %v", err)
			}
		}
	})
}

// TestNoReceiveFindsNothing has 64 connections bounce a byte to and fro: most receives
// are ones that the poller makes for parked readers, when it knows that there is
// something; no other follows. (One that a reader makes itself, because an event came
// before it had parked, may be followed by one that finds nothing.)
func TestNoReceiveFindsNothing(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // readers have parked when the poller looks
	const connections = 64
	s, _ := serve(t, connections, 0)
	if !Probe().Found.Has(FeatureSockNonempty | FeatureUnixNonempty) {
		t.Skip("needs a kernel that says of unix sockets whether there is more (Linux 6.17)")
	}
	messages := uint64(connections * (pingRounds + 1)) // and the end of each
	if s.Submitted != s.Completed {
		t.Errorf("%d receives were submitted, %d completed", s.Submitted, s.Completed)
	}
	// On a machine that does other work as well, readers park late now and then.
	if s.Submitted < messages/2 || s.Submitted > messages+messages/100 {
		t.Errorf("the pollers received %d times for %d messages", s.Submitted, messages)
	}
	t.Logf("%d messages, %d receives by %d io_uring_enter", messages, s.Submitted, s.Enters)
}

// TestMoreAfterDeadline: a reader whose deadline passed while its poller received keeps
// what came.
func TestMoreAfterDeadline(t *testing.T) {
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	p := stepPoller(t, s)
	r := startRead(s, 4)
	untilWaits(t, &s.read)
	if _, err := unix.Write(peer, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := s.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.end(t); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read: %v", err)
	}
	p.poll()
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got, err := startRead(s, 4).end(t); string(got) != "kept" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}
