package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringfd/ringfd/bench/control"
)

// Caller is a client on a connection of its own, of a protocol that this package
// does not speak.
type Caller interface {
	// Call sends a message, and returns when the reply is there and is right.
	Call() error
	Close() error
}

// Callers is a generator in Go: a goroutine for each Caller, in closed loop.
type Callers struct {
	callers []Caller
	mu      sync.Mutex // guards what follows
	latency *hdrhistogram.Histogram
	failed  error
}

// OpenCallers opens n Callers, and makes a first call with each.
func OpenCallers(n int, open func(i int) (Caller, error)) (*Callers, error) {
	c := &Callers{latency: newHistogram()}
	for i := range n {
		caller, err := open(i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connection %d: %w", i, err), c.Close())
		}
		c.callers = append(c.callers, caller)
		if err := caller.Call(); err != nil {
			return nil, errors.Join(fmt.Errorf("connection %d: %w", i, err), c.Close())
		}
	}
	return c, nil
}

// Run calls for d, each Caller at least once, and waits for the last replies.
func (c *Callers) Run(d time.Duration) (*Result, error) {
	runtime.GC()
	c.latency.Reset()
	usage, start := control.ThisProcess(), time.Now()
	end := start.Add(d)
	stalled := time.AfterFunc(d+StallLimit, func() { c.fail(errStalled); _ = c.Close() })
	var all sync.WaitGroup
	for i, caller := range c.callers {
		all.Go(func() {
			from := time.Now()
			for {
				if err := caller.Call(); err != nil {
					c.fail(fmt.Errorf("connection %d: %w", i, err))
					return
				}
				now := time.Now()
				c.mu.Lock()
				record(c.latency, int64(now.Sub(from)))
				c.mu.Unlock()
				if from = now; !now.Before(end) {
					return
				}
			}
		})
	}
	all.Wait()
	stalled.Stop()
	result := &Result{Driver: Portable, Wall: time.Since(start), Usage: control.ThisProcess().Sub(usage)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return nil, c.failed
	}
	result.Messages, result.Latency = uint64(c.latency.TotalCount()), LatencyOf(c.latency)
	result.Busy = result.Usage.CPU.Total().Seconds() / result.Wall.Seconds()
	encoded, err := c.latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	result.Histogram = string(encoded)
	return result, err
}

// fail keeps the first error, which the others may follow from.
func (c *Callers) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

// Close closes the connections.
func (c *Callers) Close() error {
	var errs []error
	for _, caller := range c.callers {
		errs = append(errs, caller.Close())
	}
	return errors.Join(errs...)
}

// CallChild is Child for a program that has clients of its own.
func CallChild(in io.Reader, out io.Writer, open func(Spec) (*Callers, error)) error {
	var c *Callers
	return control.Child(in, out, func(r control.Request) (control.Reply, error) {
		switch {
		case r.Do == control.DoStart && c == nil:
			var spec Spec
			if err := json.Unmarshal(r.Load, &spec); err != nil {
				return control.Reply{}, err
			}
			var err error
			if c, err = open(spec); err != nil {
				return control.Reply{}, err
			}
			encoded, err := json.Marshal(Result{Messages: uint64(len(c.callers))})
			return control.Reply{Load: encoded}, err
		case r.Do == control.DoRun && c != nil:
			result, err := c.Run(r.Duration)
			if err != nil {
				return control.Reply{}, err
			}
			encoded, err := json.Marshal(result)
			return control.Reply{Load: encoded}, err
		case r.Do == control.DoStop && c == nil:
			return control.Reply{}, nil
		case r.Do == control.DoStop:
			return control.Reply{}, c.Close()
		}
		return control.Reply{}, fmt.Errorf("a generator cannot %q now", r.Do)
	})
}
