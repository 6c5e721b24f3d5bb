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

// wakers lends wakers. The ones that sockets give back are used again. It has a goroutine
// of the engine, which makes what must be of no bubble.
type wakers struct {
	work  chan func()
	done  chan struct{}
	quit  chan struct{}
	ended sync.WaitGroup

	mu   heldLock // held while some are made, which may wait for a poller to be made
	free []waker
}

// wakersAtOnce is how many wakers are made at a time.
const wakersAtOnce = 16

func (w *wakers) start() {
	w.work, w.done, w.quit = make(chan func()), make(chan struct{}), make(chan struct{})
	w.ended.Go(func() {
		for {
			select {
			case work := <-w.work:
				work()
				w.done <- struct{}{}
			case <-w.quit:
				return
			}
		}
	})
}

// outside runs work on the goroutine: what it makes and starts is of no bubble that the
// caller is in. It reports false, and has done nothing, after stop.
func (w *wakers) outside(work func()) bool {
	select {
	case w.work <- work:
		<-w.done
		return true
	case <-w.quit:
		return false
	}
}

// stop ends the goroutine.
func (w *wakers) stop() {
	close(w.quit)
	w.ended.Wait()
}

func (w *wakers) get() waker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.free) == 0 && !w.outside(w.makeSome) {
		return make(waker, 1) // the engine is closed: the last callers only learn that
	}
	last := len(w.free) - 1
	c := w.free[last]
	w.free = w.free[:last]
	return c
}

func (w *wakers) makeSome() {
	for range wakersAtOnce {
		w.free = append(w.free, make(waker, 1))
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
