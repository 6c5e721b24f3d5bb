package fd

import (
	"net"
	"syscall"
	"time"
)

// DialConfig configures outgoing connections. The zero value leaves all at the
// system's defaults.
type DialConfig struct {
	// LocalAddr is bound before connecting; nil lets the system choose.
	LocalAddr net.Addr
	// KeepAlive is set on the connection; the zero value leaves keepalive off.
	KeepAlive net.KeepAliveConfig
	// UserTimeout bounds how long sent data may stay unacknowledged before the
	// connection is lost (TCP_USER_TIMEOUT). Linux only; elsewhere ignored.
	UserTimeout time.Duration
	// Control is called with the socket before it connects.
	Control func(network, address string, c syscall.RawConn) error
}
