package soak

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// patience is how long a peer that misbehaves waits for what it is due.
const patience = 10 * time.Second

// faults are peers that misbehave, several at a time, one after the other.
type faults struct {
	spec    Spec
	pattern []byte
	peers   []*rand.Rand // of those at a time, their choices
}

func newFaults(spec Spec) *faults {
	f := &faults{spec: spec, pattern: pattern(spec)}
	for i := range spec.Faulty {
		f.peers = append(f.peers, rand.New(rand.NewPCG(spec.Seed, uint64(i))))
	}
	return f
}

// run lets them misbehave for d. All of them are gone when it returns.
func (f *faults) run(d time.Duration) (counts map[string]uint64, checked uint64, err error) {
	end := time.Now().Add(d)
	counts = make(map[string]uint64)
	var mu sync.Mutex // guards what is returned
	var all sync.WaitGroup
	for _, random := range f.peers {
		all.Go(func() {
			p := &peer{faults: f, random: random, end: end, counts: make(map[string]uint64)}
			failed := p.misbehave()
			mu.Lock()
			defer mu.Unlock()
			for name, n := range p.counts {
				counts[name] += n
			}
			checked += p.checked
			err = errors.Join(err, failed)
		})
	}
	all.Wait()
	return maps.Clone(counts), checked, err
}

// peer is one after the other.
type peer struct {
	*faults
	random  *rand.Rand
	end     time.Time
	counts  map[string]uint64
	checked uint64
	conn    *net.TCPConn
	stream  stream // what comes in on conn
}

// fault is a way to misbehave. It ends conn, or leaves that to the caller.
type fault struct {
	name string
	do   func(p *peer) error
}

// The ways to misbehave.
var all = []fault{
	{"reset", (*peer).reset},
	{"reset at once", (*peer).abort},
	{"half-close", (*peer).halfClose},
	{"stall", (*peer).stall},
	{"vanish", (*peer).vanish},
	{"silence", (*peer).silence},
	{"torn message", (*peer).tear},
}

// misbehave goes on until the end.
func (p *peer) misbehave() error {
	for time.Now().Before(p.end) {
		one := all[p.random.IntN(len(all))]
		group := p.random.IntN(len(p.spec.Groups))
		addresses := p.spec.Groups[group]
		listener := p.random.IntN(len(addresses))
		conn, err := net.DialTimeout("tcp", addresses[listener], patience)
		if err != nil {
			return fmt.Errorf("a peer, %s, at listener %d of group %d: %w", one.name, listener, group, err)
		}
		p.conn = conn.(*net.TCPConn)
		_ = p.conn.SetDeadline(time.Now().Add(patience))
		if p.stream = newEchoes(p); group > 0 {
			p.stream = newBroadcasts(p)
		}
		err = one.do(p)
		_ = p.conn.Close()
		if err != nil {
			return fmt.Errorf("a peer, %s, at listener %d of group %d: %w", one.name, listener, group, err)
		}
		p.counts[one.name]++
		time.Sleep(min(p.upTo(5*time.Millisecond), time.Until(p.end)))
	}
	return nil
}

// upTo returns a random time.
func (p *peer) upTo(d time.Duration) time.Duration { return time.Duration(p.random.Int64N(int64(d))) }

// pause returns a random time for a peer to do nothing in: some time that is left.
func (p *peer) pause() time.Duration {
	return p.upTo(max(time.Millisecond, min(time.Until(p.end), time.Second)))
}

// reset ends the connection by RST, in the midst of what it is due.
func (p *peer) reset() error {
	if err := p.stream.begin(p.random.IntN(64 << 10)); err != nil {
		return err
	}
	if err := p.stream.take(p.random.IntN(4 << 10)); err != nil {
		return err
	}
	return p.conn.SetLinger(0)
}

// abort resets a connection that may not have been accepted yet.
func (p *peer) abort() error { return p.conn.SetLinger(0) }

// halfClose says that nothing follows, and takes all that it is still due.
func (p *peer) halfClose() error {
	done := p.later(p.random.IntN(256<<10), p.conn.CloseWrite)
	return errors.Join(p.stream.takeAll(), <-done)
}

// stall does not read for a while: what it is due fills all buffers on the way.
func (p *peer) stall() error {
	done := p.later(64<<10+p.random.IntN(4<<20), func() error { return nil })
	time.Sleep(p.pause())
	return errors.Join(p.stream.takeSome(), <-done)
}

// vanish lets the connection go without a word to the other end, which finds out
// when it sends.
func (p *peer) vanish() error {
	err := p.stream.begin(1 + p.random.IntN(64<<10))
	if err != nil || time.Until(p.end) < 200*time.Millisecond {
		return err
	}
	return vanish(p.conn)
}

// silence says nothing, and ends after a while. If there is time to be found out,
// it ends without a word too.
func (p *peer) silence() error {
	time.Sleep(p.pause())
	if time.Until(p.end) < foundOut {
		return nil
	}
	return vanish(p.conn)
}

// foundOut is after how long keepalive finds that a silent peer has vanished.
const foundOut = 2500 * time.Millisecond

// tear ends the connection in the midst of a message.
func (p *peer) tear() error { return p.stream.begin(1 + p.random.IntN(p.spec.Message-1)) }

// later says n bytes and then does end, beside the caller, who reads.
func (p *peer) later(n int, end func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- errors.Join(p.stream.begin(n), end()) }()
	return done
}
