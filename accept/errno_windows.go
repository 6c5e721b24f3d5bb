package accept

import "syscall"

// Windows Sockets numbers, by the names of the Windows SDK.
const (
	wsaeAcces       syscall.Errno = 10013
	wsaeMfile       syscall.Errno = 10024
	wsaeAddrInUse   syscall.Errno = 10048
	wsaeOpNotSupp   syscall.Errno = 10045
	wsaeNetDown     syscall.Errno = 10050
	wsaeNetUnreach  syscall.Errno = 10051
	wsaeConnAborted syscall.Errno = 10053
	wsaeConnReset   syscall.Errno = 10054
	wsaeNoBufs      syscall.Errno = 10055
	wsaeTimedOut    syscall.Errno = 10060
	wsaeHostDown    syscall.Errno = 10064
	wsaeHostUnreach syscall.Errno = 10065
	errTooManyFiles syscall.Errno = 4
	errNotEnoughMem syscall.Errno = 8
	errNetnameDel   syscall.Errno = 64
)

const (
	addressInUse        = wsaeAddrInUse
	addressNotAvailable = syscall.Errno(10049) // WSAEADDRNOTAVAIL
	connectionRefused   = syscall.Errno(10061) // WSAECONNREFUSED
)

var classes = map[syscall.Errno]Class{
	wsaeMfile:       System,
	errTooManyFiles: System,
	errNotEnoughMem: System,
	wsaeNoBufs:      System,
	wsaeNetDown:     System,

	wsaeAcces:       Socket, // a firewall forbids this one connection
	wsaeOpNotSupp:   Socket,
	wsaeNetUnreach:  Socket,
	wsaeConnAborted: Socket,
	wsaeConnReset:   Socket,
	errNetnameDel:   Socket,
	wsaeTimedOut:    Socket,
	wsaeHostDown:    Socket,
	wsaeHostUnreach: Socket,
}

func isNotSupported(err error) bool { return errnoOf(err) == wsaeOpNotSupp }
