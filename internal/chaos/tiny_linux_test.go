package chaos

import (
	"fmt"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/internal/testsize"
	"github.com/ringfd/ringfd/uring"
)

// TestTinyRings echoes over queues that are always full and buffers that have always
// run out.
func TestTinyRings(t *testing.T) {
	for _, sizes := range []testsize.Sizes{
		{SQ: 1, CQ: 2, Buffer: 64, Buffers: 1},
		{SQ: 2, CQ: 4, Buffer: 4 << 10, Buffers: 2},
		{SQ: 64, CQ: 64, Buffer: 1, Buffers: 4},
	} {
		t.Run(fmt.Sprintf("%d-%d-%dx%d", sizes.SQ, sizes.CQ, sizes.Buffers, sizes.Buffer), func(t *testing.T) {
			for _, s := range styles[1:] {
				t.Run(s.name, func(t *testing.T) { tiny(t, s, sizes, 0) })
				if s.serves() {
					without := uring.FeatureBufferRingInc
					t.Run(s.name+"-whole-buffers", func(t *testing.T) { tiny(t, s, sizes, without) })
				}
			}
		})
	}
}

func tiny(t *testing.T, s style, sizes testsize.Sizes, without uring.Features) {
	uring.Probe() // of rings of the usual size, once
	testsize.Now = sizes
	t.Cleanup(func() { testsize.Now = testsize.Sizes{} })
	site := s.open(t, func(o *ringfd.Options) { o.Without = without })
	site.listen(t)
	total := int(sizes.Buffer) << 10 // it is received piece by piece
	if sizes.Buffer >= 4<<10 {
		total = 256 << 10
	}
	rounds(func() { site.traffic(t, 24, total) })
	lends := false // buffers: not before Linux 5.19
	for _, l := range site.backend.Stats().Loops {
		lends = lends || l.Buffers > 0
	}
	overflows, noBuffers := site.shortages()
	for sizes.CQ < 8 && s.serves() && overflows == 0 || sizes.Buffers == 1 && lends && noBuffers == 0 {
		if t.Failed() {
			return
		}
		site.traffic(t, 24, total) // until it was really tiny, or the guard's patience ends
		overflows, noBuffers = site.shortages()
	}
	t.Logf("completion queues overflowed %d times, buffers ran out %d times", overflows, noBuffers)
}

// shortages are how often a completion queue was full, and how often there was no
// buffer.
func (s *site) shortages() (overflows, noBuffers uint64) {
	for _, l := range s.backend.Stats().Loops {
		overflows += l.Overflows
		noBuffers += l.NoBuffers
	}
	return overflows, noBuffers
}
