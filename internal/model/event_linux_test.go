package model

import (
	"fmt"
	"slices"
	"sync"

	"pgregory.net/rapid"

	"github.com/ringfd/ringfd/fd"
)

// eventLog is what a backend told, by FD, and apart from it the last close.
type eventLog struct {
	mu     sync.Mutex
	told   map[uint64][]string
	closes map[uint64]fd.Closed
}

func newEventLog() *eventLog {
	return &eventLog{told: make(map[uint64][]string), closes: make(map[uint64]fd.Closed)}
}

func (l *eventLog) add(id uint64, format string, args ...any) {
	l.mu.Lock()
	l.told[id] = append(l.told[id], fmt.Sprintf(format, args...))
	l.mu.Unlock()
}

func (l *eventLog) take(id uint64) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told[id]
	delete(l.told, id)
	return told
}

// forget drops what nobody has asked for.
func (l *eventLog) forget() {
	l.mu.Lock()
	clear(l.told)
	clear(l.closes)
	l.mu.Unlock()
}

const eventClose = "close"

func (l *eventLog) events() *fd.Events {
	return &fd.Events{
		Create: func(id uint64) { l.add(id, "create") },
		Close: func(c fd.Closed) {
			l.mu.Lock()
			l.closes[c.ID] = c
			l.mu.Unlock()
			l.add(c.ID, eventClose)
		},
		CloseError: func(id uint64, err error) { l.add(id, "close error %v", err) },
		TryRead:    func(id uint64, n int) { l.add(id, "try read %d", n) },
		Read:       func(id uint64, n int, total uint64) { l.add(id, "read %d of %d", n, total) },
		TryWrite:   func(id uint64, n int) { l.add(id, "try write %d", n) },
		Written:    func(id uint64, n int, total uint64) { l.add(id, "written %d of %d", n, total) },
		Connect:    func(id uint64, socket string) { l.add(id, "connect %s", socket) },
		Accept:     func(id uint64, socket string) { l.add(id, "accept %s", socket) },
	}
}

func (c *conn) expect(format string, args ...any) {
	c.events = append(c.events, fmt.Sprintf(format, args...))
}

func (c *conn) expectClose() { c.expect(eventClose) }

// checkEvents compares what the FD told since the last time with what the model
// expects. Calls that one event ended at once tell in any order.
func (c *conn) checkEvents(t *rapid.T, log *eventLog, anyOrder bool) {
	t.Helper()
	got, want := log.take(c.f.ID()), c.events
	c.events = nil
	if c.optional != "" {
		isOptional := func(event string) bool { return event == c.optional }
		got, want = slices.DeleteFunc(got, isOptional), slices.DeleteFunc(want, isOptional)
		c.optional = ""
	}
	closes := slices.Contains(want, eventClose)
	told := fmt.Sprintf("%q", got)
	if anyOrder {
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("fd %d: events\n got  %s\n want %q", c.f.ID(), told, want)
	}
	if closes {
		c.checkClosed(t, log, anyOrder)
	}
}

// checkClosed checks the fields of the Close event. What a Write had sent that the
// Close ended is counted when that Write returns, which may be after.
func (c *conn) checkClosed(t *rapid.T, log *eventLog, anyOrder bool) {
	t.Helper()
	log.mu.Lock()
	got := log.closes[c.f.ID()]
	log.mu.Unlock()
	_, cause := c.f.Reason()
	if got.Cause == nil || got.Cause.Error() != cause.Error() {
		t.Fatalf("fd %d: the cause of the event is %v, of the FD %v", c.f.ID(), got.Cause, cause)
	}
	late := anyOrder && got.Written < c.written
	if got.Read != c.read || got.Written != c.written && !late {
		t.Fatalf("fd %d: the event counts %d and %d, want %d and %d", c.f.ID(), got.Read, got.Written, c.read, c.written)
	}
	if got.Point != c.point || got.Peer != c.name || !sameTexts(got.Reasons, c.reasons) {
		t.Fatalf("fd %d: the event says %q, %q, %v; want %q, %q, %v", c.f.ID(), got.Point, got.Peer, got.Reasons, c.point, c.name, c.reasons)
	}
}

// sameTexts compares reasons, latest first, with those of the model, oldest first.
func sameTexts(got []error, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i, err := range got {
		if err.Error() != want[len(want)-1-i] {
			return false
		}
	}
	return true
}
