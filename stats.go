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
	// InFlight is how many requests of goroutines' connections the kernel holds between
	// two system calls: always 0, since each completes in the call that submits it.
	InFlight int
	// Enters is how many io_uring_enter calls the pollers made, Submitted how many
	// requests they carried (receives and accepts of goroutines that waited), and
	// Completed how many of those have ended. Submitted - Enters is how many system
	// calls were saved by making them together. All other calls of goroutines (sends,
	// receives of what had come already, connect, close) are system calls of their own.
	Enters, Submitted, Completed uint64
	// Wakeups is how often a poller was woken.
	Wakeups uint64
	// Spins is how often BusyPoll found what it waited for, SpinsLost how often it did
	// not.
	Spins, SpinsLost uint64
	// RingsLost is how many rings of pollers failed. No connection notices: callers make
	// their calls without one until the next takes its place.
	RingsLost uint64
	// Loops are those that Serve, DialServe and Broadcast run on, in an order that
	// stays; nil before the first connection. The counters above, but for those of
	// what is open, are of the pollers alone.
	Loops []LoopStats
}

// Sub returns what was counted since earlier, which is a snapshot of the same
// Backend: of the rings, and of each loop. What is open stays what it is now. A
// counter that has shrunk is of another Backend, and counts from zero.
func (s Stats) Sub(earlier Stats) Stats {
	d := Stats{
		Sockets:   s.Sockets,
		Listeners: s.Listeners,
		InFlight:  s.InFlight,
		Enters:    since(s.Enters, earlier.Enters),
		Submitted: since(s.Submitted, earlier.Submitted),
		Completed: since(s.Completed, earlier.Completed),
		Wakeups:   since(s.Wakeups, earlier.Wakeups),
		Spins:     since(s.Spins, earlier.Spins),
		SpinsLost: since(s.SpinsLost, earlier.SpinsLost),
		RingsLost: since(s.RingsLost, earlier.RingsLost),
	}
	for i, loop := range s.Loops {
		if i < len(earlier.Loops) {
			loop = loop.Sub(earlier.Loops[i])
		}
		d.Loops = append(d.Loops, loop)
	}
	return d
}

// since returns by how much a counter grew; one that shrank began anew.
func since(now, earlier uint64) uint64 {
	if now < earlier {
		return now
	}
	return now - earlier
}
