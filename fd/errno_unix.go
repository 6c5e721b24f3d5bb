//go:build unix

package fd

import "syscall"

var (
	lostErrnos = append([]syscall.Errno{
		syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT,
		// After the kernel gave up retransmitting it reports the last soft error.
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
		syscall.ENETDOWN, syscall.ECONNREFUSED,
		syscall.ENETRESET,    // keepalive failed (BSD)
		syscall.ECONNABORTED, // the local stack gave up
	}, lostErrnosOfOS...)

	resetErrnos           = []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE}
	brokenPipeErrnos      = []syscall.Errno{syscall.EPIPE}
	noMemoryErrnos        = []syscall.Errno{syscall.ENOBUFS, syscall.ENOMEM}
	timeoutErrnos         = []syscall.Errno{syscall.ETIMEDOUT}
	refusedErrnos         = []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET}
	hostUnreachableErrnos = []syscall.Errno{syscall.EHOSTUNREACH, syscall.EHOSTDOWN}
	netUnreachableErrnos  = []syscall.Errno{syscall.ENETUNREACH, syscall.EAFNOSUPPORT}
)
