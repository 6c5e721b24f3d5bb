//go:build unix

package ringfd

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// dataBuffers lends the buffers that data handlers receive in: an idle connection
// has none.
var dataBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// receive gives the handler what comes, until nothing more does. The handler runs
// outside of rc.Read, so that it may close the connection.
func (c *netServed) receive() {
	rc, err := c.conn.SyscallConn()
	if err != nil {
		c.err = c.ended(err, readHalf)
		return
	}
	var buf *[64 << 10]byte
	var n int
	var readErr error
	read := func(h uintptr) bool {
		buf = dataBuffers.Get().(*[64 << 10]byte)
		for {
			if n, readErr = syscall.Read(int(h), buf[:]); readErr != syscall.EINTR {
				break
			}
		}
		if readErr != syscall.EAGAIN {
			return true
		}
		dataBuffers.Put(buf)
		return false
	}
	for {
		if err := rc.Read(read); err != nil {
			if c.err = c.ended(err, readHalf); c.goesOn(c.err) {
				continue
			}
			return
		}
		if readErr == nil && n > 0 {
			raceAcquire()
			c.received()
			c.f.Received(n)
			c.handler.Data(c.f, buf[:n])
		}
		dataBuffers.Put(buf)
		switch {
		case readErr != nil:
			c.err = c.ended(os.NewSyscallError("read", readErr), readHalf)
			return
		case n == 0:
			c.err = c.ended(io.EOF, readHalf)
			return
		}
	}
}

// writeNow writes what the kernel takes without waiting. Who calls it holds
// s.writing.
func (s *netSocket) writeNow(p []byte) (int, error) {
	rc, err := s.conn.SyscallConn()
	if err != nil {
		return 0, s.ended(err, writeHalf)
	}
	total := 0
	var writeErr error
	err = rc.Write(func(h uintptr) bool {
		for total < len(p) {
			n, err := syscall.Write(int(h), p[total:min(len(p), total+maxWrite)])
			switch err {
			case nil:
				total += n
			case syscall.EINTR:
			case syscall.EAGAIN:
				return true
			default:
				writeErr = os.NewSyscallError("write", err)
				return true
			}
		}
		return true
	})
	if err == nil {
		err = writeErr
	}
	if err != nil {
		return total, s.ended(err, writeHalf)
	}
	return total, nil
}

// maxWrite is what one write(2) is given at most: some systems refuse more than
// their int holds.
const maxWrite = 1 << 30
