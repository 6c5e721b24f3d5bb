package uring

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRestrictions compares rings with restrictions and without them, in
// turns, by the medians: what it costs to make one and give it up, and what a
// message of 64 bytes costs, which is received over a socket pair, in batches.
func BenchmarkRestrictions(b *testing.B) {
	needRing(b)
	used := Probe().Found & usedFeatures
	if !used.Has(FeatureRestrictions) {
		b.Skip("needs a kernel that restricts rings (Linux 5.10)")
	}
	make := func(f Features) *ring {
		r, err := newRing(64, 512, setupFlags(f)|setupRestricted(f))
		if err == nil {
			err = r.enable(allowedBatch(f))
		}
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	b.Run("setup", func(b *testing.B) {
		compare(b, "ns/ring", 1, func(f Features) { make(f).close() })
	})
	b.Run("message", func(b *testing.B) {
		const batch = 16
		pair, err := newSocketPair()
		if err != nil {
			b.Fatal(err)
		}
		defer pair.close()
		rings := [2]*ring{make(used), make(used &^ FeatureRestrictions)}
		defer rings[0].close()
		defer rings[1].close()
		in := benchIn[:]
		receive := &sqe{opcode: opRecv, fd: int32(pair[1]), addr: address(in), len: length(in), opFlags: unix.MSG_DONTWAIT}
		compare(b, "ns/message", batch, func(f Features) {
			r := rings[0]
			if !f.Has(FeatureRestrictions) {
				r = rings[1]
			}
			for range batch {
				if _, err := unix.Write(pair[0], benchOut[:]); err != nil {
					b.Fatal(err)
				}
				r.push(receive)
			}
			if errno := r.enter(batch, 0, 0); errno != 0 {
				b.Fatal(errno)
			}
			if n := r.ready(); n != batch {
				b.Fatalf("%d of %d receives have ended", n, batch)
			}
			for i := range r.ready() {
				if c := r.peek(i); int(c.res) != len(benchIn) {
					b.Fatalf("a request ended with %d", c.res)
				}
			}
			r.advance(r.ready())
		})
	})
}

// Not on a stack, which moves.
var benchOut, benchIn [64]byte

// compare runs f with restrictions and without them in turns, n units each.
func compare(b *testing.B, unit string, n int, f func(Features)) {
	used := Probe().Found & usedFeatures
	var with, without []time.Duration
	timed := func(features Features) time.Duration {
		start := time.Now()
		f(features)
		return time.Since(start)
	}
	for b.Loop() {
		with = append(with, timed(used))
		without = append(without, timed(used&^FeatureRestrictions))
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2].Nanoseconds()) / float64(n)
	}
	b.ReportMetric(median(with), "restricted-"+unit)
	b.ReportMetric(median(without), "plain-"+unit)
	b.ReportMetric(median(with)/median(without), "ratio")
}
