package ringfd

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

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

// lingersNot reports that closesocket drops what is to be sent, and resets. Winsock's
// struct linger is of two uint16.
func lingersNot(h uintptr) (bool, error) {
	var l struct{ on, seconds uint16 }
	size := int32(unsafe.Sizeof(l))
	err := windows.Getsockopt(windows.Handle(h), windows.SOL_SOCKET, windows.SO_LINGER, (*byte)(unsafe.Pointer(&l)), &size)
	return err == nil && l.on != 0 && l.seconds == 0, err
}
