//go:build unix

package ringfd

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
)

// beforeBind sets the options that must be set before bind.
func beforeBind(c syscall.RawConn, config accept.Config) error {
	var inner error
	err := c.Control(func(h uintptr) {
		if config.ReusePort {
			inner = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(h), syscall.SOL_SOCKET, soReusePort, 1))
		}
		if inner == nil && config.UserTimeout > 0 {
			inner = setUserTimeout(h, config.UserTimeout)
		}
	})
	if err != nil {
		return err
	}
	return inner
}

// setBacklog calls listen(2) again, which changes the backlog of a listening
// socket; net always asks for the system's limit.
func setBacklog(h uintptr, backlog int) error {
	return os.NewSyscallError("listen", syscall.Listen(int(h), backlog))
}

// On Unix shutdown ends the calls in flight.
const (
	shutdownEndsCalls = true
	errShutdown       = syscall.EPIPE
)

// lingersNot reports that close(2) drops what is to be sent, and resets.
func lingersNot(h uintptr) (bool, error) {
	l, err := unix.GetsockoptLinger(int(h), unix.SOL_SOCKET, unix.SO_LINGER)
	return err == nil && l.Onoff != 0 && l.Linger == 0, err
}
