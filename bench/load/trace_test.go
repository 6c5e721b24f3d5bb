package load

import (
	"slices"
	"testing"
	"time"
)

type step struct{ conn, size int }

func steps(spec Spec, n int) []step {
	var list []step
	for g, t := range newTraces(spec) {
		t.rewind(spec.Seed, g)
		for range n {
			conn, size := t.next()
			list = append(list, step{conn, size})
		}
	}
	return list
}

func TestSeedDecidesTrace(t *testing.T) {
	spec := Spec{Workload: Trace, Conns: 100, Depth: 1, Seed: 5}
	first := steps(spec, 1000)
	if !slices.Equal(first, steps(spec, 1000)) {
		t.Error("the same seed gave another trace")
	}
	if spec.Seed++; slices.Equal(first, steps(spec, 1000)) {
		t.Error("another seed gave the same trace")
	}
}

func TestTraceIsAsItSays(t *testing.T) {
	const n = 20_000
	spec := Spec{Workload: Trace, Conns: 5*traceGroup + 7, Seed: 1}
	all := steps(spec, n)
	var aside, doublings, used = 0, make(map[int]int), make(map[int]bool)
	for _, s := range all {
		used[s.conn] = true
		switch {
		case s.conn%traceGroup == 0 && s.conn < 5*traceGroup:
			d := 0
			for size := TraceSmallest * 2; size <= s.size; size *= 2 {
				d++
			}
			doublings[d]++
			if s.size < TraceSmallest || s.size > TraceLargest {
				t.Fatalf("a message of %d bytes", s.size)
			}
		case s.size != TraceSmallest:
			t.Fatalf("an idle connection has %d bytes", s.size)
		default:
			aside++
		}
	}
	if share := float64(aside) / float64(len(all)) * traceAside; share < 0.9 || share > 1.1 {
		t.Errorf("one message of %d went aside", len(all)/aside)
	}
	if len(used) != spec.Conns {
		t.Errorf("%d of %d connections were used", len(used), spec.Conns)
	}
	for d := range 11 { // 64 B to 128 KiB
		if share := float64(doublings[d]) / float64(len(all)-aside) * 11; share < 0.9 || share > 1.1 {
			t.Errorf("sizes from %d B: %d of %d", TraceSmallest<<d, doublings[d], len(all)-aside)
		}
	}
}

// The trace begins anew with every run, on every driver.
func TestTraceIsTheSameInEveryRun(t *testing.T) {
	var want uint64
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		spec := Spec{Workload: Trace, Conns: 33, Depth: 1, Seed: 9, Rate: 2000}
		serveWorkload(t, "tcp4", &spec)
		spec.Driver = driver
		g := mustOpen(t, spec)
		for range 2 {
			r := mustRun(t, g, 50*time.Millisecond)
			if want == 0 {
				want = r.Sent
			}
			if r.Sent != want || r.Messages != 100 {
				t.Errorf("%d messages of %d bytes, not of %d", r.Messages, r.Sent, want)
			}
		}
	})
}
