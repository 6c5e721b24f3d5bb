package fd_test

import (
	"syscall"

	"github.com/ringfd/ringfd/fd"
)

// The numbers are those of the Windows SDK, spelled out on purpose: no constant
// is shared with the table under test.
const reset = syscall.Errno(10054)

var osOutcomes = []outcome{
	{err: syscall.Errno(10054), reason: fd.Lost, closes: true, peerClosed: true}, // WSAECONNRESET
	{err: syscall.Errno(64), reason: fd.Lost, closes: true, peerClosed: true},    // ERROR_NETNAME_DELETED
	{err: syscall.Errno(10058), reason: fd.Lost, closes: true, peerClosed: true}, // WSAESHUTDOWN
	{err: syscall.Errno(10060), reason: fd.Lost, closes: true, timeout: true},    // WSAETIMEDOUT
	{err: syscall.Errno(121), reason: fd.Lost, closes: true, timeout: true},      // ERROR_SEM_TIMEOUT
	{err: syscall.Errno(10065), reason: fd.Lost, closes: true},                   // WSAEHOSTUNREACH
	{err: syscall.Errno(10052), reason: fd.Lost, closes: true},                   // WSAENETRESET
	{err: syscall.Errno(10053), reason: fd.Lost, closes: true},                   // WSAECONNABORTED
	{err: syscall.Errno(10038), reason: fd.Unexpected, closes: true},             // WSAENOTSOCK, not by us
	{err: syscall.Errno(10055), op: "write", reason: fd.None, retryable: true},   // WSAENOBUFS
}

var osConnectOutcomes = []connectOutcome{
	{syscall.Errno(10061), fd.ConnectRefused, fd.Unexpected, false},
	{syscall.Errno(1225), fd.ConnectRefused, fd.Unexpected, false},
	{syscall.Errno(10065), fd.ConnectHostUnreachable, fd.Unexpected, false},
	{syscall.Errno(10051), fd.ConnectNetworkUnreachable, fd.Unexpected, false},
	{syscall.Errno(10060), fd.ConnectTimedOut, fd.Unexpected, true},
}
