package load

import (
	"math"
	"math/rand/v2"
)

// The connections of a trace come in groups. The first of a group is busy, the
// others are idle but for a small message now and then: whom it goes to, and
// the sizes of the others, are random and depend on the seed alone.
const (
	traceGroup = 16 // connections
	traceAside = 64 // one message of so many goes to an idle connection
)

// The least and the greatest size of a message in Trace, in bytes.
const (
	TraceSmallest = 64
	TraceLargest  = 128 << 10
)

// trace is the sequence of messages of one group.
type trace struct {
	source       *rand.PCG
	random       *rand.Rand // on source
	first, conns int
}

func newTraces(spec Spec) []trace {
	traces := make([]trace, max(1, spec.Conns/traceGroup))
	for i := range traces {
		source := rand.NewPCG(0, 0)
		traces[i] = trace{source: source, random: rand.New(source), first: i * traceGroup, conns: traceGroup}
	}
	last := &traces[len(traces)-1]
	last.conns = spec.Conns - last.first
	return traces
}

// rewind begins the sequence anew.
func (t *trace) rewind(seed uint64, group int) { t.source.Seed(seed, uint64(group)) }

// next returns to which connection the next message goes, and its size in
// bytes: the logarithms of the sizes are evenly spread.
func (t *trace) next() (conn, size int) {
	if t.conns > 1 && t.random.IntN(traceAside) == 0 {
		return t.first + 1 + t.random.IntN(t.conns-1), TraceSmallest
	}
	doublings := math.Log2(TraceLargest) - math.Log2(TraceSmallest)
	return t.first, int(TraceSmallest * math.Exp2(doublings*t.random.Float64()))
}
