package uring

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// LoopStats are counters of one loop since it began.
type LoopStats struct {
	// Connections is how many the loop serves now, InFlight how many requests of
	// its ring have not ended, and Buffers how many provided buffers it has: it
	// adds some when they run out, up to a limit. A loop at rest has a request for
	// each connection, for each listener that it accepts from, for its wake-up, and
	// for room in sockets that had none.
	Connections, InFlight, Buffers int
	// Turns is how often the loop went round: took what had completed, ran the
	// handlers, submitted what they asked for. TurnLength says how long it was
	// busy in each, in nanoseconds, without the waiting; Batch how many completions
	// each took.
	Turns             uint64
	TurnLength, Batch Histogram
	// Enters is how many io_uring_enter calls were made, Submitted how many
	// requests they carried, and Completed how many completions were taken.
	Enters, Submitted, Completed uint64
	// Rearms is how often a multishot receive or accept had ended and was armed
	// again, NoBuffers how often one ended for want of a buffer (ENOBUFS), and
	// Overflows how often the completion queue was full.
	Rearms, NoBuffers, Overflows uint64
	// Wakeups is how often another goroutine woke the loop, Spins how often
	// BusyPoll found what it waited for, and SpinsLost how often it did not.
	Wakeups, Spins, SpinsLost uint64
	// Held is how often a handler held the loop for longer than
	// LoopOptions.HandlerLimit, and Panics how many handlers panicked or ended
	// their goroutine.
	Held, Panics uint64
	// Offloads is how many times a handler left its loop by FD.Offload.
	Offloads uint64
	// Copied is how many bytes had to be copied, because no handler was ready for
	// them when they came.
	Copied uint64
	// RingsLost is how many rings of the loop failed, and all its connections with
	// each.
	RingsLost uint64
	// Accepted is how many connections the loop has accepted, Sends how many send
	// requests it made, and SentQuietly how many of those succeeded without a
	// completion of their own.
	Accepted, Sends, SentQuietly uint64
}

// Sub returns what was counted since earlier, which is a snapshot of the same
// loop. What there is now stays what it is. A counter that has shrunk is of another
// loop, and counts from zero.
func (s LoopStats) Sub(earlier LoopStats) LoopStats {
	return LoopStats{
		Connections: s.Connections,
		InFlight:    s.InFlight,
		Buffers:     s.Buffers,
		Turns:       since(s.Turns, earlier.Turns),
		TurnLength:  s.TurnLength.Sub(earlier.TurnLength),
		Batch:       s.Batch.Sub(earlier.Batch),
		Enters:      since(s.Enters, earlier.Enters),
		Submitted:   since(s.Submitted, earlier.Submitted),
		Completed:   since(s.Completed, earlier.Completed),
		Rearms:      since(s.Rearms, earlier.Rearms),
		NoBuffers:   since(s.NoBuffers, earlier.NoBuffers),
		Overflows:   since(s.Overflows, earlier.Overflows),
		Wakeups:     since(s.Wakeups, earlier.Wakeups),
		Spins:       since(s.Spins, earlier.Spins),
		SpinsLost:   since(s.SpinsLost, earlier.SpinsLost),
		Held:        since(s.Held, earlier.Held),
		Panics:      since(s.Panics, earlier.Panics),
		Offloads:    since(s.Offloads, earlier.Offloads),
		Copied:      since(s.Copied, earlier.Copied),
		RingsLost:   since(s.RingsLost, earlier.RingsLost),
		Accepted:    since(s.Accepted, earlier.Accepted),
		Sends:       since(s.Sends, earlier.Sends),
		SentQuietly: since(s.SentQuietly, earlier.SentQuietly),
	}
}

// since returns by how much a counter grew; one that shrank began anew.
func since(now, earlier uint64) uint64 {
	if now < earlier {
		return now
	}
	return now - earlier
}

// Histogram counts values by powers of two: bucket i has those with
// 2^(i-1) <= v < 2^i, bucket 0 the zeros, and the last bucket all that are larger
// too. The zero value is empty.
type Histogram [32]uint64

// Record counts one value. Nothing else may use h meanwhile.
func (h *Histogram) Record(v uint64) { h[bucketOf(v)]++ }

// bucketOf returns the bucket that counts v.
func bucketOf(v uint64) int { return min(bits.Len64(v), len(Histogram{})-1) }

// boundOf returns the largest value that bucket i counts.
func boundOf(i int) uint64 {
	if i == len(Histogram{})-1 {
		return math.MaxUint64
	}
	return 1<<i - 1
}

// Count returns how many values were counted.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile returns a bound that a share q of the values, from 0 to 1, does not
// exceed: the largest value of the bucket in which the quantile lies. It is
// math.MaxUint64 for the last bucket, which has no bound, and 0 for an empty
// histogram. A q outside is taken for the nearer of 0 and 1.
func (h Histogram) Quantile(q float64) uint64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := uint64(1) // the quantile is the rank-th smallest
	if q > 0 {
		rank = min(max(uint64(math.Ceil(min(q, 1)*float64(n))), 1), n)
	}
	for i, c := range h {
		if rank <= c {
			return boundOf(i)
		}
		rank -= c
	}
	return math.MaxUint64 // not reached: the ranks are those of the counts
}

// Max returns a bound that no value exceeds: Quantile(1).
func (h Histogram) Max() uint64 { return h.Quantile(1) }

// Sub returns what was counted since earlier, which is a snapshot of the same
// histogram. A bucket that has shrunk is of another one, and counts from zero.
func (h Histogram) Sub(earlier Histogram) Histogram {
	for i := range h {
		h[i] = since(h[i], earlier[i])
	}
	return h
}

// String lists the buckets that are not empty, as bound:count, where no value of
// the bucket exceeds the bound; or "empty". The last bucket's is "more".
func (h Histogram) String() string {
	var parts []string
	for i, c := range h {
		switch {
		case c == 0:
		case i == len(h)-1:
			parts = append(parts, fmt.Sprintf("more:%d", c))
		default:
			parts = append(parts, fmt.Sprintf("%d:%d", boundOf(i), c))
		}
	}
	if len(parts) == 0 {
		return "empty"
	}
	return strings.Join(parts, " ")
}
