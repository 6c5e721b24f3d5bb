//go:build unix

package fd_test

import (
	"syscall"

	"github.com/ringfd/ringfd/fd"
)

const reset = syscall.ECONNRESET

var osOutcomes = []outcome{
	{err: syscall.ECONNRESET, reason: fd.Lost, closes: true, peerClosed: true},
	{err: syscall.EPIPE, reason: fd.Lost, closes: true, peerClosed: true},
	{err: syscall.ETIMEDOUT, reason: fd.Lost, closes: true, timeout: true},
	{err: syscall.EHOSTUNREACH, reason: fd.Lost, closes: true},
	{err: syscall.ENETUNREACH, reason: fd.Lost, closes: true},
	{err: syscall.EHOSTDOWN, reason: fd.Lost, closes: true},
	{err: syscall.ENETDOWN, reason: fd.Lost, closes: true},
	{err: syscall.ECONNREFUSED, reason: fd.Lost, closes: true},
	{err: syscall.ENETRESET, reason: fd.Lost, closes: true},
	{err: syscall.ECONNABORTED, reason: fd.Lost, closes: true},
	{err: syscall.EBADF, reason: fd.Unexpected, closes: true}, // not by us
	{err: syscall.EIO, reason: fd.Unexpected, closes: true},
	{err: syscall.ENOTCONN, reason: fd.Unexpected, closes: true},
	{err: syscall.EINVAL, reason: fd.Unexpected, closes: true},
	{err: syscall.ENOBUFS, op: "write", reason: fd.None, retryable: true},
	{err: syscall.ENOMEM, op: "write", reason: fd.None, retryable: true},
	{err: syscall.ENOBUFS, op: "read", reason: fd.Unexpected, closes: true},
	{err: syscallErr("read", syscall.ECONNRESET), reason: fd.Lost, closes: true, peerClosed: true},
}

var osConnectOutcomes = []connectOutcome{
	{syscall.ECONNREFUSED, fd.ConnectRefused, fd.Unexpected, false},
	{syscall.ECONNRESET, fd.ConnectRefused, fd.Unexpected, false},
	{syscall.EHOSTUNREACH, fd.ConnectHostUnreachable, fd.Unexpected, false},
	{syscall.EHOSTDOWN, fd.ConnectHostUnreachable, fd.Unexpected, false},
	{syscall.ENETUNREACH, fd.ConnectNetworkUnreachable, fd.Unexpected, false},
	{syscall.EAFNOSUPPORT, fd.ConnectNetworkUnreachable, fd.Unexpected, false},
	{syscall.ETIMEDOUT, fd.ConnectTimedOut, fd.Unexpected, true},
	{syscall.EADDRNOTAVAIL, fd.ConnectOther, fd.Unexpected, false},
	{syscall.EACCES, fd.ConnectOther, fd.Unexpected, false},
}
