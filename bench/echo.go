package bench

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// Echo is an echo server: a goroutine for each connection, which writes back
// what it reads.
type Echo struct {
	Listener *accept.Listener
	// Buffer is the size of the buffer that each connection has.
	Buffer int
	// ServiceTime is how long each read is held before it is written back.
	ServiceTime time.Duration

	handlers sync.WaitGroup
	mu       sync.Mutex
	live     map[*fd.FD]struct{}
	ended    Totals // of the connections that ended
}

// Totals are the counts of an Echo.
type Totals struct {
	Accepted uint64 `json:"accepted"`
	Live     uint64 `json:"live"`
	Read     uint64 `json:"read_bytes"`
	Written  uint64 `json:"written_bytes"`
	// Ends counts the connections that ended, by reason.
	Ends map[string]uint64 `json:"ends,omitempty"`
	// AcceptErrors counts the failed accepts, by class.
	AcceptErrors map[string]uint64 `json:"accept_errors,omitempty"`
}

// Run serves until ctx ends or the listener is closed; then it closes the
// listener and every connection, and returns when all goroutines have ended.
func (e *Echo) Run(ctx context.Context) error {
	e.mu.Lock()
	e.live = make(map[*fd.FD]struct{})
	e.ended.Ends = make(map[string]uint64)
	e.ended.AcceptErrors = make(map[string]uint64)
	e.mu.Unlock()
	loop := accept.Loop{OnError: func(err *accept.Error, _ time.Duration) { e.acceptFailed(err) }}
	err := loop.Run(ctx, e.Listener, func(f *fd.FD, _ net.Addr) {
		e.mu.Lock()
		e.live[f] = struct{}{}
		e.ended.Accepted++
		e.mu.Unlock()
		e.handlers.Go(func() { e.handle(f) })
	})
	closeErr := e.Listener.Close()
	if errors.Is(closeErr, net.ErrClosed) {
		closeErr = nil
	}
	e.mu.Lock()
	live := maps.Clone(e.live)
	e.mu.Unlock()
	for f := range live {
		_ = f.Close() // its handler reports how it ended
	}
	e.handlers.Wait()
	return errors.Join(err, closeErr)
}

// Drain waits until every connection was ended by its peer, at most for limit.
func (e *Echo) Drain(limit time.Duration) {
	done := make(chan struct{})
	go func() { e.handlers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

func (e *Echo) handle(f *fd.FD) {
	buffer := make([]byte, e.Buffer)
	for {
		n, err := f.Read(buffer)
		if err == nil {
			if e.ServiceTime > 0 {
				time.Sleep(e.ServiceTime)
			}
			_, err = f.Write(buffer[:n])
		}
		if err != nil {
			_ = f.Close()
			e.end(f, err)
			return
		}
	}
}

func (e *Echo) end(f *fd.FD, err error) {
	reason := err.Error()
	var fdErr *fd.Error
	if errors.As(err, &fdErr) && fdErr.Reason != fd.None {
		reason = fdErr.Reason.String()
	}
	stats := f.Stats()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live, f)
	e.ended.Read += stats.Read
	e.ended.Written += stats.Written
	e.ended.Ends[reason]++
}

func (e *Echo) acceptFailed(err *accept.Error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended.AcceptErrors[err.Class.String()]++
}

// Totals returns the counts so far, open connections included. Read is exact
// as soon as the peer has the reply; Written may lag behind it until the Write
// returns.
func (e *Echo) Totals() Totals {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.ended
	t.Ends, t.AcceptErrors = maps.Clone(t.Ends), maps.Clone(t.AcceptErrors)
	t.Live = uint64(len(e.live))
	for f := range e.live {
		stats := f.Stats()
		t.Read += stats.Read
		t.Written += stats.Written
	}
	return t
}
