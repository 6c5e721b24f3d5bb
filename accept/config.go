package accept

import (
	"net"
	"syscall"
	"time"
)

// Config says how to listen. The zero value is a good default.
type Config struct {
	// Backlog is the length of the queue of connections that wait for accept.
	// Zero means the system's limit (net.core.somaxconn on Linux). Other than
	// zero it is applied on Unix only; the system may round it.
	Backlog int
	// ReusePort lets several listeners share a port (SO_REUSEPORT). Where the
	// system does not have it, listening fails.
	ReusePort bool
	// V6Only makes a wildcard "tcp" listener refuse IPv4. The default is dual
	// stack, wherever the system can.
	V6Only bool
	// KeepAlive is set on the listener and inherited by, or set on, accepted TCP
	// connections, as fd.KeepAlive says: the zero value is on, with net's timings; a
	// negative Idle without Enable leaves it off.
	KeepAlive net.KeepAliveConfig
	// UserTimeout bounds how long sent data may stay unacknowledged before the
	// connection is lost (TCP_USER_TIMEOUT, milliseconds resolution). Zero
	// leaves the system's rule. Linux only; elsewhere it is ignored.
	UserTimeout time.Duration
	// Control is called with the socket after it is made and before bind, as
	// net.ListenConfig.Control is.
	Control func(network, address string, c syscall.RawConn) error
}
