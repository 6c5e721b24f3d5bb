package ringfd

import "github.com/ringfd/ringfd/uring"

// RingLostError is the cause of a connection's end, of Reason Unexpected, when an
// object of the kernel failed that it shared with others. errors.As finds it; only
// io_uring has it. Connecting again is the cure.
type RingLostError = uring.RingLostError
