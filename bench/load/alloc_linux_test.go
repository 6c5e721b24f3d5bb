package load

import (
	"testing"
	"time"
)

func TestMessagesDoNotAllocate(t *testing.T) {
	for _, driver := range nativeDrivers(t) {
		for _, spec := range []Spec{
			{Workload: Echo, Conns: 16, Depth: 1, Request: 64},
			{Workload: Echo, Conns: 16, Depth: 1, Request: 64, Spin: true},
			{Workload: Echo, Conns: 16, Depth: 4, Request: 64, Rate: 20_000},
			{Workload: Exchange, Conns: 16, Depth: 4, Request: 64, Reply: 9000},
			{Workload: Fanout, Conns: 16, Depth: 1, Request: 64},
			{Workload: Trace, Conns: 256, Depth: 1},
		} {
			serveWorkload(t, "tcp4", &spec)
			spec.Driver = driver
			g := mustOpen(t, spec)
			mustRun(t, g, 10*time.Millisecond)
			// The server, which does not allocate either, counts too.
			allocated := testing.AllocsPerRun(1, func() {
				if err := g.driver.drive(running, 15*time.Millisecond); err != nil {
					t.Fatal(err)
				}
			})
			// A run as such has four; there are at least 16 messages.
			if n := g.script.result.Messages; allocated > 8 && allocated > float64(n)/50 {
				t.Errorf("%s, %s: %v allocations for %d messages", driver, spec.Workload, allocated, n)
			}
		}
	}
}
