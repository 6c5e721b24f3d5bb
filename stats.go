package ringfd

import "github.com/ringfd/ringfd/uring"

// LoopStats are counters of one loop since it began.
type LoopStats = uring.LoopStats

// Histogram counts values by powers of two.
type Histogram = uring.Histogram

// Stats are counters of a Backend since Open. On Net only Sockets and Listeners
// count.
type Stats struct {
	// Sockets and Listeners are open now.
	Sockets, Listeners int
	// InFlight is how many requests the kernel holds now.
	InFlight int
	// Enters is how many io_uring_enter calls were made, Submitted how many
	// requests they carried, and Completed how many of those have ended.
	Enters, Submitted, Completed uint64
	// Wakeups is how often a reaper was woken, Overflows how often a completion
	// queue was full, Resubmitted how many requests had to be made again (nobody
	// here cancelled them, or the kernel would not wait), Spins how often
	// BusyPoll found what it waited for and SpinsLost how often it did not.
	Wakeups, Overflows, Resubmitted, Spins, SpinsLost uint64
	// Loops are those that Serve, DialServe and Broadcast run on, in an order that
	// stays; nil before the first connection. The counters above, but for those of
	// what is open, are of the parked rings alone.
	Loops []LoopStats
}
