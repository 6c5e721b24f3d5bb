package uring

import (
	"sync"
	"testing"
)

func TestEndpointTableReusesSlots(t *testing.T) {
	var table endpointTable
	var a, b, c endpoint
	add := func(ep *endpoint) uint64 {
		t.Helper()
		token, ok := table.add(ep)
		if !ok {
			t.Fatal("the table is full")
		}
		if got := table.find(token); got != ep {
			t.Fatalf("the token leads to %p, want %p", got, ep)
		}
		return token
	}
	first, second := add(&a), add(&b)
	if first == second {
		t.Fatal("two endpoints have one token")
	}
	table.remove(second)
	if got := table.find(second); got != nil {
		t.Errorf("a token of an endpoint that is gone leads to %p", got)
	}
	third := add(&c)
	if uint32(third) != uint32(second) {
		t.Errorf("the slot is %d, want %d, which is free", uint32(third), uint32(second))
	}
	if got := table.find(second); got != nil {
		t.Errorf("a token of the slot's former endpoint leads to %p", got)
	}
	if got := table.find(first); got != &a {
		t.Errorf("the first token leads to %p, want %p", got, &a)
	}
}

func TestEndpointTableGrows(t *testing.T) {
	var table endpointTable
	if got := table.find(slotMask | 1<<32); got != nil {
		t.Errorf("a slot that was never given leads to %p", got)
	}
	endpoints := make([]endpoint, 3<<chunkBits)
	tokens := make([]uint64, len(endpoints))
	for i := range endpoints {
		tokens[i], _ = table.add(&endpoints[i])
	}
	for i, token := range tokens {
		if got := table.find(token); got != &endpoints[i] {
			t.Fatalf("token %d leads to %p, want %p", i, got, &endpoints[i])
		}
	}
}

func TestEndpointTableFull(t *testing.T) {
	table := endpointTable{used: slotMask}
	var last, none endpoint
	token, ok := table.add(&last)
	if !ok || table.find(token) != &last {
		t.Fatal("the last slot is not given")
	}
	if _, ok := table.add(&none); ok {
		t.Error("a slot is given beyond the last")
	}
	table.remove(token)
	if _, ok := table.add(&none); !ok {
		t.Error("the slot that was given back is not given again")
	}
}

// TestEndpointTableConcurrent adds and removes while others look stale tokens up, as a
// poller does with the events of sockets that are closed meanwhile.
func TestEndpointTableConcurrent(t *testing.T) {
	var table endpointTable
	var wg sync.WaitGroup
	stale := make(chan uint64, 64)
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				ep := new(endpoint)
				token, ok := table.add(ep)
				if !ok {
					t.Error("the table is full")
					return
				}
				if got := table.find(token); got != ep {
					t.Errorf("the token leads to %p, want %p", got, ep)
				}
				table.remove(token)
				stale <- token
			}
		})
	}
	go func() {
		wg.Wait()
		close(stale)
	}()
	for token := range stale {
		if ep := table.find(token); ep != nil {
			t.Errorf("the token %#x of an endpoint that is gone leads to %p", token, ep)
		}
	}
}
