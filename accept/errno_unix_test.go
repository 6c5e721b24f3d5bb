//go:build unix

package accept_test

import (
	"syscall"

	"github.com/ringfd/ringfd/accept"
)

const (
	tooManyFiles  = syscall.EMFILE
	thatOneIsGone = syscall.ECONNABORTED
	notSupported  = syscall.EOPNOTSUPP
	strange       = syscall.EINVAL
	busy          = syscall.EADDRINUSE
)

var classes = map[accept.Class][]syscall.Errno{
	accept.System: {syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENETDOWN},
	accept.Socket: {
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
		syscall.ENETUNREACH, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.EPROTO, syscall.EPERM,
		syscall.EAGAIN, syscall.ENOTCONN,
	},
	accept.Unexpected: {syscall.EINVAL, syscall.EBADF, syscall.ENOTSOCK, syscall.EFAULT, syscall.EIO},
}
