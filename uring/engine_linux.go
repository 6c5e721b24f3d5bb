package uring

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/testsize"
)

// Engine serves goroutines that make blocking calls, on a few parked rings: each
// has its locks, in the kernel too, and connections are spread over the rings in
// turns.
type Engine struct {
	rings     []*parked // replaced when they are lost; guarded by ringsMu
	renewedAt []int64   // by the clock: when each was, the last time
	ringsMu   heldLock
	next      atomic.Uint32 // the ring of the next socket
	ringsLost atomic.Uint64
	past      Stats          // of rings that were replaced; guarded by ringsMu
	telling   sync.WaitGroup // goroutines that call Events.RingLost

	mu        sync.Mutex
	closed    bool
	ended     chan struct{} // closed when Close has done its work
	sockets   map[*Socket]struct{}
	listeners map[*Listener]struct{}

	config      Config
	used        Features
	loopsMu     heldLock
	loops       *loops // nil before the first use
	loopsClosed bool
}

// Config configures an Engine.
type Config struct {
	// Without masks optional features.
	Without Features
	// BusyPoll is how long a reader spins before it parks; zero is never.
	BusyPoll time.Duration
	// Entries is the length of each submission queue, a power of two; zero is
	// 1024. The completion queue has eight times as many.
	Entries uint32
	// Loops configures what Serve runs on.
	Loops LoopConfig
}

const (
	defaultEntries = 1024
	maxRings       = 16
)

// New probes the kernel (once per process), makes the rings and starts their
// reapers. When RLIMIT_MEMLOCK does not allow the first it tries smaller ones; when it
// does not allow others it makes do with fewer, so that the loops find some memory
// too.
// The error says why io_uring cannot be used; Cure knows what to do about it.
func New(c Config) (*Engine, error) {
	report := Probe()
	if report.Err != nil {
		return nil, report.Err
	}
	if c.Entries == 0 {
		c.Entries = defaultEntries
	}
	used := (report.Found & usedFeatures &^ c.Without).consistent()
	e := &Engine{config: c, used: used, ended: make(chan struct{}), sockets: make(map[*Socket]struct{}), listeners: make(map[*Listener]struct{})}
	for range testsize.Now.ParkedRings(rings(runtime.GOMAXPROCS(0))) {
		p, err := e.newParked()
		if err != nil {
			if len(e.rings) > 0 {
				break // fewer rings do as well
			}
			return nil, explain(err)
		}
		e.rings = append(e.rings, p)
	}
	e.renewedAt = make([]int64, len(e.rings))
	return e, nil
}

// rings returns how many rings serve so many Ps: one for one, which batches
// best; else two each, so that two Ps seldom meet at the locks of one.
func rings(procs int) int {
	if procs == 1 {
		return 1
	}
	return min(2*procs, maxRings)
}

func (e *Engine) newParked() (*parked, error) {
	newOne := newRingThatFits
	if len(e.rings) > 0 {
		newOne = makeRing
	}
	r, err := newOne(e.config.Entries, setupFlags(e.used)|setupRestricted(e.used))
	if err != nil {
		return nil, err
	}
	if err := r.enable(allowedParked(e.used)); err != nil {
		r.close()
		return nil, err
	}
	p, err := park(r, e.used, e.config.BusyPoll)
	if err != nil {
		return nil, err
	}
	p.onDeath = func(lost error) {
		e.ringsLost.Add(1)
		e.tellLost(lost)
	}
	return p, nil
}

// ring picks the ring of a new socket or listener. One that is lost is replaced here,
// now and then; while it cannot be, the next one that is left does. When none is, the
// one that is returned refuses all requests, and says why.
func (e *Engine) ring() *parked {
	e.ringsMu.Lock()
	defer e.ringsMu.Unlock()
	n := int(e.next.Add(1) % uint32(len(e.rings)))
	for i := range e.rings {
		i = (n + i) % len(e.rings)
		if !e.rings[i].lost.Load() || e.renew(i) {
			return e.rings[i]
		}
	}
	return e.rings[n]
}

// renew replaces a ring that is lost, and reports whether it did. Its last socket or
// listener frees it.
func (e *Engine) renew(i int) bool {
	if now := clock(); e.renewedAt[i] != 0 && now-e.renewedAt[i] < int64(renewEvery) || e.isClosed() {
		return false
	}
	<-e.rings[i].gone
	e.renewedAt[i] = clock()
	p, err := e.newParked()
	if err != nil {
		e.tellLost(&RingLostError{Err: err})
		return false
	}
	e.rings[i].stats(&e.past)
	e.rings[i].freeIfLost()
	e.rings[i] = p
	return true
}

// tellLost calls Events.RingLost, on a goroutine: who finds that a ring is lost may
// hold locks, or a loop.
func (e *Engine) tellLost(lost error) {
	if told := e.config.Loops.Events; told != nil && told.RingLost != nil {
		e.telling.Go(func() { told.RingLost(lost) })
	}
}

// usedFeatures are those that this package takes advantage of.
var usedFeatures = func() (f Features) {
	for _, info := range FeatureTable {
		if info.Used {
			f |= info.Bit
		}
	}
	return f
}()

func setupFlags(f Features) (flags uint32) {
	for _, s := range []struct {
		feature Features
		flags   uint32
	}{
		{FeatureSubmitAll, setupSubmitAll},
		{FeatureCoopTaskrun, setupCoopTaskrun},
		{FeatureNoSQArray, setupNoSQArray},
	} {
		if f.Has(s.feature) {
			flags |= s.flags
		}
	}
	if f.Has(FeatureTaskrunFlag | FeatureCoopTaskrun) { // the flag alone is EINVAL
		flags |= setupTaskrunFlag
	}
	return flags
}

// sendFlags are the flags of every send. With MSG_WAITALL the kernel retries a
// short send itself; but those of before Linux 6.1 that do so forget what they
// have sent when the request is cancelled or must not wait, and the stream would
// have it twice.
func (f Features) sendFlags() uint32 {
	if f.Has(FeatureSendWaitAll) {
		return unix.MSG_NOSIGNAL | unix.MSG_WAITALL
	}
	return unix.MSG_NOSIGNAL
}

// consistent takes out of f what is of no use without another feature: a short
// send counts as a failure, and so posts a completion, with MSG_WAITALL only; a kernel
// that says of unix sockets whether there is more says so of TCP.
func (f Features) consistent() Features {
	if !f.Has(FeatureSendWaitAll) {
		f &^= FeatureSkipSuccess
	}
	if !f.Has(FeatureSockNonempty) {
		f &^= FeatureUnixNonempty
	}
	return f
}

// Features returns the optional features in use.
func (e *Engine) Features() Features { return e.used }

// Owns reports that l is a listener of e.
func (e *Engine) Owns(l *Listener) bool { return l.engine == e }

// Close closes every socket and listener, waits for their requests, and frees
// the rings. Closing again waits for that, and returns net.ErrClosed. A handler on a
// loop does not wait: it is one of those who are waited for.
func (e *Engine) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	sockets, listeners := e.sockets, e.listeners
	if first {
		e.sockets, e.listeners = nil, nil
	}
	e.mu.Unlock()
	inHandler := e.runner() != nil
	switch {
	case first && inHandler:
		go e.end(sockets, listeners)
		return nil
	case first:
		e.end(sockets, listeners)
		return nil
	case !inHandler:
		<-e.ended
	}
	return net.ErrClosed
}

// closers is how many sockets are closed at a time.
const closers = 256

func (e *Engine) end(sockets map[*Socket]struct{}, listeners map[*Listener]struct{}) {
	defer close(e.ended)
	for l := range listeners {
		_ = l.Close()
	}
	e.closeLoops()
	for s := range sockets {
		s.closing.Lock()
		s.abortAll()
		s.closing.Unlock()
	}
	// Each waits for its requests; together they wait once.
	var closing sync.WaitGroup
	turns := make(chan struct{}, closers)
	for s := range sockets {
		turns <- struct{}{}
		closing.Go(func() {
			_ = s.Close()
			<-turns
		})
	}
	closing.Wait()
	e.ringsMu.Lock()
	for _, p := range e.rings {
		p.close()
	}
	e.ringsMu.Unlock()
	e.telling.Wait()
}

// Stats are the engine's counters.
type Stats struct {
	Sockets, Listeners, InFlight                      int
	Enters, Submitted, Completed                      uint64
	Wakeups, Overflows, Resubmitted, Spins, SpinsLost uint64
	RingsLost                                         uint64
	Loops                                             []LoopStats
}

// Stats returns the counters; it takes a few locks for a moment.
func (e *Engine) Stats() Stats {
	e.ringsMu.Lock()
	s := e.past
	s.RingsLost = e.ringsLost.Load()
	for _, p := range e.rings {
		p.stats(&s)
	}
	e.ringsMu.Unlock()
	e.mu.Lock()
	s.Sockets, s.Listeners = len(e.sockets), len(e.listeners)
	e.mu.Unlock()
	e.loopsMu.Lock()
	set := e.loops
	e.loopsMu.Unlock()
	if set != nil {
		for _, l := range set.all {
			loop := l.snapshot()
			s.Sockets += loop.Connections
			s.Loops = append(s.Loops, loop)
		}
	}
	return s
}
