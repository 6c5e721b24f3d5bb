//go:build unix && !linux && !freebsd

package ringfd

import "syscall"

const soReusePort = syscall.SO_REUSEPORT
