package uring

import "unsafe"

// A connection that was idle since the last thousand others were busy is in no
// cache any more: neither its record, nor the stack of its coroutine. The batch
// tells whose turn is next, so those are loaded while others are handled.
const (
	connAhead  = 4 // how far ahead the record is loaded, in completions
	stackAhead = 2 // and the stack, whose address is in there
)

// prefetchNext loads what the completions after the next one will need.
func (l *loop) prefetchNext() {
	if i := l.next + connAhead; i < len(l.batch) {
		if c := l.receiverOf(l.batch[i]); c != nil {
			prefetch(uintptr(unsafe.Pointer(c)), int(unsafe.Sizeof(*c)+63)/64)
		}
	}
	if i := l.next + stackAhead; i < len(l.batch) {
		if c := l.receiverOf(l.batch[i]); c != nil && c.receive.first != nil && c.receive.first.co != nil {
			co := c.receive.first.co
			prefetch(uintptr(unsafe.Pointer(co)), int(unsafe.Sizeof(*co)+63)/64)
			prefetch(co.sp-stackBelow, (stackBelow+stackAbove)/64)
			prefetch(co.g.Load(), gSize/64)
		}
	}
}

const (
	stackBelow, stackAbove = 256, 768 // bytes around the sp of a wait that its end touches
	gSize                  = 448
)

func (l *loop) receiverOf(e cqe) *conn {
	if e.userData&kindMask != kindReceive {
		return nil
	}
	return l.conns.find(e.userData)
}
