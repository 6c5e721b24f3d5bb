package uring

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

const noFD = -1

// descriptor is a file descriptor with a count of those who use it outside the calls that
// move data: Control, options, addresses. Close refuses further users and waits for none;
// whoever is the last closes it. So code of the application runs on a descriptor that
// stays what it is, and under no lock. (package net's own connections have the same rule.)
type descriptor struct {
	sysfd int32 // constant from open to the end
	state atomic.Int32
	// last is called by the last user of a descriptor that was closed meanwhile, on the
	// user's goroutine. It is set before that.
	last func()
}

// The state of a descriptor is the number of its users and these.
const (
	descriptorOpen   int32 = 1 << 30
	descriptorClosed int32 = 1 << 29
)

// open gives d its descriptor; false when d was closed before: then it stays the caller's.
func (d *descriptor) open(sysfd int32) bool {
	d.sysfd = sysfd
	return d.state.CompareAndSwap(0, descriptorOpen)
}

// takeBack takes the descriptor away again, unless somebody uses d or has closed it.
func (d *descriptor) takeBack() (sysfd int32, ok bool) {
	if !d.state.CompareAndSwap(descriptorOpen, 0) {
		return noFD, false
	}
	return d.sysfd, true
}

// acquire counts a user, who must release d.
func (d *descriptor) acquire(name string) error {
	for {
		state := d.state.Load()
		switch {
		case state&descriptorClosed != 0:
			return net.ErrClosed
		case state&descriptorOpen == 0:
			return os.NewSyscallError(name, syscall.ENOTCONN)
		}
		if d.state.CompareAndSwap(state, state+1) {
			return nil
		}
	}
}

func (d *descriptor) release() {
	if d.state.Add(-1) == descriptorOpen|descriptorClosed {
		d.last()
	}
}

// use runs f on the descriptor, which stays open meanwhile.
func (d *descriptor) use(name string, f func(sysfd int) error) error {
	if err := d.acquire(name); err != nil {
		return err
	}
	defer d.release() // deferred: f may panic, or end its goroutine
	return named(name, f(int(d.sysfd)))
}

// close refuses further users. The descriptor that it returns is the caller's to close;
// noFD: there is none. used: the last user calls last, which does it.
func (d *descriptor) close(last func()) (sysfd int32, used bool) {
	d.last = last
	for {
		state := d.state.Load()
		switch {
		case state&descriptorClosed != 0:
			return noFD, false
		case !d.state.CompareAndSwap(state, state|descriptorClosed):
		case state&descriptorOpen == 0:
			return noFD, false
		default:
			return d.sysfd, state != descriptorOpen
		}
	}
}

// isUsed reports that somebody uses d.
func (d *descriptor) isUsed() bool { return d.state.Load()&^(descriptorOpen|descriptorClosed) != 0 }

// closeDescriptor closes d, and waits until that has happened. A function of the
// application that uses d and closes it would wait for itself: it does not.
func (e *Engine) closeDescriptor(d *descriptor) error {
	var err error
	var waiter *sleeper
	if d.isUsed() && !e.isUserOf(d) {
		waiter = new(sleeper)
		if waiter.co, _ = e.coroutine(); waiter.co == nil {
			waiter.waker = e.wakers.get()
			defer func() { e.wakers.put(waiter.waker) }()
		}
	}
	sysfd, used := d.close(func() {
		failure := closeSocket(d.sysfd)
		if waiter != nil {
			err = failure
			waiter.wake()
		}
	})
	switch {
	case sysfd == noFD: // never opened, or closed already
		return nil
	case !used:
		return closeSocket(sysfd)
	case waiter != nil:
		waiter.sleep()
	}
	return err
}

// closeSocket is close(2).
func closeSocket(sysfd int32) error {
	err := sysClose(int(sysfd))
	if err == syscall.EINTR { // which has closed it all the same: close(2)
		return nil
	}
	return os.NewSyscallError("close", err)
}

// descriptorUser is a function of the application that runs on a descriptor.
type descriptorUser struct {
	d     *descriptor
	outer *descriptorUser // of the same goroutine
}

// lend runs f of the application on d. Which goroutine does that is noted.
func (e *Engine) lend(d *descriptor, name string, f func(fd uintptr)) error {
	return d.use(name, func(sysfd int) error {
		user, g := &descriptorUser{d: d}, getg()
		if outer, ok := e.users.Load(g); ok {
			user.outer = outer.(*descriptorUser)
		}
		e.users.Store(g, user)
		defer func() {
			if user.outer != nil {
				e.users.Store(g, user.outer)
			} else {
				e.users.Delete(g)
			}
		}()
		f(uintptr(sysfd))
		return nil
	})
}

// isUserOf reports that the caller runs within a function that uses d.
func (e *Engine) isUserOf(d *descriptor) bool {
	found, ok := e.users.Load(getg())
	if !ok {
		return false
	}
	for user := found.(*descriptorUser); user != nil; user = user.outer {
		if user.d == d {
			return true
		}
	}
	return false
}
