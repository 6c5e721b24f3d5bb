package ringfd

import (
	"io"
	"os"
	"time"
)

// half is a direction of a connection.
type half int

const (
	readHalf half = iota
	writeHalf
)

// Where a shutdown does not end the calls in flight (shutdownEndsCalls), an
// expired deadline ends them, and they get the error of a shutdown instead.
var endedHalf = [...]error{
	readHalf:  io.EOF,
	writeHalf: os.NewSyscallError("write", errShutdown),
}

// longAgo is an expired deadline.
var longAgo = time.Unix(1, 0)

func (s *netSocket) CloseRead() error {
	if err := s.conn.CloseRead(); err != nil || shutdownEndsCalls {
		return bare(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halves[readHalf] = true
	return bare(s.conn.SetReadDeadline(longAgo))
}

func (s *netSocket) CloseWrite() error {
	if err := s.conn.CloseWrite(); err != nil || shutdownEndsCalls {
		return bare(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halves[writeHalf] = true
	return bare(s.conn.SetWriteDeadline(longAgo))
}
