package uring

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"
)

// submitted gives o a new generation, as a submission does, and returns the
// user_data of the request.
func submitted(o *op) uint64 { return userData(o.slot, o.gen.Add(1)) }

func TestOpTableReusesSlots(t *testing.T) {
	var table opTable
	var a, b, c op
	for _, o := range []*op{&a, &b} {
		if !table.add(o) {
			t.Fatal("the table is full")
		}
	}
	if a.slot == b.slot {
		t.Fatalf("two ops have the slot %d", a.slot)
	}
	first := submitted(&b)
	if got := table.lookup(first); got != &b {
		t.Errorf("the request leads to %p, want %p", got, &b)
	}
	second := submitted(&b)
	if got := table.lookup(first); got != nil {
		t.Error("the request before the last leads somewhere")
	}
	if got := table.lookup(second); got != &b {
		t.Errorf("the last request leads to %p, want %p", got, &b)
	}

	table.remove(&b)
	if got := table.lookup(second); got != nil {
		t.Error("a request of an op that is gone leads somewhere")
	}
	if !table.add(&c) {
		t.Fatal("the table is full")
	}
	if c.slot != b.slot {
		t.Errorf("the slot is %d, want %d, which is free", c.slot, b.slot)
	}
	third := submitted(&c)
	for _, stale := range []uint64{first, second} {
		if got := table.lookup(stale); got != nil {
			t.Errorf("the request %#x of the slot's former op leads to %p", stale, got)
		}
	}
	if got := table.lookup(third); got != &c {
		t.Errorf("the request leads to %p, want %p", got, &c)
	}
}

func TestOpTableGrows(t *testing.T) {
	var table opTable
	if got := table.lookup(userData(slotMask, 1)); got != nil {
		t.Errorf("a slot that was never given leads to %p", got)
	}
	ops := make([]op, 3<<chunkBits)
	for i := range ops {
		if !table.add(&ops[i]) {
			t.Fatalf("the table is full with %d ops", i)
		}
	}
	for i := range ops {
		if got := table.lookup(submitted(&ops[i])); got != &ops[i] {
			t.Fatalf("op %d of slot %d: the request leads to %p, want %p", i, ops[i].slot, got, &ops[i])
		}
	}
}

func TestOpTableFull(t *testing.T) {
	table := opTable{used: slotMask}
	var last, none op
	if !table.add(&last) {
		t.Fatal("the last slot is not given")
	}
	if table.lookup(submitted(&last)) != &last {
		t.Error("the last slot does not lead to its op")
	}
	if table.add(&none) {
		t.Errorf("the slot %d is given beyond the last", none.slot)
	}
	table.remove(&last)
	if !table.add(&none) {
		t.Error("the slot that was given back is not given again")
	}
}

// TestOpTableConcurrent adds and removes while others look stale requests up.
func TestOpTableConcurrent(t *testing.T) {
	var table opTable
	var wg sync.WaitGroup
	stale := make(chan uint64, 64)
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				o := new(op)
				if !table.add(o) {
					t.Error("the table is full")
					return
				}
				data := submitted(o)
				if got := table.lookup(data); got != o {
					t.Errorf("the request leads to %p, want %p", got, o)
				}
				table.remove(o)
				stale <- data
			}
		})
	}
	go func() {
		wg.Wait()
		close(stale)
	}()
	for data := range stale {
		if o := table.lookup(data); o != nil {
			t.Errorf("the request %#x of an op that is gone leads to %p", data, o)
		}
	}
}

// TestRefusal checks that a closed socket reports that it is closed, whatever
// else ends its calls, and that it can still close its descriptor.
func TestRefusal(t *testing.T) {
	var o op
	want := func(err error) {
		t.Helper()
		if got := o.refusal(); got != err {
			t.Errorf("the op is refused with %v, want %v", got, err)
		}
	}
	want(nil)
	o.aborts[abortDeadline] = os.ErrDeadlineExceeded
	want(os.ErrDeadlineExceeded)
	o.aborts[abortContext] = context.Canceled
	want(context.Canceled)
	o.aborts[abortClosed] = net.ErrClosed
	want(net.ErrClosed)
	o.sqe.opcode = opClose
	want(nil)
}
