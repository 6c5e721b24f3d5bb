//go:build !unix

package ringfd

import (
	"sync"
	"syscall"
)

// waitReadable returns when a read of c would not wait: net waits with a receive of
// no bytes. An error of the connection may be told here already.
func waitReadable(c syscall.RawConn) error {
	w := readableWaits.Get().(*readableWait)
	defer readableWaits.Put(w)
	w.waited = false
	return c.Read(w.ready)
}

type readableWait struct {
	waited bool
	ready  func(uintptr) bool // is told to wait once
}

var readableWaits = sync.Pool{New: func() any {
	w := new(readableWait)
	w.ready = func(uintptr) bool {
		ready := w.waited
		w.waited = true
		return ready
	}
	return w
}}
