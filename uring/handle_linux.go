package uring

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// handle is the descriptor of a socket, for calls that move no data, and what is
// known of it.
type handle struct {
	sysfd int32        // constant from connect to close
	use   sync.RWMutex // held for writing only to set and to close sysfd

	closed atomic.Bool
	// Close does not shut the connection down first when the application wants
	// a reset (SetLinger(0)), or has a duplicate that goes on (File).
	resets, duplicated atomic.Bool

	addrs addresses
}

const noFD = -1

// CloseRead is shutdown(2) with SHUT_RD.
func (h *handle) CloseRead() error { return h.shutdown(unix.SHUT_RD) }

// CloseWrite is shutdown(2) with SHUT_WR.
func (h *handle) CloseWrite() error { return h.shutdown(unix.SHUT_WR) }

func (h *handle) shutdown(how int) error {
	return h.control("shutdown", func(sysfd int) error { return sysShutdown(sysfd, how) })
}

// control runs f on the descriptor, which Close leaves open meanwhile.
func (h *handle) control(name string, f func(sysfd int) error) error {
	h.use.RLock()
	defer h.use.RUnlock()
	if h.closed.Load() {
		return net.ErrClosed
	}
	if h.sysfd == noFD {
		return os.NewSyscallError(name, syscall.ENOTCONN)
	}
	return named(name, f(int(h.sysfd)))
}

// File duplicates the descriptor. The duplicate shares the connection, so
// Close does not shut it down any more.
func (h *handle) File() (*os.File, error) {
	h.duplicated.Store(true)
	return duplicate(h.control, fileName(h.LocalAddr(), h.RemoteAddr()))
}

// duplicate makes a file of a descriptor, which does not block: so it has deadlines, and
// its Fd does not make the two of them block.
func duplicate(control func(string, func(sysfd int) error) error, name string) (*os.File, error) {
	var dup int
	err := control("dup", func(sysfd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(sysfd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := sysSetNonblock(dup, true); err != nil {
		_ = unix.Close(dup)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(dup), name), nil
}

// addresses are those of a connection. Ours is asked for when first wanted: an
// accepted connection mostly never is.
type addresses struct {
	mu     sync.Mutex
	local  net.Addr
	remote net.Addr
	// listener's is what local falls back on after Close.
	listener net.Addr
}

// RemoteAddr returns the peer's address.
func (h *handle) RemoteAddr() net.Addr {
	h.addrs.mu.Lock()
	defer h.addrs.mu.Unlock()
	return h.addrs.remote
}

// LocalAddr returns our address; on an accepted socket that was closed before
// the first call, the listener's.
func (h *handle) LocalAddr() net.Addr {
	a := &h.addrs
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.local == nil && a.remote != nil {
		_ = h.control("getsockname", func(sysfd int) error {
			a.local = localAddrOf(sysfd)
			return nil
		})
	}
	if a.local == nil {
		return a.listener
	}
	return a.local
}
