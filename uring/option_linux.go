package uring

import (
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

func setInt(sysfd, level, name, value int) error {
	return os.NewSyscallError("setsockopt", sysSetsockopt(sysfd, level, name, value))
}

func bind(sysfd int, addr *rawAddr) error {
	if errno := sysBind(sysfd, addr); errno != 0 {
		return os.NewSyscallError("bind", errno)
	}
	return nil
}

// net's defaults for zero fields of net.KeepAliveConfig.
const (
	defaultKeepAliveIdle     = 15 * time.Second
	defaultKeepAliveInterval = 15 * time.Second
	defaultKeepAliveCount    = 9
)

// setKeepAlive sets SO_KEEPALIVE and its timings, in whole seconds, rounded up.
// Reference: tcp(7), net.KeepAliveConfig.
func setKeepAlive(sysfd int, c net.KeepAliveConfig) error {
	if c = fd.KeepAlive(c); !c.Enable {
		return nil
	}
	return enableKeepAlive(sysfd, c)
}

func enableKeepAlive(sysfd int, c net.KeepAliveConfig) error {
	if err := setInt(sysfd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
		return err
	}
	for _, timing := range []struct{ option, value int }{
		{unix.TCP_KEEPIDLE, seconds(c.Idle, defaultKeepAliveIdle)},
		{unix.TCP_KEEPINTVL, seconds(c.Interval, defaultKeepAliveInterval)},
		{unix.TCP_KEEPCNT, count(c.Count)},
	} {
		if timing.value < 0 {
			continue // leave the system's
		}
		if err := setInt(sysfd, unix.IPPROTO_TCP, timing.option, timing.value); err != nil {
			return err
		}
	}
	return nil
}

func seconds(d, ifZero time.Duration) int {
	if d == 0 {
		d = ifZero
	}
	if d < 0 {
		return -1
	}
	return int((d + time.Second - 1) / time.Second)
}

func count(n int) int {
	if n == 0 {
		return defaultKeepAliveCount
	}
	return n
}

// setUserTimeout sets TCP_USER_TIMEOUT, which counts milliseconds; zero leaves
// the system's rule. Reference: tcp(7).
func setUserTimeout(sysfd int, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	return setInt(sysfd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(max(d.Milliseconds(), 1), math.MaxInt32)))
}

// SetLinger is SO_LINGER; with 0 seconds Close resets the connection.
func (h *handle) SetLinger(sec int) error {
	l := unix.Linger{Onoff: 1, Linger: int32(max(sec, 0))}
	if sec < 0 {
		l.Onoff = 0
	}
	if h.isUnix() {
		return errNotOfUnix
	}
	return h.control("setsockopt", func(sysfd int) error {
		return sysSetLinger(sysfd, &l)
	})
}

// errNotOfUnix refuses what the kernel would take and ignore.
var errNotOfUnix = os.NewSyscallError("setsockopt", syscall.EOPNOTSUPP)

func (h *handle) isUnix() bool {
	_, is := h.RemoteAddr().(*net.UnixAddr)
	return is
}

// SetNoDelay is TCP_NODELAY.
func (h *handle) SetNoDelay(on bool) error {
	value := 0
	if on {
		value = 1
	}
	return h.option(unix.IPPROTO_TCP, unix.TCP_NODELAY, value)
}

// SetKeepAliveConfig is SO_KEEPALIVE with its timings.
func (h *handle) SetKeepAliveConfig(c net.KeepAliveConfig) error {
	if h.isUnix() {
		return errNotOfUnix
	}
	if !c.Enable {
		return h.option(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	}
	return h.control("setsockopt", func(sysfd int) error { return enableKeepAlive(sysfd, c) })
}

// SetReadBuffer is SO_RCVBUF.
func (h *handle) SetReadBuffer(bytes int) error {
	return h.option(unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
}

// SetWriteBuffer is SO_SNDBUF.
func (h *handle) SetWriteBuffer(bytes int) error {
	return h.option(unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
}

// MultipathTCP is false: the sockets are made as plain TCP.
func (h *handle) MultipathTCP() (bool, error) {
	if h.isUnix() {
		return false, errNotOfUnix
	}
	return false, h.control("getsockopt", func(int) error { return nil })
}

func (h *handle) option(level, name, value int) error {
	return h.control("setsockopt", func(sysfd int) error {
		return sysSetsockopt(sysfd, level, name, value)
	})
}
