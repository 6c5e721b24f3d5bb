package uring

import "testing"

// BenchmarkProbe asks the kernel what it has, as the first Open of a process
// does, and asks for the answer that is kept, as the others do.
func BenchmarkProbe(b *testing.B) {
	needRing(b)
	for _, c := range []struct {
		name  string
		probe func() Report
	}{{"none", probe}, {"all", Probe}} {
		b.Run("kept="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := c.probe(); r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		})
	}
}
