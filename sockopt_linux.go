package ringfd

import (
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const soReusePort = unix.SO_REUSEPORT

// setUserTimeout sets TCP_USER_TIMEOUT, which counts milliseconds; sockets of
// other protocols do not have it. Reference: tcp(7).
func setUserTimeout(h uintptr, d time.Duration) error {
	err := unix.SetsockoptInt(int(h), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(max(d.Milliseconds(), 1), math.MaxInt32)))
	if err == syscall.EOPNOTSUPP || err == syscall.ENOPROTOOPT {
		return nil
	}
	return os.NewSyscallError("setsockopt", err)
}
