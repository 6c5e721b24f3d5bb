package fd

import (
	"net"
	"syscall"
	"time"
)

// DialConfig configures outgoing connections. The zero value is what net's Dialer
// does.
type DialConfig struct {
	// Resolver looks names and services up for Dial, DialContext and DialServe; nil is
	// net.DefaultResolver, which listeners always use.
	Resolver *net.Resolver
	// LocalAddr is bound before connecting: a *net.TCPAddr or a *net.UnixAddr, of the
	// network and the family that is dialled. Of a name's addresses only those of its
	// family are tried. Nil lets the system choose, and so does, as with net, no IP or
	// an unspecified one, and a port of 0.
	LocalAddr net.Addr
	// KeepAlive is set on TCP connections, as the function KeepAlive says: the zero
	// value is on, with net's timings.
	KeepAlive net.KeepAliveConfig
	// UserTimeout bounds how long sent data may stay unacknowledged before the
	// connection is lost (TCP_USER_TIMEOUT). Linux only; elsewhere ignored.
	UserTimeout time.Duration
	// Control is called with the socket before it connects.
	Control func(network, address string, c syscall.RawConn) error
}

// KeepAlive is what a configuration of connections to be made means. As with net's Dialer
// and ListenConfig, keepalive is on unless it is turned off: without Enable it is on with
// net's timings (15 s idle, 15 s between probes, 9 of them) after Idle if that is not
// zero, and off if Idle is negative. (SetKeepAliveConfig takes Enable as it is.) For
// backends.
func KeepAlive(c net.KeepAliveConfig) net.KeepAliveConfig {
	if c.Enable || c.Idle < 0 {
		return c
	}
	return net.KeepAliveConfig{Enable: true, Idle: c.Idle}
}
