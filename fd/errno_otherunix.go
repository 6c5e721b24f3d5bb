//go:build unix && !darwin

package fd

import "syscall"

var lostErrnosOfOS []syscall.Errno
