package uring

import "runtime/metrics"

// spinner polls the ring's memory before a wait, for BusyPoll at most, and only
// where the last gaps say that it will pay.
type spinner struct {
	gap int64 // what the last waits took, averaged; in nanoseconds
}

// spinCheck is how often the spinner looks whether a goroutine wants the P, in
// looks at the ring. That look takes as long as some hundred of these.
const spinCheck = 512

// waited learns from a wait. A long one counts as some times the limit only, so that
// a single one is soon forgotten.
func (s *spinner) waited(d, limit int64) { s.gap += min(d/4, limit) - s.gap/4 }

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
		if now-start > limit || othersCouldRun(&l.runnable) {
			l.count.SpinsLost++
			return false
		}
	}
}

// runnableMetric is what othersCouldRun reads.
type runnableMetric [1]metrics.Sample

// othersCouldRun reports that goroutines wait for a P.
func othersCouldRun(m *runnableMetric) bool {
	if m[0].Name == "" {
		m[0].Name = "/sched/goroutines/runnable:goroutines"
	}
	metrics.Read(m[:])
	v := m[0].Value
	return v.Kind() == metrics.KindUint64 && v.Uint64() > 0
}
