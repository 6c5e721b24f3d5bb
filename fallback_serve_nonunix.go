//go:build !unix

package ringfd

import (
	"sync"
	"syscall"
)

// dataBuffer is the size of the buffer of a connection that a data handler
// serves: there is no waiting without one.
const dataBuffer = 4 << 10

// receive gives the handler what comes, until nothing more does.
func (c *netServed) receive() {
	buf := make([]byte, dataBuffer)
	for {
		n, err := c.netSocket.Read(buf)
		if err != nil {
			c.err = err
			return
		}
		c.f.Received(n)
		c.handler.Data(c.f, buf[:n])
	}
}

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

// writeNow writes nothing: there is no writing without waiting.
func (s *netSocket) writeNow([]byte) (int, error) { return 0, nil }
