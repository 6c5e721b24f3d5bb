package fd

import (
	"net"
	"syscall"
	"time"
)

// DialConfig configures outgoing connections. The zero value leaves all at the
// system's defaults.
type DialConfig struct {
	// Resolver looks names and services up for Dial, DialContext and DialServe; nil is
	// net.DefaultResolver, which listeners always use.
	Resolver *net.Resolver
	// LocalAddr is bound before connecting: a *net.TCPAddr or a *net.UnixAddr, of the
	// network and the family that is dialled. Of a name's addresses only those of its
	// family are tried. Nil lets the system choose, and so does, as with net, no IP or
	// an unspecified one, and a port of 0.
	LocalAddr net.Addr
	// KeepAlive is set on the connection; the zero value leaves keepalive off.
	KeepAlive net.KeepAliveConfig
	// UserTimeout bounds how long sent data may stay unacknowledged before the
	// connection is lost (TCP_USER_TIMEOUT). Linux only; elsewhere ignored.
	UserTimeout time.Duration
	// Control is called with the socket before it connects.
	Control func(network, address string, c syscall.RawConn) error
}
