package fd_test

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// fakeSocket is an fd.Socket that gives what it is told to.
type fakeSocket struct {
	read     func(p []byte) (int, error)
	write    func(p []byte) (int, error)
	connect  error
	closeErr error
	half     error
	option   error

	closes int
	remote net.Addr
}

var _ fd.Socket = (*fakeSocket)(nil)

func (s *fakeSocket) Connect(context.Context, net.Addr) error { return s.connect }
func (s *fakeSocket) Read(p []byte) (int, error)              { return s.read(p) }
func (s *fakeSocket) WaitRead() error                         { _, err := s.read(nil); return err }
func (s *fakeSocket) Write(p []byte) (int, error)             { return s.write(p) }
func (s *fakeSocket) CloseRead() error                        { return s.half }
func (s *fakeSocket) CloseWrite() error                       { return s.half }
func (s *fakeSocket) Close() error                            { s.closes++; return s.closeErr }
func (s *fakeSocket) LocalAddr() net.Addr                     { return s.remote }
func (s *fakeSocket) RemoteAddr() net.Addr                    { return s.remote }
func (s *fakeSocket) SetReadDeadline(time.Time) error         { return s.option }
func (s *fakeSocket) SetWriteDeadline(time.Time) error        { return s.option }
func (s *fakeSocket) SyscallConn() (syscall.RawConn, error)   { return nil, s.option }
func (s *fakeSocket) File() (*os.File, error)                 { return nil, s.option }
func (s *fakeSocket) SetLinger(int) error                     { return s.option }
func (s *fakeSocket) SetNoDelay(bool) error                   { return s.option }
func (s *fakeSocket) SetKeepAliveConfig(net.KeepAliveConfig) error {
	return s.option
}
func (s *fakeSocket) SetReadBuffer(int) error     { return s.option }
func (s *fakeSocket) SetWriteBuffer(int) error    { return s.option }
func (s *fakeSocket) MultipathTCP() (bool, error) { return false, s.option }

func (s *fakeSocket) Writev(buffers [][]byte) (int64, error) {
	var total int64
	for _, b := range buffers {
		n, err := s.write(b)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// connected returns an FD on a socket whose reads and writes give err after n
// bytes.
func connected(n int, err error) (*fd.FD, *fakeSocket) {
	s := &fakeSocket{
		read:   func([]byte) (int, error) { return n, err },
		write:  func([]byte) (int, error) { return n, err },
		remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9732},
	}
	return fd.Accepted(s, nil), s
}

func syscallErr(call string, errno syscall.Errno) error { return os.NewSyscallError(call, errno) }
