package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// farAway are times that a deadline may have and that never come, as those of Go's net
// may. Some are too far away for a count of nanoseconds.
func farAway() map[string]time.Time {
	return map[string]time.Time{
		"the year 9999":         time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"the last of all times": time.Unix(1<<62, 0),
		"the longest wait":      time.Now().Add(math.MaxInt64),
		"no monotonic reading":  time.Now().Add(time.Hour).Round(0),
	}
}

// longPast are times that a deadline may have and that have passed.
func longPast() map[string]time.Time {
	return map[string]time.Time{
		"the first of all times": time.Unix(-1<<62, 0),
		"the year 1":             time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		"now":                    time.Now(),
		"no monotonic reading":   time.Now().Add(-time.Hour).Round(0),
	}
}

// timeCases are about deadlines that are far away, have passed, or are of another clock:
// right is what Go's net does.
var timeCases = []Case{
	{Name: "DeadlinesFarAway", Core: true, Run: func(t *testing.T, e *Env) {
		for name, at := range farAway() {
			e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
				t.Log(name)
				set(t, ours.SetDeadline(at))
				pending := goRead(ours, make([]byte, 16))
				parked(t, "fd.(*FD).Read", 1)
				write(t, peer, "x")
				if r := await(t, pending, "the end of Read"); r.n != 1 || r.err != nil {
					t.Fatalf("Read = %d, %v", r.n, r.err)
				}
				size := 16 << 20 // more than the socket takes
				written := goWrite(ours, make([]byte, size))
				parked(t, "fd.(*FD).Write", 1)
				if err := wantStream(peer, make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				if r := await(t, written, "the end of Write"); r.n != size || r.err != nil {
					t.Fatalf("Write = %d, %v", r.n, r.err)
				}
			})
		}
	}},
	{Name: "DeadlinesLongPast", Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		for name, at := range longPast() {
			t.Log(name)
			set(t, ours.SetDeadline(at))
			wantTimeout(t, readErr(t, ours, fd.None), "read")
			wantTimeout(t, writeErr(t, ours, fd.None), "write")
		}
		set(t, ours.SetDeadline(forever))
		write(t, ours, "x")
		read(t, peer, "x")
	}},
	{Name: "DeadlineByTheWallClock", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		const d = 20 * time.Millisecond
		start := time.Now()
		set(t, ours.SetReadDeadline(start.Add(d).Round(0)))
		wantTimeout(t, readErr(t, ours, fd.None), "read")
		if took := time.Since(start); took < d {
			t.Errorf("a deadline of %v ended Read after %v", d, took)
		}
	}},
	{Name: "AcceptDeadlinesFarAway", Accepted: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		for name, at := range farAway() {
			t.Log(name)
			set(t, l.SetDeadline(at))
			accepted := async(func() error {
				f, _, err := l.Accept(context.Background())
				if err == nil {
					err = f.Close()
				}
				return err
			})
			parked(t, "accept.(*Listener).Accept", 1)
			_ = e.Dial(t, l.Addr())
			if err := await(t, accepted, "the end of Accept"); err != nil {
				t.Errorf("Accept: %v", err)
			}
		}
		for name, at := range longPast() {
			t.Log(name)
			set(t, l.SetDeadline(at))
			if _, _, err := l.Accept(context.Background()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Accept: %v, want an expired deadline", err)
			}
		}
	}},
	{Name: "OptionsFarAway", Run: optionsFarAway},
}

// handlerTimeCases are timeCases inside handlers.
var handlerTimeCases = []Case{
	{Name: "HandlerDeadlinesFarAway", Core: true, Run: handlerDeadlinesFarAway},
	{Name: "DrainFarAway", Run: func(t *testing.T, e *Env) {
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Drain = math.MaxInt64 })
		message := pattern(8 << 20)
		for _, write := range []func(f *fd.FD){
			func(f *fd.FD) { _, _ = f.Write(message) },
			func(f *fd.FD) {
				for sent := 0; sent < len(message); sent += 1 << 10 {
					_, _ = f.Write(message[sent : sent+1<<10])
				}
			},
		} {
			l, _ := e.serveWith(t, fd.Handler{Blocking: write})
			if err := wantStream(e.peerOf(t, l), message); err != nil {
				t.Error(err)
			}
		}
	}},
}

// optionsFarAway gives every duration of the options the largest value: a connection
// comes and goes as with any other.
func optionsFarAway(t *testing.T, e *Env) {
	const forever time.Duration = math.MaxInt64
	e = e.With(t, func(o *ringfd.Options) {
		o.Dial.UserTimeout = forever
		o.Accept.MinDelay, o.Accept.MaxDelay = forever, forever
		o.Loops.Drain, o.Loops.HandlerLimit, o.Loops.NAPI = forever, forever, forever
	})
	config := defaultConfig
	config.UserTimeout = forever
	l := e.Listen(t, config)
	client := e.Dial(t, l.Addr())
	server := e.Accept(t, l)
	write(t, client, "x")
	read(t, server, "x")
	_ = client.Close()
	_ = readErr(t, server, fd.ClosedByPeer)
}

// handlerDeadlinesFarAway waits in a handler with deadlines that never come, and looks
// that its loop waits as well: a time that overflows in the kernel ends a wait at once,
// and the loop spins.
func handlerDeadlinesFarAway(t *testing.T, e *Env) {
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	for name, at := range farAway() {
		t.Run(name, func(t *testing.T) {
			reports := make(chan error, 1)
			waits := make(chan struct{}, 2)
			const size = 16 << 20
			l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) error {
				if err := f.SetDeadline(at); err != nil {
					return err
				}
				waits <- struct{}{}
				if n, err := f.Read(make([]byte, 1)); n != 1 || err != nil {
					return fmt.Errorf("Read = %d, %w", n, err)
				}
				if n, err := f.Write(make([]byte, size)); n != size || err != nil {
					return fmt.Errorf("Write = %d, %w", n, err)
				}
				return nil
			}))
			c := e.peerOf(t, l)
			await(t, waits, "Read")
			before := e.turns()
			time.Sleep(20 * time.Millisecond) // nothing is to happen in that time
			if turns := e.turns() - before; turns > 50 {
				t.Errorf("a loop that waits took %d turns in 20 ms", turns)
			}
			write(t, c, "x")
			if err := wantStream(c, make([]byte, size)); err != nil {
				t.Error(err)
			}
			wantReport(t, reports)
		})
	}
}

// turns is how many turns the loops took.
func (e *Env) turns() (n uint64) {
	for _, l := range e.Backend.Stats().Loops {
		n += l.Turns
	}
	return n
}
