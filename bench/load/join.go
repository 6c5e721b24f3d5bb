package load

import "time"

// In Fanout a message goes to the members, and a connection is a member when
// the server has accepted it and said so to all that send; that cannot be seen
// from here. So before the first run the first connection sends probes until
// every connection has received one. From its first one on a connection
// receives them all, in order; when all have the last one, nothing is under
// way, and what follows reaches everybody.

// probeEvery is how long a probe waits for the one before it, at least: a probe
// costs the server a write to each member.
const probeEvery = time.Millisecond

// probe sends the next probe, if it is time and the last one came back.
func (s *script) probe(now int64) {
	first := &s.conns[0]
	if now-s.probed < int64(probeEvery) || first.received != first.sent {
		return
	}
	for i := range s.conns {
		if s.conns[i].received == 0 {
			s.probed = now
			s.send(0, 0, s.spec.Request, now, now)
			return
		}
	}
}

// joined reports whether every connection has received the last probe.
func (s *script) joined() bool {
	for i := range s.conns {
		if s.conns[i].received != s.conns[0].sent {
			return false
		}
	}
	return true
}
