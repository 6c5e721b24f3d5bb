package fd

import "syscall"

// Windows Sockets and Win32 numbers, by the names of the Windows SDK. The
// syscall.E* names do not match what Windows returns (golang/go#45621).
const (
	wsaeNetDown     syscall.Errno = 10050
	wsaeNetUnreach  syscall.Errno = 10051
	wsaeNetReset    syscall.Errno = 10052 // keepalive failed
	wsaeConnAborted syscall.Errno = 10053 // the local stack gave up
	wsaeConnReset   syscall.Errno = 10054
	wsaeNoBufs      syscall.Errno = 10055
	wsaeShutdown    syscall.Errno = 10058
	wsaeTimedOut    syscall.Errno = 10060
	wsaeConnRefused syscall.Errno = 10061
	wsaeHostDown    syscall.Errno = 10064
	wsaeHostUnreach syscall.Errno = 10065
	wsaeAfNoSupport syscall.Errno = 10047
	errNotEnoughMem syscall.Errno = 8
	errNetnameDel   syscall.Errno = 64
	errSemTimeout   syscall.Errno = 121
	errConnRefused  syscall.Errno = 1225
	errNetUnreach   syscall.Errno = 1231
	errHostUnreach  syscall.Errno = 1232
	errConnAborted  syscall.Errno = 1236
	errBrokenPipe   syscall.Errno = 109
	errNoData       syscall.Errno = 232 // the pipe is being closed
)

var (
	lostErrnos = []syscall.Errno{
		wsaeConnReset, errNetnameDel, wsaeShutdown, wsaeTimedOut, errSemTimeout,
		wsaeHostUnreach, wsaeHostDown, wsaeNetUnreach, wsaeNetDown, wsaeConnRefused,
		wsaeNetReset, wsaeConnAborted, errConnRefused, errNetUnreach, errHostUnreach,
		errConnAborted, errBrokenPipe, errNoData,
	}
	resetErrnos           = []syscall.Errno{wsaeConnReset, errNetnameDel, wsaeShutdown, errBrokenPipe, errNoData}
	brokenPipeErrnos      = []syscall.Errno{wsaeShutdown, errBrokenPipe, errNoData}
	noMemoryErrnos        = []syscall.Errno{wsaeNoBufs, errNotEnoughMem}
	timeoutErrnos         = []syscall.Errno{wsaeTimedOut, errSemTimeout}
	refusedErrnos         = []syscall.Errno{wsaeConnRefused, errConnRefused, wsaeConnReset}
	hostUnreachableErrnos = []syscall.Errno{wsaeHostUnreach, wsaeHostDown, errHostUnreach}
	netUnreachableErrnos  = []syscall.Errno{wsaeNetUnreach, errNetUnreach, wsaeAfNoSupport}
)
