package load

import "time"

// schedule is the plan of a run in open loop: evenly spaced messages, of the
// authors in turn. The zero value plans nothing.
type schedule struct {
	start    int64
	interval float64 // in nanoseconds
	total    int
	next     int // the first one that was not yet due
	begun    int // how many were sent
}

func newSchedule(rate float64, d time.Duration, now int64) schedule {
	return schedule{start: now, interval: float64(time.Second) / rate, total: max(1, int(rate*d.Seconds()+0.5))}
}

// at returns when message k, counted from 0, is to be sent.
func (s *schedule) at(k int) int64 { return s.start + int64(float64(k)*s.interval) }

// waits reports whether there are messages that were not yet due.
func (s *schedule) waits() bool { return s.next < s.total }

// due reports whether the next message is to be sent by now.
func (s *schedule) due(now int64) bool { return s.next < s.total && s.at(s.next) <= now }

// pending reports whether there are messages that were not sent.
func (s *schedule) pending() bool { return s.begun < s.total }
