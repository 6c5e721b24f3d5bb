package accept

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// Loop is the accept loop that embedders want. The zero value is ready to use.
//
// An error of class System waits and goes on; one of class Socket goes on at
// once, but not for ever; one of class Unexpected ends the loop; so does
// EOPNOTSUPP many times in a row, which says that the socket cannot listen.
type Loop struct {
	// MinDelay and MaxDelay bound the wait after a System error: it doubles
	// from the first to the second and starts anew after a success. Zero means
	// 5 ms and 5 s (Octez waits 5 s, net/http up to 1 s).
	MinDelay, MaxDelay time.Duration
	// SocketBurst is how many Socket errors in a row are retried at once; the
	// next ones wait as System errors do. Zero means 16.
	SocketBurst int
	// OnError, if set, is told of every error that the loop survives and how
	// long it waits. It is called on the loop's goroutine.
	OnError func(err *Error, wait time.Duration)
}

const (
	defaultMinDelay    = 5 * time.Millisecond
	defaultMaxDelay    = 5 * time.Second
	defaultSocketBurst = 16
)

// Run accepts connections from l and hands each to handle, on this goroutine:
// handle must not block, and usually starts a goroutine. It returns nil when
// ctx ends or l is closed, and the *Error that ended it otherwise. It does not
// close l. A deadline of l ends it with os.ErrDeadlineExceeded.
func (o Loop) Run(ctx context.Context, l *Listener, handle func(*fd.FD, net.Addr)) error {
	retry := o.Retry()
	for {
		f, addr, err := l.Accept(ctx)
		if err == nil {
			retry.Succeeded()
			handle(f, addr)
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			return err
		}
		wait, err := retry.Failed(e)
		if err != nil {
			return err
		}
		if wait > 0 && !l.sleep(ctx, wait) {
			return nil
		}
	}
}

// Retry decides what follows when an accept fails, by the rules of a Loop. For
// those who accept by other means than Run.
type Retry struct {
	loop   Loop
	delay  time.Duration // of the last wait; 0 after a success
	inARow int           // Socket errors since the last success
}

// Retry returns a Retry that has seen nothing yet.
func (o Loop) Retry() *Retry {
	if o.MinDelay <= 0 {
		o.MinDelay = defaultMinDelay
	}
	if o.MaxDelay <= 0 {
		o.MaxDelay = defaultMaxDelay
	}
	o.MaxDelay = max(o.MaxDelay, o.MinDelay)
	if o.SocketBurst <= 0 {
		o.SocketBurst = defaultSocketBurst
	}
	return &Retry{loop: o}
}

// Succeeded is to be called after a success.
func (r *Retry) Succeeded() { r.delay, r.inARow = 0, 0 }

// Failed is to be called after a failure, and calls OnError. It returns how long
// to wait before the next accept, or the error that ends the loop.
func (r *Retry) Failed(e *Error) (wait time.Duration, end error) {
	switch e.Class {
	case Socket:
		r.inARow++
		if r.inARow <= r.loop.SocketBurst {
			break
		}
		if isNotSupported(e) {
			return 0, &Error{Class: Unexpected, Err: e.Err}
		}
		fallthrough
	case System:
		if r.delay > r.loop.MaxDelay/2 { // twice that may be more than there is
			r.delay = r.loop.MaxDelay
		} else {
			r.delay = max(2*r.delay, r.loop.MinDelay)
		}
		wait = r.delay
	default:
		return 0, e
	}
	if r.loop.OnError != nil {
		r.loop.OnError(e, wait)
	}
	return wait, nil
}

// sleep waits for d, or for the end of ctx or of l, and reports whether it was d.
func (l *Listener) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-l.closed:
		return false
	}
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}
