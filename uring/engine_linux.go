package uring

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/testsize"
)

// Engine serves goroutines that make blocking calls, with a few pollers over which the
// connections are spread in turns; and handlers, on loops.
type Engine struct {
	config Config
	used   Features

	pollers   atomic.Pointer[[]*poller]
	pollersMu heldLock      // held to add one
	addAt     int64         // by the clock: when one may be added, at the earliest; guarded by pollersMu
	next      atomic.Uint32 // the poller of the next socket
	wakers    wakers
	requests  sync.Pool      // of *request, of goroutines
	telling   sync.WaitGroup // goroutines that call Events.RingLost
	behind    sync.WaitGroup // goroutines that do what a Data handler did not wait for

	users sync.Map // goroutine → *descriptorUser

	spinning         atomic.Bool // a reader spins: BusyPoll
	spins, spinsLost atomic.Uint64

	mu        sync.Mutex
	closed    bool
	ended     chan struct{} // closed when Close has done its work
	sockets   map[*Socket]struct{}
	listeners map[*Listener]struct{}

	loopsMu     heldLock
	loops       atomic.Pointer[loops] // nil before the first use
	loopsClosed bool
}

// Config configures an Engine.
type Config struct {
	// Without masks optional features.
	Without Features
	// BusyPoll is how long a reader spins before it parks; zero is never.
	BusyPoll time.Duration
	// Loops configures what Serve runs on.
	Loops LoopConfig
}

// New probes the kernel (once per process) and starts a poller. Where RLIMIT_MEMLOCK
// does not allow its ring it tries smaller ones. The error says why io_uring cannot be
// used; Cure knows what to do about it.
func New(c Config) (*Engine, error) {
	report := Probe()
	if report.Err != nil {
		return nil, report.Err
	}
	used := (report.Found & usedFeatures &^ c.Without).consistent()
	e := &Engine{config: c, used: used, ended: make(chan struct{}), sockets: make(map[*Socket]struct{}), listeners: make(map[*Listener]struct{})}
	first, err := e.newPoller()
	if err != nil {
		return nil, explain(err)
	}
	e.pollers.Store(&[]*poller{first})
	e.wakers.start()
	return e, nil
}

// poller picks the poller of a new socket or listener. There are as many as Ps, as far as
// they are needed and can be made.
func (e *Engine) poller() *poller {
	n := e.next.Add(1) - 1
	all := *e.pollers.Load()
	if int(n) >= len(all) && len(all) < e.wantedPollers() {
		all = e.addPoller()
	}
	return all[int(n)%len(all)]
}

func (e *Engine) wantedPollers() int {
	return testsize.Now.Pollers(runtime.GOMAXPROCS(0))
}

// addPoller adds one, unless that has just failed or another goroutine is about it: the
// pollers that there are do as well.
func (e *Engine) addPoller() []*poller {
	if !e.pollersMu.TryLock() {
		return *e.pollers.Load()
	}
	defer e.pollersMu.Unlock()
	all := *e.pollers.Load()
	if len(all) >= e.wantedPollers() || e.isClosed() || clock() < e.addAt {
		return all
	}
	var p *poller
	var err error
	if !e.wakers.outside(func() { p, err = e.newPoller() }) || err != nil {
		e.addAt = clock() + int64(renewEvery)
		return all
	}
	all = append(all[:len(all):len(all)], p)
	e.pollers.Store(&all)
	return all
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

// consistent takes out of f what is of no use without another feature: a short
// send counts as a failure, and so posts a completion, with MSG_WAITALL only, and Linux
// before 6.1 does not say then how much was sent; a kernel that says of unix sockets
// whether there is more says so of TCP.
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
	for s := range sockets {
		s.abortAll() // a handler may wait for one: first of all
	}
	for l := range listeners {
		_ = l.Close()
	}
	e.closeLoops()
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
	e.behind.Wait()    // no handler is left to add to it
	e.pollersMu.Lock() // one that is being added is in the list, or none is any more
	pollers := *e.pollers.Load()
	e.pollersMu.Unlock()
	for _, p := range pollers {
		p.stop()
	}
	e.wakers.stop()
	e.telling.Wait()
}

// Stats are the engine's counters.
type Stats struct {
	Sockets, Listeners           int
	InFlight                     int
	Enters, Submitted, Completed uint64
	Wakeups                      uint64
	Spins, SpinsLost             uint64
	RingsLost                    uint64
	Loops                        []LoopStats
}

// Stats returns the counters; it takes a few locks for a moment.
func (e *Engine) Stats() Stats {
	s := Stats{Spins: e.spins.Load(), SpinsLost: e.spinsLost.Load()}
	for _, p := range *e.pollers.Load() {
		b := &p.batch
		s.InFlight += int(b.waited.Load())
		s.Enters += b.enters.Load()
		s.Submitted += b.submitted.Load()
		s.Completed += b.completed.Load()
		s.Wakeups += p.wakeups.Load()
		s.RingsLost += b.ringsLost.Load()
	}
	e.mu.Lock()
	s.Sockets, s.Listeners = len(e.sockets), len(e.listeners)
	e.mu.Unlock()
	if set := e.loops.Load(); set != nil {
		for _, l := range set.all {
			loop := l.snapshot()
			s.Sockets += loop.Connections
			s.Loops = append(s.Loops, loop)
		}
	}
	return s
}

// coroutine returns the coroutine that the caller is, if it is a handler on a loop. The
// error is that of a handler that cannot wait.
func (e *Engine) coroutine() (*coroutine, error) {
	r := e.runner()
	switch {
	case r == nil:
		return nil, nil
	case r.nested:
		return nil, fd.ErrNested
	case !r.canWait():
		return nil, fd.ErrHoldsLoop
	}
	return r.co, nil
}

// Away runs work, which may wait. A handler's loop goes on meanwhile; the error is that
// of a handler that cannot wait.
func (e *Engine) Away(work func()) error {
	co, err := e.coroutine()
	switch {
	case err != nil:
		return err
	case co == nil:
		work()
	default:
		co.c.Offload(work)
	}
	return nil
}
