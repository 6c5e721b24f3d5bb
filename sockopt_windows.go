package ringfd

import (
	"errors"
	"syscall"

	"github.com/ringfd/ringfd/accept"
)

func beforeBind(_ syscall.RawConn, config accept.Config) error {
	if config.ReusePort {
		return errors.New("windows has no SO_REUSEPORT: set ReusePort to false")
	}
	return nil
}

// setBacklog does nothing: Windows does not change the backlog of a listening socket.
func setBacklog(uintptr, int) error { return nil }

// On Windows shutdown does not complete a call in flight.
const (
	shutdownEndsCalls               = false
	errShutdown       syscall.Errno = 10058 // WSAESHUTDOWN
)
