package uring

import "runtime/metrics"

// spinner polls the ring's memory before a wait, for BusyPoll at most, and only
// where the last gaps say that it will pay.
type spinner struct {
	gap      int64 // what the last waits took, averaged; in nanoseconds
	runnable [1]metrics.Sample
}

// spinCheck is how often the spinner looks whether a goroutine wants the P, in
// looks at the ring. That takes a fraction of a microsecond.
const spinCheck = 64

// waited learns from a wait. A long one counts as some times the limit only, so that
// a single one is soon forgotten.
func (s *spinner) waited(d, limit int64) { s.gap += (min(d, 4*limit) - s.gap) / 4 }

// spin reports whether something to do came.
func (s *spinner) spin(l *loop) bool {
	limit := int64(l.set.config.BusyPoll)
	if limit <= 0 || s.gap > limit || l.wokeOthers {
		return false
	}
	start := clock()
	for i := 1; ; i++ {
		if l.ring.ready() > 0 || l.ring.flags()&sqTaskrun != 0 || l.mail.there.Load() {
			l.count.Spins++
			return true
		}
		if i%spinCheck != 0 {
			continue
		}
		now := clock()
		if at, ok := l.timers.first(); ok && at <= now {
			return true
		}
		if now-start > limit || s.othersCouldRun() {
			l.count.SpinsLost++
			return false
		}
	}
}

// othersCouldRun reports that goroutines wait for a P.
func (s *spinner) othersCouldRun() bool {
	if s.runnable[0].Name == "" {
		s.runnable[0].Name = "/sched/goroutines/runnable:goroutines"
	}
	metrics.Read(s.runnable[:])
	v := s.runnable[0].Value
	return v.Kind() == metrics.KindUint64 && v.Uint64() > 0
}
