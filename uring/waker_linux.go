package uring

import "sync"

// waker wakes one goroutine, once per park. It is a channel with room for one token.
//
// A channel belongs to the testing/synctest bubble in which it is made, and a send
// from outside ends the process. Pollers, timers and other callers of a Backend signal
// from outside. So wakers are made by a goroutine of the engine and lent to its
// sockets: in a bubble a Read waits as one of net does, neither durably blocked nor
// tied to the bubble.
type waker chan struct{}

// wakers lends wakers. The ones that sockets give back are used again.
type wakers struct {
	fresh chan []waker
	jobs  chan func() // see outside
	quit  chan struct{}
	ended sync.WaitGroup

	mu   sync.Mutex
	free []waker
}

// wakersAtOnce is how many wakers are made at a time.
const wakersAtOnce = 16

func (w *wakers) start() {
	w.fresh, w.jobs, w.quit = make(chan []waker), make(chan func()), make(chan struct{})
	w.ended.Go(w.make)
}

func (w *wakers) make() {
	for {
		some := make([]waker, wakersAtOnce)
		for i := range some {
			some[i] = make(waker, 1)
		}
		select {
		case w.fresh <- some:
		case job := <-w.jobs:
			go job()
		case <-w.quit:
			return
		}
	}
}

// stop ends the goroutine. Nobody asks for a waker any more.
func (w *wakers) stop() {
	close(w.quit)
	w.ended.Wait()
}

func (w *wakers) get() waker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.free) == 0 {
		select {
		case some := <-w.fresh:
			w.free = append(w.free, some...)
		case <-w.quit: // the engine is closed: the last callers only learn that
			return make(waker, 1)
		}
	}
	last := len(w.free) - 1
	c := w.free[last]
	w.free = w.free[:last]
	return c
}

// outside runs work on a goroutine of the engine, and waits for it: what work makes
// (goroutines, channels) belongs to no bubble that the caller may be in.
func (w *wakers) outside(work func()) {
	done := w.get()
	job := func() {
		defer func() { done <- struct{}{} }()
		work()
	}
	select {
	case w.jobs <- job:
		<-done
		w.put(done)
	case <-w.quit: // nothing is made any more
		work()
	}
}

// put takes back a waker that holds no token.
func (w *wakers) put(c waker) {
	if c == nil {
		return
	}
	w.mu.Lock()
	w.free = append(w.free, c)
	w.mu.Unlock()
}

// sleeper is one parked caller: a goroutine, which waits for its waker, or a
// coroutine of a loop, which yields to its loop meanwhile.
type sleeper struct {
	waker waker
	co    *coroutine
}

// sleep parks the caller until wake.
func (s *sleeper) sleep() {
	if s.co != nil {
		s.co.wait()
	} else {
		<-s.waker
	}
}

// wake ends the sleep, once per sleep and from any goroutine; it may come first.
func (s *sleeper) wake() {
	if s.co != nil {
		s.co.goOn()
	} else {
		s.waker <- struct{}{}
	}
}
