package uring

import "sync"

// publishedStats is what a loop shows of its counters.
type publishedStats struct {
	mu    sync.Mutex
	stats LoopStats
}

// publish shows s. The loop does so once per turn.
func (p *publishedStats) publish(s *LoopStats) {
	p.mu.Lock()
	p.stats = *s
	p.mu.Unlock()
}

func (l *loop) snapshot() LoopStats {
	l.stats.mu.Lock()
	s := l.stats.stats
	l.stats.mu.Unlock()
	s.Held, s.Wakeups = l.heldTimes.Load(), l.mail.wakeups.Load()
	return s
}
