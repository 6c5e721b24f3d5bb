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
	// RingsLost is how many parked rings failed, and all their connections with each.
	// A new one takes the place of each.
	RingsLost uint64
	// Loops are those that Serve, DialServe and Broadcast run on, in an order that
	// stays; nil before the first connection. The counters above, but for those of
	// what is open, are of the parked rings alone.
	Loops []LoopStats
}

// Sub returns what was counted since earlier, which is a snapshot of the same
// Backend: of the rings, and of each loop. What is open stays what it is now. A
// counter that has shrunk is of another Backend, and counts from zero.
func (s Stats) Sub(earlier Stats) Stats {
	d := Stats{
		Sockets:     s.Sockets,
		Listeners:   s.Listeners,
		InFlight:    s.InFlight,
		Enters:      since(s.Enters, earlier.Enters),
		Submitted:   since(s.Submitted, earlier.Submitted),
		Completed:   since(s.Completed, earlier.Completed),
		Wakeups:     since(s.Wakeups, earlier.Wakeups),
		Overflows:   since(s.Overflows, earlier.Overflows),
		Resubmitted: since(s.Resubmitted, earlier.Resubmitted),
		Spins:       since(s.Spins, earlier.Spins),
		SpinsLost:   since(s.SpinsLost, earlier.SpinsLost),
		RingsLost:   since(s.RingsLost, earlier.RingsLost),
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
