package uring

import (
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handle is the descriptor of a socket, for calls that move no data, and what is
// known of it.
type handle struct {
	descriptor
	closed atomic.Bool
	// duplicated: Close does not shut the connection down first, since the application
	// has a duplicate that goes on (File).
	duplicated atomic.Bool

	addrs addresses
}

// CloseRead is shutdown(2) with SHUT_RD.
func (h *handle) CloseRead() error { return h.shutdown(unix.SHUT_RD) }

// CloseWrite is shutdown(2) with SHUT_WR.
func (h *handle) CloseWrite() error { return h.shutdown(unix.SHUT_WR) }

func (h *handle) shutdown(how int) error {
	return h.control("shutdown", func(sysfd int) error { return sysShutdown(sysfd, how) })
}

// control runs f on the descriptor, which Close leaves open meanwhile.
func (h *handle) control(name string, f func(sysfd int) error) error {
	if h.closed.Load() {
		return net.ErrClosed
	}
	return h.use(name, f)
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
	local, unknown := a.local, a.local == nil && a.remote != nil
	a.mu.Unlock()
	if unknown {
		_ = h.control("getsockname", func(sysfd int) error {
			local = localAddrOf(sysfd)
			return nil
		})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.local != nil:
		return a.local
	case local == nil:
		return a.listener
	}
	a.local = local
	return local
}
