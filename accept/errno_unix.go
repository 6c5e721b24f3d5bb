//go:build unix

package accept

import (
	"maps"
	"syscall"
)

const (
	addressInUse        = syscall.EADDRINUSE
	addressNotAvailable = syscall.EADDRNOTAVAIL
	connectionRefused   = syscall.ECONNREFUSED
)

// classes holds the errnos common to all Unix systems and, from
// errnoClassesOfOS, those that only some have. An errno missing here is
// Unexpected: EINVAL and EBADF mean that the listener is gone.
var classes = func() map[syscall.Errno]Class {
	m := map[syscall.Errno]Class{
		syscall.EMFILE:   System,
		syscall.ENFILE:   System,
		syscall.ENOBUFS:  System, // the seed module's loop died of these two
		syscall.ENOMEM:   System,
		syscall.ENETDOWN: System,

		syscall.EAGAIN:       Socket,
		syscall.EPERM:        Socket, // a firewall forbids this one connection
		syscall.ENOPROTOOPT:  Socket,
		syscall.EOPNOTSUPP:   Socket, // or not a stream listener: the loop gives up after some
		syscall.ENETUNREACH:  Socket,
		syscall.ECONNABORTED: Socket,
		syscall.ECONNRESET:   Socket,
		syscall.ETIMEDOUT:    Socket,
		syscall.EHOSTDOWN:    Socket,
		syscall.EHOSTUNREACH: Socket,
		syscall.EPROTO:       Socket,
		syscall.ENOTCONN:     Socket, // the peer had reset it before accept
	}
	maps.Copy(m, errnoClassesOfOS)
	return m
}()

func isNotSupported(err error) bool { return errnoOf(err) == syscall.EOPNOTSUPP }
