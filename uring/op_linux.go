package uring

import (
	"sync"
	"sync/atomic"
)

// op is the record of one request that may be in flight: a direction of a
// socket, or the accept of a listener. It is submitted again and again, one
// request at a time. What the kernel can see of the request (the buffer, the
// addresses, the vectors) is rooted here from submission to the last CQE.
type op struct {
	sqe  sqe // the request; userData is filled in at submission
	slot uint32
	gen  atomic.Uint32 // of the last submission

	res         int32 // of the CQE, valid once state is done
	quietResult int32 // the result of a request that posts no CQE on success
	state       atomic.Uint32
	wake        chan struct{} // one token per parked → done

	// Guarded by the engine's submission lock.
	aborts [abortKinds]error // why this op must not run: it is refused, or cancelled in flight

	// Roots.
	buf    []byte
	vec    *vector
	remote *rawAddr
}

// The states of an op. The waiter moves idle → submitted → parked, whoever
// harvests the CQE moves to done; the token in wake says that the waiter sleeps.
const (
	_ uint32 = iota // idle
	opSubmitted
	opParked
	opDone
)

// abortKind says who ends an op. An earlier kind takes precedence: a closed
// socket reports that it is closed.
type abortKind int

const (
	abortClosed abortKind = iota
	abortContext
	abortDeadline
	abortKinds
)

// refusal returns why o must not be submitted, or nil. Closing the descriptor
// is what an aborted socket still has to do.
func (o *op) refusal() error {
	if o.sqe.opcode == opClose {
		return nil
	}
	return o.aborted()
}

// aborted returns why o's request is to end, or nil. The submission lock is held.
func (o *op) aborted() error {
	for _, err := range o.aborts {
		if err != nil {
			return err
		}
	}
	return nil
}

// user_data is kind (8 bits), slot (24 bits), generation (32 bits); never a
// pointer. A CQE whose generation is not the op's is of an earlier request.
const (
	kindOp     uint64 = iota << 56
	kindCancel        // an ASYNC_CANCEL, of the op with that slot and generation

	slotBits = 24
	slotMask = 1<<slotBits - 1
	kindMask = uint64(0xff) << 56
)

func userData(slot, gen uint32) uint64 { return kindOp | uint64(slot)<<32 | uint64(gen) }

// opTable maps slots to ops. Lookup takes no lock: whoever harvests does it
// per CQE. Slots are taken and given back per connection.
type opTable struct {
	mu     sync.Mutex
	free   []freeSlot
	used   uint32
	chunks [1 << (slotBits - chunkBits)]atomic.Pointer[opChunk]
}

// freeSlot remembers the generation, so that it goes on growing per slot.
type freeSlot struct{ slot, gen uint32 }

const chunkBits = 10

type opChunk [1 << chunkBits]atomic.Pointer[op]

// add gives o a slot; false when all are taken.
func (t *opTable) add(o *op) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch n := len(t.free); {
	case n > 0:
		o.slot = t.free[n-1].slot
		o.gen.Store(t.free[n-1].gen)
		t.free = t.free[:n-1]
	case t.used > slotMask:
		return false
	default:
		o.slot = t.used
		t.used++
	}
	chunk := &t.chunks[o.slot>>chunkBits]
	if chunk.Load() == nil {
		chunk.Store(new(opChunk))
	}
	entry := &chunk.Load()[o.slot&(1<<chunkBits-1)]
	entry.Store(o)
	return true
}

// remove gives the slot of o back. Its last CQE has been seen; the generation
// moves on all the same, so that no request leads to the op that comes next.
func (t *opTable) remove(o *op) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chunks[o.slot>>chunkBits].Load()[o.slot&(1<<chunkBits-1)].Store(nil)
	t.free = append(t.free, freeSlot{o.slot, o.gen.Add(1)})
}

// empty reports that no slot is taken.
func (t *opTable) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.used) == len(t.free)
}

// all yields every op that has a slot.
func (t *opTable) all(yield func(*op) bool) {
	t.mu.Lock()
	used := t.used
	t.mu.Unlock()
	for slot := range used {
		o := t.chunks[slot>>chunkBits].Load()[slot&(1<<chunkBits-1)].Load()
		if o != nil && !yield(o) {
			return
		}
	}
}

// lookup returns the op that a CQE is for, or nil.
func (t *opTable) lookup(data uint64) *op {
	slot := uint32(data>>32) & slotMask
	chunk := t.chunks[slot>>chunkBits].Load()
	if chunk == nil {
		return nil
	}
	o := chunk[slot&(1<<chunkBits-1)].Load()
	if o == nil || o.gen.Load() != uint32(data) {
		return nil
	}
	return o
}
