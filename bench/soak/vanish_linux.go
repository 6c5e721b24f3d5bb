package soak

import (
	"net"

	"golang.org/x/sys/unix"
)

// vanish closes a connection so that the other end is not told: in repair mode
// close(2) sends nothing. That takes CAP_NET_ADMIN; without it the connection ends
// as any other. Reference: tcp(7), TCP_REPAIR; CRIU.
func vanish(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	})
}
