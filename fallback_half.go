package ringfd

import (
	"errors"
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

// CloseRead is shutdown(2). On Windows it is not: there that resets a connection on
// which something is left to be read (Winsock's shutdown, SD_RECEIVE).
func (s *netSocket) CloseRead() error {
	if shutdownEndsCalls {
		return bare(s.conn.CloseRead())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halves[readHalf] = true
	return bare(s.conn.SetReadDeadline(longAgo))
}

// readLeft reads what was received before we ended this half, or the error err of a
// read that has met the end.
func (s *netSocket) readLeft(p []byte, err error) (int, error) {
	const moment = time.Millisecond
	s.mu.Lock()
	left := s.halves[readHalf] && !s.closed && errors.Is(err, os.ErrDeadlineExceeded)
	if left {
		_ = s.conn.SetReadDeadline(time.Now().Add(moment)) // what is there is there at once
	}
	s.mu.Unlock()
	if !left {
		return 0, err
	}
	defer s.conn.SetReadDeadline(longAgo)
	return s.conn.Read(p)
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
