package uring

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// watchdog names handlers that hold their loops. It sleeps while all loops do.
type watchdog struct {
	set    *loops
	limit  time.Duration
	asleep atomic.Bool
	wake   chan struct{}
	end    chan struct{}
	ended  sync.WaitGroup
}

// start starts the watchdog, if there is a limit.
func (w *watchdog) start(set *loops) {
	w.set, w.limit = set, set.config.HandlerLimit
	w.wake, w.end = make(chan struct{}, 1), make(chan struct{})
	if w.limit > 0 {
		w.ended.Go(w.run)
	}
}

func (w *watchdog) stop() {
	close(w.end)
	w.ended.Wait()
}

// looksPerLimit is how often the watchdog looks within the limit.
const looksPerLimit = 4

func (w *watchdog) run() {
	ticker := time.NewTicker(max(w.limit/looksPerLimit, time.Millisecond))
	defer ticker.Stop()
	seen := make([]sighting, len(w.set.all))
	for quiet := 0; ; {
		select {
		case <-w.end:
			return
		case <-ticker.C:
		}
		if w.look(seen) {
			quiet = 0
		} else if quiet++; quiet > looksPerLimit && !w.sleep(ticker) {
			return
		}
	}
}

// sleep waits until a loop runs again; false: the watchdog is to end.
func (w *watchdog) sleep(ticker *time.Ticker) bool {
	ticker.Stop()
	w.asleep.Store(true)
	if !w.anyRuns() { // one that began meanwhile saw asleep or is seen here
		select {
		case <-w.end:
			return false
		case <-w.wake:
		}
	}
	w.asleep.Store(false)
	ticker.Reset(max(w.limit/looksPerLimit, time.Millisecond))
	return true
}

// loopRuns is called by a loop that begins a turn.
func (w *watchdog) loopRuns() {
	if w.asleep.Load() {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watchdog) anyRuns() bool {
	for _, l := range w.set.all {
		if l.turnStart.Load() != 0 {
			return true
		}
	}
	return false
}

// sighting is which handler a loop ran when it was last looked at.
type sighting struct {
	handlers uint64
	since    time.Time
	reported bool
}

// look looks at each loop and reports whether one runs.
func (w *watchdog) look(seen []sighting) (runs bool) {
	for i, l := range w.set.all {
		s := &seen[i]
		runs = runs || l.turnStart.Load() != 0
		n := l.handlers.Load()
		r := l.running.Load()
		if n != s.handlers || n%2 == 0 { // even: none runs
			*s = sighting{handlers: n, since: time.Now()}
			continue
		}
		if held := time.Since(s.since); held >= w.limit && !s.reported {
			s.reported = true
			l.heldTimes.Add(1)
			w.report(l, r, n, held)
		}
	}
	return runs
}

// report tells of the handler that r runs, unless it has let go meanwhile.
func (w *watchdog) report(l *loop, r *runner, handlers uint64, held time.Duration) {
	e := w.set.config.Events
	if e == nil || e.Held == nil {
		return
	}
	stack := stackOf(r.id.Load())
	id := r.fdID.Load()
	if l.handlers.Load() == handlers && stack != nil {
		e.Held(fd.Held{ID: id, For: held, Stack: stack})
	}
}

// stackOf returns the stack of one goroutine, which takes all of them.
func stackOf(id uint64) []byte {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	header := fmt.Appendf(nil, "goroutine %d ", id)
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if bytes.HasPrefix(stack, header) {
			return bytes.Clone(stack)
		}
	}
	return nil
}
