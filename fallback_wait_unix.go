//go:build unix

package ringfd

import "syscall"

// waitReadable returns when a read of c would not wait.
func waitReadable(c syscall.RawConn) error { return c.Read(isReadable) }

func isReadable(h uintptr) bool {
	var one [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(h), one[:], syscall.MSG_PEEK)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}
