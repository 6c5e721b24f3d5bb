//go:build !unix

package ringfd

// dataBuffer is the size of the buffer of a connection that a data handler
// serves: there is no waiting without one.
const dataBuffer = 4 << 10

// receive gives the handler what comes, until nothing more does.
func (c *netServed) receive() {
	buf := make([]byte, dataBuffer)
	for {
		n, err := c.netSocket.Read(buf)
		if err != nil {
			if c.err = err; c.goesOn(err) {
				continue
			}
			return
		}
		c.received()
		c.f.Received(n)
		c.handler.Data(c.f, buf[:n])
	}
}

// writeNow writes nothing: there is no writing without waiting.
func (s *netSocket) writeNow([]byte) (int, error) { return 0, nil }
