package load

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/ringfd/ringfd/bench/control"
)

// A message is a stamp, which no other message of a generator has, and a part
// of one pattern. An echo must be the same in its first checkedHead bytes and
// its last checkedTail bytes; small messages are thus checked whole, and the
// check of large ones costs little. With Spec.Whole it must be in all. Other replies have the stamp of what they
// answer, and any content. That the sizes are right shows by the next stamp.
const (
	checkedHead = 4 << 10
	checkedTail = 8
)

// putStamp makes p begin with the stamp of message seq of connection i.
func putStamp(p []byte, i int, seq uint64) { binary.NativeEndian.PutUint64(p, stamp(i, seq)) }

func stamp(i int, seq uint64) uint64 { return uint64(i)<<40 | seq }

// Pattern returns what messages of this size hold, but for their stamps.
func Pattern(size int) []byte { return newPattern(size) }

// newPattern returns bytes without a period, so that no part can be taken for
// another.
func newPattern(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 0, size+8)
	for len(p) < size {
		p = binary.NativeEndian.AppendUint64(p, random.Uint64())
	}
	return p[:size]
}

// check reports whether part is what comes next of the reply to m on c.
func (s *script) check(c *conn, m *message, part []byte) bool {
	at := c.got
	if s.text != nil {
		return s.text.check(part, at, int(c.source), c.received+1)
	}
	if at < control.StampSize {
		n := copy(c.head[at:], part)
		if at+n == control.StampSize && !s.checkStamp(c, binary.NativeEndian.Uint64(c.head[:])) {
			return false
		}
	}
	head := checkedHead
	if s.spec.Whole {
		head = m.reply
	}
	return s.spec.Workload == Exchange ||
		s.same(part, at, control.StampSize, head) && s.same(part, at, max(control.StampSize, m.reply-checkedTail), m.reply)
}

// same compares the bytes [from, to) of a message, as far as they are in part,
// which is at offset at of it.
func (s *script) same(part []byte, at, from, to int) bool {
	return sameAs(s.pattern, part, at, from, to)
}

func sameAs(pattern, part []byte, at, from, to int) bool {
	from, to = max(from, at), min(to, at+len(part))
	return from >= to || bytes.Equal(part[from-at:to-at], pattern[from:to])
}

func (s *script) checkStamp(c *conn, got uint64) bool {
	if s.phase == joining && c.received == 0 {
		// It became a member in the midst of the probes.
		if got == 0 || got > s.conns[0].sent {
			return false
		}
		c.received = got - 1
	}
	return got == stamp(int(c.source), c.received+1)
}
