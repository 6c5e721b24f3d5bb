package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// script decides what is said on which connection, and when; it checks what
// comes back, and records it. It knows nothing of how bytes move: that is for a
// driver, which asks for output and tells of input. All drivers share it, so
// that they do the same. It is for one thread at a time.
//
// Messages have an author: a connection, but in Fanout the first connection
// alone, and in Trace a group of connections. An author has at most Depth
// messages under way.
type script struct {
	spec    Spec
	stall   time.Duration // StallLimit, but for tests
	conns   []conn
	authors []author
	traces  []trace // of the authors, in Trace
	pattern []byte  // what all messages hold, their stamps apart
	text    *text   // of HTTP and RESP; nil elsewhere
	mask    uint64  // of a connection's ring of messages

	// ready are the connections with something to do: see output. A driver
	// does it, and empties the list.
	ready []int32

	phase    phase
	end      int64 // when the run's last messages are sent
	flood    int64 // when the last connection begins to flood, in Flood
	schedule schedule
	underway int // messages that were sent and not answered, each receiver counted
	shares   shares
	progress int64 // when something came last, or was sent while nothing was under way
	probed   int64 // when members were last looked for

	result    Result
	idle      time.Duration // of turns that found nothing, while spinning
	latencies *hdrhistogram.Histogram
	quiet     *hdrhistogram.Histogram // before the flood; nil but in Flood
}

// phase is what the messages under way are for.
type phase uint8

const (
	running  phase = iota
	greeting       // one message on each connection, before the first run
	joining        // look for the members, before the first run
)

// conn is a connection, or in Churn one after another.
type conn struct {
	source int32 // the connection whose messages come in here: itself but in Fanout
	author int32
	listed bool // on the list of the ready
	// ended says that the connection is to be closed, in Churn.
	ended bool

	// Numbers of messages, from 1: the last one sent, the last one that is in
	// out, and the last one that was received.
	sent, staged, received uint64
	messages               []message // those under way, by number
	out                    []byte    // slots for whole messages
	slot                   int       // bytes of a slot
	from, to               int       // the part of out that is to be written
	got                    int       // bytes of the answer that is coming in
	head                   [8]byte   // its stamp, if it comes in parts
}

// message is one under way.
type message struct {
	start int64
	size  int // in bytes
	reply int // in bytes
	left  int // how many receivers do not have it
}

// author has its messages follow each other.
type author struct {
	underway   int
	due, begun int // of the schedule
}

// newScript makes a script of a Spec; text is that of newText.
func newScript(spec Spec, text *text) *script {
	if text != nil { // from here on sizes are those on the wire
		spec.Request, spec.Reply = len(text.request), len(text.reply)
	}
	s := &script{spec: spec, text: text, stall: StallLimit, phase: running, latencies: newHistogram(), shares: newShares(spec)}
	largest, ring := spec.Request, ringSize(spec.Depth)
	s.mask = uint64(ring - 1)
	switch spec.Workload {
	case Fanout:
		s.authors = make([]author, 1)
	case Trace:
		largest = TraceLargest
		s.traces = newTraces(spec)
		s.authors = make([]author, len(s.traces))
	case Flood:
		largest = max(spec.Request, spec.Reply)
		s.quiet = newHistogram()
		fallthrough
	default:
		s.authors = make([]author, spec.Conns)
	}
	if s.pattern = newPattern(largest); text != nil {
		s.pattern = text.request
	}
	s.conns = make([]conn, spec.Conns)
	for i := range s.conns {
		c := &s.conns[i]
		c.source, c.author = int32(i), int32(i)
		c.slot = largest
		slots := min(spec.Depth, max(1, gather/largest))
		switch spec.Workload {
		case Fanout:
			c.source, c.author = 0, 0
			if i > 0 {
				continue // it says nothing
			}
		case Trace:
			c.author = int32(min(i/traceGroup, len(s.traces)-1))
			if int(c.author)*traceGroup != i {
				c.slot = TraceSmallest // it is not busy
			}
			slots = 1
		case Flood:
			c.slot = spec.Request
			if s.floods(i) {
				c.slot = spec.Reply
			}
		}
		c.messages = make([]message, ring)
		c.out = bytes.Repeat(s.pattern[:c.slot], slots)
	}
	s.ready = make([]int32, 0, spec.Conns)
	return s
}

// floods reports whether author i is the one that floods.
func (s *script) floods(i int) bool { return s.quiet != nil && i == len(s.authors)-1 }

// scheduled is how many authors take turns in open loop.
func (s *script) scheduled() int {
	if s.quiet != nil {
		return len(s.authors) - 1
	}
	return len(s.authors)
}

// gather is how many bytes of messages that wait are sent at once.
const gather = 64 << 10

// ringSize is the power of 2 that has room for depth.
func ringSize(depth int) int {
	n := 1
	for n < depth {
		n *= 2
	}
	return n
}

// begin starts a phase at now, and sends its first messages.
func (s *script) begin(p phase, d time.Duration, now int64) {
	s.phase, s.end, s.progress, s.probed = p, now+int64(d), now, now
	s.result, s.idle, s.flood = Result{}, 0, 0
	s.latencies.Reset()
	s.shares.begin(now)
	for i := range s.authors {
		s.authors[i] = author{}
	}
	for i := range s.traces {
		s.traces[i].rewind(s.spec.Seed, i)
	}
	s.schedule = schedule{}
	switch {
	case p == joining:
		s.send(0, 0, s.spec.Request, now, now)
	case p == running && s.spec.Workload == Idle:
	case p == running && s.spec.Rate > 0:
		s.schedule = newSchedule(s.spec.Rate, d, now)
		if s.quiet != nil {
			s.quiet.Reset()
			s.flood = now + int64(d)/2
		}
	default:
		depth := s.spec.Depth
		if p == greeting {
			depth = 1
		}
		for range depth {
			for i := range s.authors {
				s.speak(i, now, now)
			}
		}
	}
}

// tick does what is to be done by now. A driver calls it once in a while, and
// when rest says.
func (s *script) tick(now int64) error {
	if s.phase == joining {
		s.probe(now)
		return nil
	}
	if i := len(s.authors) - 1; s.floods(i) && now >= s.flood && s.authors[i].begun == 0 {
		for range s.spec.Depth {
			s.authors[i].begun++
			s.speak(i, now, now)
		}
	}
	for s.schedule.due(now) {
		k := s.schedule.next
		s.schedule.next++
		i := k % s.scheduled()
		a := &s.authors[i]
		a.due++
		if a.underway < s.spec.Depth {
			start := s.schedule.at(k)
			s.result.Late = max(s.result.Late, time.Duration(now-start))
			s.schedule.begun++
			a.begun++
			s.speak(i, start, now)
		}
	}
	if s.schedule.pending() && now > s.end+int64(s.stall) {
		return fmt.Errorf("%w: of %d messages at %v per second %d are still to be sent %v after the last was due; choose a lower rate",
			errBehind, s.schedule.total, s.spec.Rate, s.schedule.total-s.schedule.begun, s.stall)
	}
	return nil
}

// speak sends the next message of author i. start is when its latency begins.
func (s *script) speak(i int, start, now int64) {
	s.authors[i].underway++
	size, to := s.spec.Request, i
	if s.traces != nil {
		to, size = s.traces[i].next()
	}
	if s.floods(i) {
		size = s.spec.Reply
	}
	if s.spec.Workload == Churn {
		s.result.Opened++
	}
	receivers := 1
	if s.spec.Workload == Fanout {
		receivers = len(s.conns)
	}
	if s.underway == 0 {
		s.progress = now
	}
	s.underway += receivers
	s.send(to, receivers, size, start, now)
}

func (s *script) send(i, receivers, size int, start, now int64) {
	c := &s.conns[i]
	c.sent++
	reply := size
	if s.spec.Workload.replies() {
		reply = s.spec.Reply
	}
	c.messages[c.sent&s.mask] = message{start: start, size: size, reply: reply, left: receivers}
	s.result.Sent += uint64(size)
	s.list(i)
}

// list makes connection i ready.
func (s *script) list(i int) {
	if c := &s.conns[i]; !c.listed {
		c.listed = true
		s.ready = append(s.ready, int32(i))
	}
}

// output returns what connection i has to send now: whole messages, without
// what of them was wrote. It stays as it is until all of it was.
func (s *script) output(i int) []byte {
	c := &s.conns[i]
	if c.from == c.to && c.staged != c.sent {
		c.from, c.to = 0, 0
		for c.staged != c.sent && c.to < len(c.out) {
			c.staged++
			if s.text != nil {
				s.text.putStamp(c.out[c.to:], i, c.staged)
			} else {
				putStamp(c.out[c.to:], i, c.staged)
			}
			size := c.messages[c.staged&s.mask].size
			c.to += size
			if size != c.slot {
				break // the pattern of another message begins elsewhere
			}
		}
	}
	return c.out[c.from:c.to]
}

// wrote takes the first n bytes of what output returned as sent.
func (s *script) wrote(i, n int) { s.conns[i].from += n }

// input takes p, which came in on connection i.
func (s *script) input(i int, p []byte, now int64) error {
	s.progress = now
	s.result.Received += uint64(len(p))
	c := &s.conns[i]
	source := &s.conns[c.source]
	for len(p) > 0 {
		if c.received == source.sent {
			return fmt.Errorf("connection %d: %w", i, errUnasked)
		}
		m := &source.messages[(c.received+1)&s.mask]
		part := p[:min(len(p), m.reply-c.got)]
		if !s.check(c, m, part) {
			return fmt.Errorf("connection %d: %w", i, errMixedUp)
		}
		p = p[len(part):]
		if c.got += len(part); c.got < m.reply {
			break
		}
		c.got = 0
		c.received++
		s.answered(i, m, now)
	}
	return nil
}

// answered records that connection i received m, and lets its author go on.
func (s *script) answered(i int, m *message, now int64) {
	if s.phase == joining {
		return
	}
	c := &s.conns[i]
	switch {
	case s.floods(int(c.author)):
	case s.quiet != nil && m.start < s.flood:
		if now < s.flood { // else it is neither of the quiet nor of the flood
			record(s.quiet, now-m.start)
		}
	default:
		record(s.latencies, now-m.start)
		s.result.Messages++
		s.shares.answered(i, now)
	}
	s.underway--
	if s.spec.Workload == Churn {
		c.ended = true
		s.list(i)
	}
	if m.left--; m.left > 0 {
		return
	}
	a := &s.authors[c.author]
	a.underway--
	switch {
	case s.phase == greeting:
	case s.floods(int(c.author)):
		if now < s.end {
			s.speak(int(c.author), now, now)
		}
	case s.spec.Rate == 0 && now < s.end:
		s.speak(int(c.author), now, now)
	case a.begun < a.due:
		start := s.schedule.at(a.begun*s.scheduled() + int(c.author))
		s.schedule.begun++
		a.begun++
		s.speak(int(c.author), start, now)
	}
}

// done reports whether the phase is over: nothing is under way, or will be.
func (s *script) done(now int64) bool {
	switch {
	case s.phase == joining:
		return s.joined()
	case s.timed() && now < s.end:
		return false
	}
	return s.underway == 0 && !s.schedule.pending()
}

// timed reports whether the phase lasts to its end, whatever is answered.
func (s *script) timed() bool {
	return s.phase == running && (s.spec.Workload == Idle || s.spec.Rate > 0)
}

// rest returns how long after now the next tick is due. StallLimit at most.
func (s *script) rest(now int64) time.Duration {
	next := now + int64(s.stall)
	switch {
	case s.phase == joining:
		next = s.probed + int64(probeEvery)
	case s.schedule.waits():
		next = s.schedule.at(s.schedule.next)
	case s.timed() && now < s.end:
		next = s.end
	}
	if s.flood > now {
		next = min(next, s.flood)
	}
	return time.Duration(min(max(next-now, 0), int64(s.stall)))
}

// stalled returns an error if no reply has come for too long.
func (s *script) stalled(now int64) error {
	switch {
	case s.phase == joining && now-s.end >= int64(s.stall):
		return fmt.Errorf("%w to some of %d connections for %v: the server does not send everything to all", errStalled, len(s.conns), s.stall)
	case s.underway > 0 && now-s.progress >= int64(s.stall):
		return fmt.Errorf("%w for %v, and %d are due on %d connections: look at the server", errStalled, s.stall, s.underway, len(s.conns))
	}
	return nil
}

var (
	errStalled = errors.New("no reply came")
	errMixedUp = errors.New("a reply is not what its message asks for")
	errUnasked = errors.New("more came than was asked for")
	errBehind  = errors.New("the server does not keep up with the rate")
)
