//go:build unix

package main

import (
	"errors"
	"io"
	"maps"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/bench/control"
)

// counts are the bytes of one connection.
type counts struct{ read, written atomic.Uint64 }

// totals counts what a server does. Its zero value is ready for use.
type totals struct {
	mu    sync.Mutex
	live  map[*counts]struct{}
	ended control.Totals // of the connections that ended
	idle  chan struct{}  // to be closed when the last connection ends
}

func (t *totals) opened() *counts {
	c := new(counts)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[*counts]struct{})
		t.ended.Ends = make(map[string]uint64)
	}
	t.live[c] = struct{}{}
	t.ended.Accepted++
	return c
}

func (t *totals) closed(c *counts, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, c)
	t.ended.Read += c.read.Load()
	t.ended.Written += c.written.Load()
	t.ended.Ends[reason]++
	if len(t.live) == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// Totals returns the counts so far. Read is exact as soon as the peer has the
// reply; Written is so after the call that wrote it, and counts nothing of a call
// that the end of a connection cut short.
func (t *totals) Totals() control.Totals {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.ended
	sum.Ends = maps.Clone(sum.Ends)
	sum.Live = uint64(len(t.live))
	for c := range t.live {
		sum.Read += c.read.Load()
		sum.Written += c.written.Load()
	}
	return sum
}

// Engine returns nil: neither peer has counters of its own.
func (*totals) Engine() any { return nil }

// drain waits until every connection has ended, at most for limit.
func (t *totals) drain(limit time.Duration) {
	t.mu.Lock()
	if len(t.live) == 0 {
		t.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	t.idle = idle
	t.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(limit):
	}
}

// closedByUs is how a connection ends that was still open at the end of Stop.
const closedByUs = "connection closed by us"

// reasonOf names the end of a connection by its last error; nil is our close.
// A broken pipe is the peer's close too: both libraries end a connection at the
// write that fails, before a read could find the end of file.
func reasonOf(err error) string {
	switch {
	case err == nil:
		return closedByUs
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return control.PeerClosed
	}
	return err.Error()
}

// version returns the version of a module that this program was built with.
func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == module {
				return dep.Version
			}
		}
	}
	return "of unknown version"
}
