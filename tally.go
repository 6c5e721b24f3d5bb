package ringfd

import "sync"

// tally is a sync.WaitGroup whose goroutines may be in and outside bubbles of
// testing/synctest: those of a WaitGroup must not, nor those of a channel or a Cond.
type tally struct {
	mu   sync.Mutex
	n    int
	some sync.Mutex // held by the tally while n is not 0
}

// Add counts a goroutine. Nobody waits yet, or one is there already.
func (t *tally) Add() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n++; t.n == 1 {
		t.some.Lock()
	}
}

// Done takes one off.
func (t *tally) Done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 {
		t.some.Unlock()
	}
}

// Wait waits until there is none.
func (t *tally) Wait() {
	t.some.Lock()
	t.some.Unlock()
}
