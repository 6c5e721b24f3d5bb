package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/fd"
)

// Goroutines is the style of a goroutine per connection, without Serve.
const Goroutines Style = ""

// soakStyles are in one backend, and a connection is of the one that its
// listener has.
var soakStyles = []Style{Blocking, Data, Goroutines}

// soak is the server of a soak: one backend, which echoes and broadcasts in all
// styles. The members of a group that a broadcast goes to are of all styles too;
// there is a group for each style of who sends.
type soak struct {
	backend    *ringfd.Backend
	goroutines int // before there was a backend
	cancel     context.CancelFunc
	servers    []*Server
	listeners  []*accept.Listener
	serving    sync.WaitGroup

	mu     sync.Mutex
	failed error // of one that serves
}

// keepAlive finds peers that have vanished.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}

func (s *soak) Start(spec control.ServerSpec) (control.Ready, error) {
	s.goroutines = runtime.NumGoroutine()
	var err error
	if s.backend, err = ringfd.Open(ringfd.Options{Backend: ringfd.Kind(spec.Target)}); err != nil {
		return control.Ready{}, whyNot(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	ready := control.Ready{Kind: string(s.backend.Kind()), Why: s.backend.Why()}
	services := []control.Service{control.Echo}
	for range soakStyles {
		services = append(services, control.Fanout)
	}
	for _, service := range services {
		server := New(Spec{Service: service, Request: spec.Request, Reply: spec.Reply, Buffer: spec.Buffer, Forgets: true})
		addresses, err := s.serveGroup(ctx, server, spec)
		if err != nil {
			cancel()
			return control.Ready{}, errors.Join(err, s.backend.Close())
		}
		ready.Groups = append(ready.Groups, addresses)
	}
	ready.Address = ready.Groups[0][0]
	return ready, nil
}

// serveGroup begins to serve in all styles, and returns where.
func (s *soak) serveGroup(ctx context.Context, server *Server, spec control.ServerSpec) (addresses []string, err error) {
	s.servers = append(s.servers, server)
	for _, style := range soakStyles {
		l, err := s.backend.Listen(ctx, spec.Network, spec.Address, accept.Config{KeepAlive: keepAlive})
		if err != nil {
			return nil, err
		}
		s.listeners = append(s.listeners, l)
		addresses = append(addresses, l.Addr().String())
		serve := func() error { return server.Serve(ctx, l) }
		if style != Goroutines {
			handler := server.Handler(s.backend, style)
			if style == Blocking && server.spec.Service == control.Echo {
				if handler, err = flawed(handler, spec.Flaw, spec.Buffer); err != nil {
					return nil, err
				}
			}
			serve = func() error { return s.backend.Serve(ctx, l, handler) }
		}
		s.serving.Go(func() {
			if err := serve(); err != nil {
				s.mu.Lock()
				s.failed = errors.Join(s.failed, err)
				s.mu.Unlock()
			}
		})
	}
	return addresses, nil
}

// Totals are those of all groups together.
func (s *soak) Totals() control.Totals {
	all := control.Totals{Ends: make(map[string]uint64), AcceptErrors: make(map[string]uint64)}
	for _, server := range s.servers {
		t := server.Totals()
		all.Accepted += t.Accepted
		all.Live += t.Live
		all.Read += t.Read
		all.Written += t.Written
		for reason, n := range t.Ends {
			all.Ends[reason] += n
		}
		for class, n := range t.AcceptErrors {
			all.AcceptErrors[class] += n
		}
	}
	return all
}

// Engine returns ringfd.Stats.
func (s *soak) Engine() any { return s.backend.Stats() }

// Stop ends it all, and says what is left of it.
func (s *soak) Stop() error {
	for _, server := range s.servers {
		server.Drain(control.DrainLimit)
	}
	s.cancel()
	s.serving.Wait()
	errs := []error{s.failed}
	for _, l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // those of Server.Serve are closed
			errs = append(errs, err)
		}
	}
	stats := s.backend.Stats()
	if !soon(func() bool { stats = s.backend.Stats(); return nothingOpen(stats) }) {
		text := fmt.Sprintf("when all had ended there were %d sockets, %d listeners and %d requests of goroutines", stats.Sockets, stats.Listeners, stats.InFlight)
		for i, loop := range stats.Loops {
			text += fmt.Sprintf(", %d on loop %d beside its own", loop.InFlight-loopsOwn, i)
		}
		errs = append(errs, errors.New(text))
	}
	errs = append(errs, s.backend.Close())
	if !soon(func() bool { return runtime.NumGoroutine() <= s.goroutines }) {
		errs = append(errs, fmt.Errorf("when the backend was closed there were %d goroutines, and %d before it was opened", runtime.NumGoroutine(), s.goroutines))
	}
	return errors.Join(errs...)
}

// loopsOwn are the requests that each loop has for itself: for its wake-up and for room.
const loopsOwn = 2

func nothingOpen(s ringfd.Stats) bool {
	return s.Sockets == 0 && s.Listeners == 0 && s.InFlight == 0 &&
		!slices.ContainsFunc(s.Loops, func(l ringfd.LoopStats) bool { return l.InFlight != loopsOwn })
}

// soon reports whether something comes true, with a moment for what is on its way.
func soon(is func() bool) bool {
	for end := time.Now().Add(time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// The flaws that a server can be given, to see that a soak finds them.
const (
	// LeakGoroutine leaves a goroutine behind for each connection that ends.
	LeakGoroutine = "leak-goroutine"
	// LeakMemory leaves 64 KiB behind.
	LeakMemory = "leak-memory"
	// WrongByte changes a byte in the midst of what is echoed, now and then.
	WrongByte = "wrong-byte"
)

// flawed gives a blocking echo handler a flaw.
func flawed(h ringfd.Handler, flaw string, buffer int) (ringfd.Handler, error) {
	serve := h.Blocking
	switch flaw {
	case "":
	case LeakGoroutine:
		h.Blocking = func(f *fd.FD) {
			serve(f)
			go func() { select {} }()
		}
	case LeakMemory:
		var mu sync.Mutex
		var kept [][]byte
		h.Blocking = func(f *fd.FD) {
			serve(f)
			memory := make([]byte, 64<<10)
			for i := range memory {
				memory[i] = byte(i) | 1 // so that it is there, not only promised
			}
			mu.Lock()
			kept = append(kept, memory)
			mu.Unlock()
		}
	case WrongByte:
		h.Blocking = func(f *fd.FD) {
			p := make([]byte, buffer)
			for turn := 1; ; turn++ {
				n, err := f.Read(p)
				if err != nil {
					return
				}
				if turn%100 == 0 {
					p[n/2] ^= 1
				}
				if _, err := f.Write(p[:n]); err != nil {
					return
				}
			}
		}
	default:
		return h, fmt.Errorf("there is no flaw %q: choose %s, %s or %s", flaw, LeakGoroutine, LeakMemory, WrongByte)
	}
	return h, nil
}
