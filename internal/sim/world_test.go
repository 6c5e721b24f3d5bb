//go:build linux && sim

package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/simkernel"
	"github.com/ringfd/ringfd/internal/testsize"
	"github.com/ringfd/ringfd/uring"
)

// world is one simulated run: the backend on its kernel, what the application
// does with it, and what is outside.
type world struct {
	seed    uint64
	dice    *simkernel.Dice
	k       *simkernel.Kernel
	backend *ringfd.Backend

	mu         sync.Mutex
	sides      []*side
	byFD       map[*fd.FD]*side
	over       bool
	broadcasts int

	outside   []*outside
	listeners []*accept.Listener
	ports     []int
	cancels   []context.CancelFunc
	workers   sync.WaitGroup
	conns     int // how many there will be

	accepting  atomic.Bool // a goroutine is in Accept
	connecting atomic.Int64
}

// outside is the far end of a connection.
type outside struct {
	e          *simkernel.Endpoint
	quota      int
	stingy     bool // it seldom reads
	shut, hung bool
}

func (w *world) all() []*side {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*side(nil), w.sides...)
}

func (w *world) died() bool { return w.k.PlayedTimes("ring dies") > 0 }

// refused reports that the kernel did not let a ring be made.
func (w *world) refused() bool {
	return w.k.PlayedTimes("setup refused")+w.k.PlayedTimes("register refused") > 0
}

// features draws what the kernel has, and says so in the terms of package uring.
func features(d *simkernel.Dice) (simkernel.Features, uring.Features) {
	has := uring.AllFeatures
	if d.Roll(700) {
		share := d.N(1000)
		for _, info := range uring.FeatureTable {
			if d.Roll(share) {
				has &^= info.Bit
			}
		}
	}
	if !has.Has(uring.FeatureCoopTaskrun) {
		has &^= uring.FeatureTaskrunFlag
	}
	if !has.Has(uring.FeatureSingleIssuer) {
		has &^= uring.FeatureDeferTaskrun
	}
	if !has.Has(uring.FeatureSockNonempty) {
		has &^= uring.FeatureUnixNonempty
	}
	if !has.Has(uring.FeatureBufferRing) {
		has &^= uring.FeatureBufferRingInc | uring.FeatureMultishotRecv
	}
	f := simkernel.Features{
		SendZC: has.Has(uring.FeatureSendZC), SendmsgZC: has.Has(uring.FeatureSendmsgZC), PollFirst: has.Has(uring.FeaturePollFirst),
		BufferRing: has.Has(uring.FeatureBufferRing), BufferRingInc: has.Has(uring.FeatureBufferRingInc),
		MultishotRecv: has.Has(uring.FeatureMultishotRecv), MultishotAccept: has.Has(uring.FeatureMultishotAccept),
		NAPI: has.Has(uring.FeatureNAPI), SyncCancel: has.Has(uring.FeatureSyncCancel),
		SendWaitAll: has.Has(uring.FeatureSendWaitAll), Restrictions: has.Has(uring.FeatureRestrictions),
		SockNonempty: has.Has(uring.FeatureSockNonempty), UnixNonempty: has.Has(uring.FeatureUnixNonempty),
		AcceptDontwait: has.Has(uring.FeatureAcceptDontwait),
		EOFKeepsBuffer: d.Roll(300), BusyWhenFull: d.Roll(300), Overtakes: d.Roll(300), EOFNonempty: d.Roll(300), NonblockEnds: d.Roll(300),
		MaxEntries:     []uint32{0, 0, 2, 4, 8, 16}[d.N(6)],
		MemlockEntries: []uint32{8, 16, 32, 64, 64, 1024}[d.N(6)],
	}
	for _, bit := range []struct {
		feature uring.Features
		setup   uint32
		feat    uint32
	}{
		{uring.FeatureSubmitAll, 1 << 7, 0},
		{uring.FeatureCoopTaskrun, 1 << 8, 0},
		{uring.FeatureTaskrunFlag, 1 << 9, 0},
		{uring.FeatureSingleIssuer, 1 << 12, 0},
		{uring.FeatureDeferTaskrun, 1 << 13, 0},
		{uring.FeatureNoSQArray, 1 << 16, 0},
		{uring.FeatureRestrictions, 1 << 6, 0},
		{uring.FeatureExtArg, 0, 1 << 8},
		{uring.FeatureSkipSuccess, 0, 1 << 11},
		{uring.FeatureBundles, 0, 1 << 14},
		{uring.FeatureMinTimeout, 0, 1 << 15},
	} {
		if has.Has(bit.feature) {
			f.Setup |= bit.setup
			f.Bits |= bit.feat
		}
	}
	return f, has
}

// run is one run; false: it could not go on to its end.
func (w *world) run() (ended bool) {
	if !w.openBackend() {
		return true
	}
	w.listen()
	w.conns = 2 + w.dice.N(7)
	if w.dice.Roll(100) { // a poller finds several ready at a time
		w.conns += 20
	}
	for range 30 + w.dice.N(600) {
		w.turn()
		if len(w.k.Violations()) > 0 {
			return false
		}
	}
	return w.end()
}

// openBackend makes the backend. A refusal is an error that says why.
func (w *world) openBackend() bool {
	d := w.dice
	uring.ResetForSim()
	f, has := features(d)
	weights := simkernel.RandomWeights(d)
	if *deaths && d.Roll(300) {
		weights.Die = d.N(500)
	}
	w.k = simkernel.New(w.seed, f, weights)
	return w.openOn(has)
}

func (w *world) openOn(has uring.Features) bool {
	d := w.dice
	simkernel.Install(w.k)
	w.k.Mutant = mutant
	w.k.Trace = trace
	w.k.Probing(true)
	report := uring.Probe()
	w.k.Probing(false)
	if report.Err != nil {
		w.k.Violate("the probe says %v", report.Err)
		return false
	}
	if report.Found != has {
		w.k.Violate("the probe finds %v of %v; %v", report.Found, has, report.Details)
	}
	var without ringfd.Features
	if d.Roll(200) {
		without = ringfd.Features(d.Next()) & uring.AllFeatures
	}
	options := ringfd.Options{
		Backend: ringfd.IOUring, Without: without,
		Accept: accept.Loop{},
		Events: &fd.Events{Panic: func(uint64, *fd.PanicError) {}}, // which are many, and not told
		Loops: ringfd.LoopOptions{
			Count:      1 + d.N(2),
			WriteLimit: []int{4 << 10, 64 << 10, 1 << 20}[d.N(3)],
			Drain:      []time.Duration{0, -1, 50 * time.Millisecond, time.Millisecond}[d.N(4)],
			ZeroCopy:   []int{0, 1, 1 << 10, 16 << 10}[d.N(4)], HandlerLimit: -1,
		},
	}
	testsize.Now.Poll = 1 + d.N(3)
	b, err := ringfd.Open(options)
	if err != nil {
		var u *ringfd.UnavailableError
		if !errors.As(err, &u) || !w.refused() {
			w.k.Violate("Open: %v", err)
		}
		return false
	}
	w.backend = b
	return true
}

const outsidePort = 7

// listen starts three ways to be connected to.
func (w *world) listen() {
	w.k.ListenOutside(outsidePort)
	for style := range 3 {
		if w.dice.Roll(200) {
			continue
		}
		l, err := w.backend.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
		if err != nil {
			w.k.Violate("Listen: %v", err)
			return
		}
		w.listeners = append(w.listeners, l)
		w.ports = append(w.ports, l.Addr().(*net.TCPAddr).Port)
		ctx, cancel := context.WithCancel(context.Background())
		w.cancels = append(w.cancels, cancel)
		if style == 0 {
			w.workers.Go(func() { w.acceptAll(ctx, l) })
			continue
		}
		w.workers.Go(func() {
			err := w.backend.Serve(ctx, l, w.handler(style == 2, false))
			w.k.Note("served")
			var e *accept.Error
			if err != nil && !errors.As(err, &e) && !errors.Is(err, net.ErrClosed) && !w.refused() {
				w.k.Violate("Serve returns %v", err)
			}
		})
	}
}

func (w *world) acceptAll(ctx context.Context, l *accept.Listener) {
	for ctx.Err() == nil {
		w.accepting.Store(true)
		f, _, err := l.Accept(ctx)
		w.accepting.Store(false)
		var e *accept.Error
		switch {
		case err == nil:
			if w.newSide(f, false, true, false) == nil {
				_ = f.Close()
			}
		case errors.Is(err, net.ErrClosed), ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = l.SetDeadline(time.Time{})
		case !errors.As(err, &e):
			w.k.Violate("Accept returns %T: %v", err, err)
			return
		case w.died():
			return
		}
	}
}

// turn lets everything come to rest, and then one thing happen.
func (w *world) turn() {
	synctest.Wait()
	d := w.dice
	switch n := d.N(100); {
	case n < 50 && w.conns > 0 && d.Roll(200):
		w.connect(d)
	case n < 50:
		steps := 1 + d.N(4)
		if d.Roll(100) { // much happens before anybody looks
			steps = 1 + d.N(100)
		}
		for range steps {
			w.k.Step(d)
		}
	case n < 55:
		w.connect(d)
	case n < 75:
		if sides := w.all(); len(sides) > 0 {
			sides[d.N(len(sides))].act(d)
		}
	case n < 92:
		w.outsideActs(d)
	case n < 96:
		time.Sleep(time.Duration(d.N(3000)) * time.Microsecond)
	case n < 97 && len(w.listeners) > 0 && d.Roll(200):
		_ = w.listeners[0].SetDeadline(time.Now().Add(time.Duration(d.N(10)-1) * time.Millisecond))
	case n < 97 && d.Roll(50):
		runtime.GC() // what only the kernel points to is gone
		alignScheduler()
	case n < 98 && d.Roll(20) && len(w.cancels) > 0:
		w.cancels[d.N(len(w.cancels))]()
	case n < 99 && d.Roll(20) && len(w.listeners) > 0:
		l := w.listeners[d.N(len(w.listeners))]
		w.workers.Go(func() { _ = l.Close() })
	}
}

// connect makes one more connection.
func (w *world) connect(d *simkernel.Dice) {
	if w.conns == 0 {
		return
	}
	w.conns--
	if len(w.ports) > 0 && d.Roll(500) {
		if e := w.k.Outside(w.ports[d.N(len(w.ports))]); e != nil {
			w.addOutside(e, d)
		}
		return
	}
	port := outsidePort
	switch {
	case d.Roll(50):
		port = simkernel.SilentPort
	case d.Roll(50):
		port = 1 // nobody listens
	case len(w.ports) > 0 && d.Roll(400):
		port = w.ports[d.N(len(w.ports))]
	}
	ctx, cancel := context.WithCancel(context.Background())
	if port == simkernel.SilentPort || d.Roll(100) {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(d.N(20))*time.Millisecond)
	}
	w.cancels = append(w.cancels, cancel)
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	style := d.N(3)
	w.workers.Go(func() {
		if style > 0 {
			w.connecting.Add(1)
			_, err := w.backend.DialServe(ctx, "tcp", addr.String(), w.handler(style == 2, true))
			w.connecting.Add(-1)
			w.dialed(err)
			return
		}
		f := w.backend.Socket()
		w.connecting.Add(1)
		err := f.Connect(ctx, addr)
		w.connecting.Add(-1)
		w.dialed(err)
		if err == nil && w.newSide(f, true, true, false) == nil {
			_ = f.Close()
		}
	})
}

func (w *world) dialed(err error) {
	var e *fd.Error
	if err != nil && !errors.As(err, &e) && !errors.Is(err, net.ErrClosed) && !w.refused() {
		w.k.Violate("a dial fails with %T: %v", err, err)
	}
}

func (w *world) addOutside(e *simkernel.Endpoint, d *simkernel.Dice) {
	quota := d.N(1 << d.N(18))
	if d.Roll(300) {
		quota = 1 << 18
	}
	w.outside = append(w.outside, &outside{e: e, quota: quota, stingy: d.Roll(200)})
}

// outsideActs does one thing outside.
func (w *world) outsideActs(d *simkernel.Dice) {
	for _, e := range w.k.Accepted() {
		w.addOutside(e, d)
	}
	if len(w.outside) == 0 {
		return
	}
	o := w.outside[d.N(len(w.outside))]
	if o.hung {
		return
	}
	switch n := d.N(100); {
	case n < 50 && !o.stingy || n < 5:
		o.e.Receive(1 + d.N(1<<d.N(17)))
	case n < 90:
		if size := min(o.quota, 1+d.N(1<<d.N(16))); size > 0 && !o.shut {
			o.quota -= o.e.Send(size)
		}
	case n < 93:
		o.shut = true
		o.e.ShutWrite()
	case n < 95 && d.Roll(500):
		o.hung = true
		o.e.Hang()
	case n < 96 && d.Roll(300):
		o.hung = true
		o.e.Reset()
	}
}

// end ends all, in one of several orders, and checks that nothing is left.
func (w *world) end() bool {
	d := w.dice
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	for _, s := range w.all() {
		s.open()
		_ = s.f.SetDeadline(time.Time{})
	}
	orderly := d.Roll(600) // everything is closed before the backend is
	if d.Roll(500) {
		for _, cancel := range w.cancels {
			cancel()
		}
	}
	if orderly {
		if d.Roll(800) {
			if !w.settle("nothing more happens", func() bool { return false }, 14) {
				return false
			}
			w.checkWaiting()
		}
		closed := make(chan struct{})
		w.workers.Go(func() {
			defer close(closed)
			var all sync.WaitGroup
			for _, l := range w.listeners {
				all.Go(func() { _ = l.Close() })
			}
			for _, s := range w.all() {
				all.Go(func() { _ = s.f.Close() })
			}
			all.Wait()
		})
		for _, cancel := range w.cancels {
			cancel()
		}
		if !w.settle("everything is closed", func() bool { return isClosed(closed) }, 0) {
			return false
		}
		// Connections that were accepted or made meanwhile.
		if !w.settle("nothing more happens", func() bool { return false }, 4) {
			return false
		}
		for _, s := range w.all() {
			w.workers.Go(func() { _ = s.f.Close() })
		}
		if !w.settle("all requests end", func() bool {
			s := w.backend.Stats()
			return (s.InFlight == 0 || w.died()) && s.Sockets == 0 && s.Listeners == 0
		}, 0) {
			s := w.backend.Stats()
			w.k.Violate("after all was closed %d requests are in flight, and %d sockets and %d listeners are there", s.InFlight, s.Sockets, s.Listeners)
			return false
		}
	}
	closed := make(chan struct{})
	w.workers.Go(func() {
		defer close(closed)
		if err := w.backend.Close(); err != nil {
			w.k.Violate("Backend.Close: %v", err)
		}
	})
	if !w.settle("Backend.Close returns", func() bool { return isClosed(closed) }, 0) {
		return false
	}
	for _, cancel := range w.cancels {
		cancel()
	}
	for _, s := range w.all() {
		s.open()
		close(s.reads)
		close(s.writes)
	}
	gone := make(chan struct{})
	go func() {
		w.workers.Wait()
		close(gone)
	}()
	if !w.settle("every call returns", func() bool { return isClosed(gone) }, 0) {
		return false
	}
	synctest.Wait()
	w.checkEnd()
	return true
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// settle goes on, without new actions, until something has happened; what is
// outside receives all. Or, with a limit, until so often nothing happens.
func (w *world) settle(what string, happened func() bool, limit int) bool {
	idle := 0
	for {
		synctest.Wait()
		if len(w.k.Violations()) > 0 {
			return false
		}
		if happened() {
			return true
		}
		for _, e := range w.k.Accepted() {
			w.addOutside(e, w.dice)
		}
		moved := false
		for _, o := range w.outside {
			if !o.hung {
				n, _ := o.e.Receive(1 << 20)
				moved = moved || n > 0
			}
		}
		if w.k.Step(w.dice) || moved {
			idle = 0
			continue
		}
		if idle++; limit > 0 && idle > limit {
			return true
		}
		if idle > 60 {
			w.k.Violate("this does not happen: %s", what)
			return false
		}
		time.Sleep(time.Millisecond << min(idle, 9))
	}
}

// checkWaiting checks, when nothing more happens, that no call waits for what is there.
func (w *world) checkWaiting() {
	for _, s := range w.all() {
		if !s.parked {
			continue
		}
		st := s.end.State()
		if s.reading.Load() && st.Readable {
			w.k.Violate("connection %d, side %d: Read waits, and there are %d bytes, or the end (%t)", s.number, s.end.Side, st.Waiting, st.Fin || st.Dead)
		}
		if s.writing.Load() && !s.broadcasting.Load() && st.Writable {
			w.k.Violate("connection %d, side %d: Write waits, and there is room", s.number, s.end.Side)
		}
	}
	if w.accepting.Load() && len(w.ports) > 0 && w.k.Backlog(w.ports[0]) > 0 {
		w.k.Violate("Accept waits, and there is a connection")
	}
	if calls, under := w.connecting.Load(), w.k.Connecting(); calls > int64(under) {
		w.k.Violate("%d calls wait to be connected, and %d connects are under way", calls, under)
	}
}

// checkEnd checks that nothing is left, and that every byte was counted.
func (w *world) checkEnd() {
	for _, left := range w.k.Left() {
		w.k.Violate("left at the end: %s", left)
	}
	for _, s := range w.all() {
		s.checkLast()
		st, stats := s.end.State(), s.f.Stats()
		if stats.Read != uint64(s.got) || stats.Written < uint64(s.sent) {
			w.k.Violate("connection %d, side %d: %d bytes read and %d written, but Stats says %d and %d", s.number, s.end.Side, s.got, s.sent, stats.Read, stats.Written)
		}
		if s.parked && (st.Received != s.got || st.Sent != s.sent) && !w.died() {
			w.k.Violate("connection %d, side %d: the kernel gave %d bytes and took %d, Read gave %d and Write took %d", s.number, s.end.Side, st.Received, st.Sent, s.got, s.sent)
		}
		if st.Received < s.got || st.Sent > s.sent && !w.died() {
			w.k.Violate("connection %d, side %d: Read gave %d bytes of %d, the kernel took %d of %d", s.number, s.end.Side, s.got, st.Received, st.Sent, s.sent)
		}
		w.k.Note("counted", int64(s.number), s.got, s.sent)
	}
}

func (w *world) String() string {
	return fmt.Sprintf("seed %d, weights %+v, %v", w.seed, w.k.Weights, w.k.Played)
}
