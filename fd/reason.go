package fd

// Reason says why a connection ended. It is decided once per FD, by the first
// event that ends the connection, and every later error of that FD carries it.
type Reason uint8

const (
	// None is the zero value: the connection has not ended. Errors that do not
	// end a connection (an expired deadline, a call on a socket that was never
	// connected, a cancelled accept) carry it.
	None Reason = iota
	// ClosedByPeer: the peer ended its side; a Read returned end of file. The
	// FD stays open: what is left can still be written.
	ClosedByPeer
	// ClosedLocally: Close, CloseWithReason or a half-close of ours ended it.
	ClosedLocally
	// Lost: the network or the peer broke the connection (ECONNRESET, EPIPE,
	// ETIMEDOUT, EHOSTUNREACH and their like). The FD has been closed.
	Lost
	// Unexpected: any other error. The FD has been closed.
	Unexpected
	// UnexpectedWhenClosing: an error ended the connection, and closing the
	// socket after it failed too.
	UnexpectedWhenClosing
)

// String returns the fixed words of the reason; Error.Error adds the errors
// and is then, word for word, what Octez's pp_close_reason prints.
func (r Reason) String() string {
	switch r {
	case None:
		return "no reason"
	case ClosedByPeer:
		return "connection closed by peer"
	case ClosedLocally:
		return "connection closed by us"
	case Lost:
		return "connection to peer was lost"
	case Unexpected:
		return "connection closed because of an unexpected error"
	case UnexpectedWhenClosing:
		return "unexpected error whilst closing the socket following an error"
	}
	return "unknown reason"
}
