// Package ringfd gives latency-critical nodes a file-descriptor layer on
// io_uring, with a twin on Go's net that has the same API and behaves the same
// on every OS, and on Linux where io_uring is blocked.
//
// Open chooses a backend. Backend.Listen and Backend.Dial give listeners and
// connections: an *fd.FD with blocking, goroutine-friendly calls, a unique id
// and typed reasons for its end; its Conn method gives the net.Conn view.
//
// # Environment
//
// RINGFD_BACKEND=auto|io_uring|net chooses the backend where Options do not.
// RINGFD_WITHOUT=name,name masks io_uring features (see `ringfd doctor`).
// RINGFD_DEBUG=leaks has Events.Leaked name where a lost FD was made.
package ringfd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/uring"
)

// Kind names a backend.
type Kind string

const (
	// Auto takes io_uring where a probe shows that it works, net elsewhere.
	Auto Kind = "auto"
	// IOUring is the io_uring backend. Linux only.
	IOUring Kind = "io_uring"
	// Net is the backend on Go's net package. It makes no io_uring system call
	// at all, which matters under filters that kill.
	Net Kind = "net"
)

// ParseKind reads "auto", "io_uring" or "net".
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Auto, IOUring, Net:
		return k, nil
	}
	return "", fmt.Errorf("unknown backend %q: choose %s, %s or %s", s, Auto, IOUring, Net)
}

// Features is a set of io_uring features; uring.FeatureTable describes them.
type Features = uring.Features

// Options say how to open a Backend. The zero value is right for most.
type Options struct {
	// Backend forces a backend. "" takes RINGFD_BACKEND, and Auto without it.
	// A forced backend that cannot be had is an error, never a silent fallback.
	Backend Kind
	// Without masks io_uring features, in addition to RINGFD_WITHOUT.
	Without Features
	// BusyPoll lets a reader on io_uring that finds no data spin for up to this
	// long before it parks: much lower latency for a core that would sleep, at
	// the cost of that core's time. It stops at once when another goroutine can
	// run. Zero, the default, never spins. The net backend ignores it.
	BusyPoll time.Duration
	// Events are told of what happens to every FD of this Backend.
	Events *fd.Events
	// Dial configures the connections that Dial, DialContext, DialServe and
	// Socket make.
	Dial DialConfig
	// Accept says what Serve does when an accept fails, and whom it tells.
	Accept accept.Loop
	// Loops configure Serve, DialServe and Broadcast.
	Loops LoopOptions
}

// DialConfig configures outgoing connections. The zero value is what net's Dialer
// does.
type DialConfig = fd.DialConfig

// Backend makes listeners and connections. All methods may be called by any
// number of goroutines.
type Backend struct {
	impl   backend
	kind   Kind
	why    string
	events *fd.Events

	dialing fd.DialConfig
}

// UnavailableError says that a backend was asked for by name and cannot be
// had here.
type UnavailableError struct {
	Backend Kind
	Cause   error  // what was found
	Cure    string // what to change, where that is known
}

// Error names the backend, the cause and the cure.
func (e *UnavailableError) Error() string {
	text := fmt.Sprintf("backend %s is not available: %v", e.Backend, e.Cause)
	if e.Cure != "" {
		text += "; " + e.Cure
	}
	return text
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Open chooses a backend (forced by o, else by RINGFD_BACKEND, else by a
// probe) and starts it. With Net it issues no io_uring system call. The error
// of a forced choice that cannot be met is an *UnavailableError. Close the
// Backend when done.
//
// In a test with testing/synctest, open the Backend outside of the bubble: what it starts
// and waits with is then of no bubble, and calls inside behave as those of net do.
func Open(o Options) (*Backend, error) {
	kind, forcedBy := o.Backend, "options"
	if kind == "" {
		kind, forcedBy = Auto, ""
		if env := os.Getenv("RINGFD_BACKEND"); env != "" {
			k, err := ParseKind(env)
			if err != nil {
				return nil, fmt.Errorf("RINGFD_BACKEND: %w", err)
			}
			kind, forcedBy = k, "RINGFD_BACKEND"
		}
	} else if _, err := ParseKind(string(kind)); err != nil {
		return nil, err
	}
	without, err := uring.ParseFeatures(os.Getenv("RINGFD_WITHOUT"))
	if err != nil {
		return nil, fmt.Errorf("RINGFD_WITHOUT: %w", err)
	}
	o.Without |= without
	if o.BusyPoll < 0 {
		return nil, fmt.Errorf("BusyPoll is %v: give a positive duration, or zero to never spin", o.BusyPoll)
	}

	if err := o.Loops.check(); err != nil {
		return nil, err
	}
	o.Loops = o.Loops.withDefaults()
	o.Events = loud(o.Events)

	b := &Backend{kind: kind, events: o.Events, dialing: o.Dial}
	switch kind {
	case Net:
		b.impl, b.why = newNetBackend(o), "forced by "+forcedBy
		return b, nil
	case IOUring:
		impl, why, err := newRingBackend(o)
		if err != nil {
			return nil, &UnavailableError{Backend: IOUring, Cause: err, Cure: uring.Cure(err)}
		}
		b.impl, b.why = impl, "forced by "+forcedBy+"; "+why
		return b, nil
	}
	impl, why, err := newRingBackend(o)
	if err == nil {
		b.kind, b.impl, b.why = IOUring, impl, why
		return b, nil
	}
	b.kind, b.impl = Net, newNetBackend(o)
	b.why = "io_uring is not available: " + err.Error()
	return b, nil
}

// Kind returns IOUring or Net.
func (b *Backend) Kind() Kind { return b.kind }

// Why says in one line why this backend was chosen, and why not the other.
func (b *Backend) Why() string { return b.why }

// Features returns the io_uring features in use; none on Net.
func (b *Backend) Features() Features { return b.impl.features() }

// Stats returns counters of the backend. It is cheap and may be called at any
// time.
func (b *Backend) Stats() Stats { return b.impl.stats() }

// Socket returns a new FD, not connected. It always succeeds: the OS socket is
// made by Connect, in the address family of its address, and a failure to make
// it is Connect's error.
func (b *Backend) Socket() *fd.FD {
	f := fd.New(b.impl.socket(), b.events)
	f.CloseWhenLost()
	return f
}

// Listen listens on a network ("tcp", "tcp4", "tcp6" or "unix") and address,
// as net.ListenConfig.Listen does; "tcp" with a wildcard address is dual
// stack. ctx bounds the resolution of the address only. The error is an
// *accept.ListenError, and nothing is left open then.
func (b *Backend) Listen(ctx context.Context, network, address string, config accept.Config) (*accept.Listener, error) {
	addr, err := resolveListen(ctx, network, address)
	if err == nil {
		err = fd.CheckAddr(addr)
	}
	if err == nil {
		var a accept.Acceptor
		if a, err = b.impl.listen(addr, network, config); err == nil {
			return accept.New(a, b.events), nil
		}
	}
	return nil, accept.NewListenError(network, address, err)
}

// Close closes every listener and FD of the Backend (calls in flight end as
// after their own Close) and stops what runs in the background. When it
// returns, no goroutine, descriptor or memory of the Backend is left. What was
// written and has not left is lost: it does not drain, as Serve does when its
// context ends.
//
// It waits for nothing that a peer does. It takes as long as the slowest handler of
// Serve or DialServe takes to return after its calls have ended, the longest
// SO_LINGER that was set, and a second at most for each ten thousand connections
// (a tenth of that, on an idle machine).
//
// Closing again, or by several goroutines, waits for the first Close, and returns
// net.ErrClosed. A handler may close its Backend: then Close does not wait, since
// it would for that handler. No other function that a handler waits for may.
func (b *Backend) Close() error { return b.impl.close() }

var errUnknownNetwork = errors.New("choose tcp, tcp4, tcp6 or unix")

func checkNetwork(network string) error {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
		return nil
	}
	return fmt.Errorf("%w: %w", net.UnknownNetworkError(network), errUnknownNetwork)
}
