package load

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// thread is a driver that has a thread to itself, where a mover moves bytes.
type thread struct {
	script *script
	mover  mover
	calls  chan func()
	ended  chan struct{}
}

// wakeUp is how long before a message is due the thread stops to sleep and
// begins to look at the clock: waking up takes 30 to 120 µs on a virtual
// processor that was idle.
const wakeUp = 150 * time.Microsecond

func openThread(s *script, open func(*script) (mover, error)) (driver, error) {
	t := &thread{script: s, calls: make(chan func()), ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		// Never unlocked: the thread ends with this function, and what is set
		// here with it.
		runtime.LockOSThread()
		// By default the kernel wakes a thread up to 50 µs late. Reference:
		// PR_SET_TIMERSLACK(2const).
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		for call := range t.calls {
			call()
		}
	}()
	err := t.call(func() (err error) {
		t.mover, err = open(s)
		return err
	})
	if err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

// call does f on the thread.
func (t *thread) call(f func() error) error {
	result := make(chan error, 1)
	t.calls <- func() { result <- f() }
	return <-result
}

func (t *thread) end() {
	close(t.calls)
	<-t.ended
}

func (t *thread) close() error {
	defer t.end()
	return t.call(t.mover.close)
}

func (t *thread) drive(p phase, d time.Duration) error {
	return t.call(func() error {
		t.script.begin(p, d, clock())
		return t.turns()
	})
}

// turns runs the script until the phase is done.
func (t *thread) turns() error {
	s := t.script
	for now := clock(); ; {
		if err := s.tick(now); err != nil {
			return err
		}
		sent := len(s.ready) > 0
		if err := flush(s, t.mover); err != nil {
			return err
		}
		if s.done(now) {
			return nil
		}
		wait := max(0, s.rest(now)-wakeUp)
		if s.spec.Spin && s.underway > 0 {
			wait = 0
		}
		found, err := t.mover.wait(wait)
		if err != nil {
			return err
		}
		before := now
		now = clock()
		if found {
			continue
		}
		if wait == 0 && !sent {
			s.idle += time.Duration(now - before)
		}
		if err := s.stalled(now); err != nil {
			return err
		}
	}
}

// flush does what the script is ready for.
func flush(s *script, m mover) error {
	for _, i := range s.ready {
		s.conns[i].listed = false
		if err := m.do(int(i)); err != nil {
			return err
		}
	}
	s.ready = s.ready[:0]
	return nil
}
