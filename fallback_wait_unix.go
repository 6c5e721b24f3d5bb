//go:build unix

package ringfd

import "syscall"

// Unread looks without waiting: nothing yet is no end.
func (s *netSocket) Unread() (unread bool) {
	_ = control(s.conn, func(h uintptr) error {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(h), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		unread = err == syscall.EAGAIN || err == nil && n > 0
		return nil
	})
	return unread
}

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
