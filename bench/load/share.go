package load

import (
	"slices"
	"time"
)

// shares counts the answers of each connection in each second, to find the connection
// that is served least.
type shares struct {
	counts []uint32 // nil: not counted
	ends   int64    // the second that is counted
	least  float64
	any    bool // a whole second has passed
}

// newShares is for connections of which each has the next message when the one before
// is answered.
func newShares(spec Spec) shares {
	if spec.Rate > 0 || spec.Workload != Echo && spec.Workload != Exchange {
		return shares{}
	}
	return shares{counts: make([]uint32, spec.Conns)}
}

func (s *shares) begin(now int64) {
	clear(s.counts)
	s.ends, s.least, s.any = now+int64(time.Second), 0, false
}

// answered counts an answer on connection i.
func (s *shares) answered(i int, now int64) {
	if s.counts == nil {
		return
	}
	if now >= s.ends {
		s.end(now)
	}
	s.counts[i]++
}

// end ends a second. A driver that was late begins the next one late.
func (s *shares) end(now int64) {
	total := 0
	for _, n := range s.counts {
		total += int(n)
	}
	if total > 0 {
		share := float64(slices.Min(s.counts)) * float64(len(s.counts)) / float64(total)
		if !s.any || share < s.least {
			s.least = share
		}
		s.any = true
	}
	clear(s.counts)
	s.ends = now + int64(time.Second)
}
