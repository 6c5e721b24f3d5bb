//go:build !unix

package ringfd

import "syscall"

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
	waited := false
	return c.Read(func(uintptr) bool {
		ready := waited
		waited = true
		return ready
	})
}

// writeNow writes nothing: there is no writing without waiting.
func (s *netSocket) writeNow([]byte) (int, error) { return 0, nil }
