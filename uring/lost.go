package uring

// RingLostError is why a connection failed whose ring, an object of the kernel that
// many connections share, could not be used any more. It is nothing that the peer or
// the network did: connecting again goes to another ring.
//
// It does not unwrap to Err: the numbers of io_uring's errors are those of sockets, and
// mean something else.
type RingLostError struct {
	// Err is what the kernel said of the ring, or of making a new one.
	Err error
}

// Error says so, with the cause.
func (e *RingLostError) Error() string { return "the connection's io_uring failed: " + e.Err.Error() }
