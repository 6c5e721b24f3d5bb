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

// wakers lends wakers. The ones that sockets give back are used again. Its goroutine
// also makes all else that outlives the call that needs it first.
type wakers struct {
	fresh chan []waker
	tasks chan task
	quit  chan struct{}
	ended sync.WaitGroup

	mu   sync.Mutex
	free []waker
}

// task is work for the goroutine, and who waits for it.
type task struct {
	work func()
	done waker
}

// wakersAtOnce is how many wakers are made at a time.
const wakersAtOnce = 16

func (w *wakers) start() {
	w.fresh, w.tasks, w.quit = make(chan []waker), make(chan task), make(chan struct{})
	w.ended.Go(w.make)
}

func (w *wakers) make() {
	var some []waker
	for {
		if some == nil {
			some = make([]waker, wakersAtOnce)
			for i := range some {
				some[i] = make(waker, 1)
			}
		}
		select {
		case w.fresh <- some:
			some = nil
		case t := <-w.tasks:
			t.work()
			t.done <- struct{}{}
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

// outside runs work, in which goroutines are started, or channels and timers made, that
// are there for longer than the caller: what a bubble has made belongs to the bubble,
// whose end waits for its goroutines. False: the engine is closed, and work has not run.
func (w *wakers) outside(work func()) bool {
	done := w.get()
	defer w.put(done)
	select {
	case w.tasks <- task{work, done}:
		<-done
		return true
	case <-w.quit:
		return false
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
