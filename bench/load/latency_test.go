package load

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// undisturbed does what has an upper bound on time, which may be exceeded on a
// machine that does other things too, until it is not: five times at most.
func undisturbed(t *testing.T, attempt func() error) {
	t.Helper()
	var err error
	for range 5 {
		if err = attempt(); err == nil {
			return
		}
	}
	t.Error(err)
}

func TestServiceTimeIsTheLatency(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		const service = time.Millisecond
		address := serve(t, func(conn net.Conn) { echo(conn, func() { time.Sleep(service) }) })
		for _, rate := range []float64{0, 100} {
			g := mustOpen(t, Spec{
				Network: "tcp", Address: address, Workload: Echo, Conns: 1, Depth: 1, Request: 64, Driver: driver, Rate: rate,
			})
			undisturbed(t, func() error {
				l := mustRun(t, g, 60*time.Millisecond).Latency
				if l.Min < service {
					t.Fatalf("at rate %v: a server that takes %v has latencies %+v", rate, service, l)
				}
				if l.P50 > 2*service {
					return fmt.Errorf("at rate %v: a server that takes %v has latencies %+v", rate, service, l)
				}
				return nil
			})
		}
	})
}

// A server that stops for 30 ms in each 150 ms keeps a fifth of the messages
// waiting that should have been sent. Closed loop hides that, since it sends
// nothing while the server stops: coordinated omission.
func TestOpenLoopShowsStops(t *testing.T) {
	const stop, every = 30 * time.Millisecond, 150 * time.Millisecond
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		start := time.Now()
		address := serve(t, func(conn net.Conn) {
			echo(conn, func() {
				if at := time.Since(start) % every; at < stop {
					time.Sleep(stop - at)
				}
			})
		})
		spec := Spec{Network: "tcp", Address: address, Workload: Echo, Conns: 4, Depth: 1, Request: 64, Driver: driver}
		closed := mustOpen(t, spec)
		undisturbed(t, func() error {
			r := mustRun(t, closed, 2*every)
			if r.Latency.Max < stop*3/4 {
				t.Fatalf("closed loop, %d messages: %+v", r.Messages, r.Latency)
			}
			if r.Latency.P99 > stop/4 {
				return fmt.Errorf("closed loop, %d messages: %+v", r.Messages, r.Latency)
			}
			return nil
		})
		spec.Rate = 1000
		open := mustRun(t, mustOpen(t, spec), 2*every)
		if open.Latency.P99 < stop*3/4 || open.Latency.P90 < stop/4 {
			t.Errorf("open loop: %+v", open.Latency)
		}
	})
}

// What a flood does to the others shows in their latencies, and not in those of
// before; its own do not count.
func TestFloodIsTold(t *testing.T) {
	const hold, size = 8 * time.Millisecond, 4 << 10
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		var one sync.Mutex // for all connections
		address := serve(t, func(conn net.Conn) {
			buffer := make([]byte, size)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					return
				}
				one.Lock()
				if n > size/2 {
					time.Sleep(hold)
				}
				one.Unlock()
				if _, err := conn.Write(buffer[:n]); err != nil {
					return
				}
			}
		})
		g := mustOpen(t, Spec{
			Network: "tcp", Address: address, Workload: Flood, Conns: 5, Depth: 2, Request: 64, Reply: size, Rate: 1000, Driver: driver,
		})
		undisturbed(t, func() error {
			r := mustRun(t, g, 200*time.Millisecond)
			if r.Messages != 100 || r.Latency.P90 < hold/4 {
				t.Fatalf("%d messages beside the flood: %+v", r.Messages, r.Latency)
			}
			if r.Quiet.P50 >= hold/4 {
				return fmt.Errorf("before the flood: %+v", r.Quiet)
			}
			return nil
		})
	})
}

func TestRateIsMet(t *testing.T) {
	const d = 60 * time.Millisecond
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		for _, spec := range []Spec{
			{Workload: Echo, Conns: 3, Depth: 1, Request: 64, Rate: 777},
			{Workload: Echo, Conns: 30, Depth: 4, Request: 64, Rate: 10_000},
			{Workload: Exchange, Conns: 2, Depth: 2, Request: 8, Reply: 5000, Rate: 500},
			{Workload: Churn, Conns: 4, Depth: 1, Request: 64, Rate: 500},
			{Workload: Fanout, Conns: 10, Depth: 2, Request: 64, Rate: 300},
			{Workload: Trace, Conns: 40, Depth: 2, Rate: 500},
		} {
			serveWorkload(t, "tcp4", &spec)
			spec.Driver = driver
			g := mustOpen(t, spec)
			r := mustRun(t, g, d)
			want := int(spec.Rate*d.Seconds() + 0.5)
			if spec.Workload == Fanout {
				want *= spec.Conns
			}
			if int(r.Messages) != want {
				t.Errorf("%s at %v/s for %v: %d messages, not %d", spec.Workload, spec.Rate, d, r.Messages, want)
			}
			if r.Wall < d || r.Late <= 0 || r.Late > r.Wall {
				t.Errorf("%s took %v, and was %v late", spec.Workload, r.Wall, r.Late)
			}
			checkSums(t, Spec{Workload: spec.Workload, Conns: spec.Conns, Depth: 1, Request: spec.Request, Reply: spec.Reply}, r)
		}
	})
}

// A message for which its connection has no room is sent late, but not left
// out, and its latency counts from when it was due.
func TestMessagesWaitForRoom(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		const service = 4 * time.Millisecond
		address := serve(t, func(conn net.Conn) { echo(conn, func() { time.Sleep(service) }) })
		g := mustOpen(t, Spec{
			Network: "tcp", Address: address, Workload: Echo, Conns: 1, Depth: 1, Request: 64, Driver: driver, Rate: 1000,
		})
		r := mustRun(t, g, 40*time.Millisecond)
		// Message k is due after k ms, and answered after 4 (k+1) at the earliest.
		if r.Messages != 40 || r.Wall < 40*service || r.Latency.Max < 40*service-40*time.Millisecond {
			t.Errorf("%d messages in %v: %+v", r.Messages, r.Wall, r.Latency)
		}
		if r.Late > 20*time.Millisecond {
			t.Errorf("the server's delay counts as the generator's: %v", r.Late)
		}
	})
}

func TestSpinningIsNotBeingBusy(t *testing.T) {
	for _, driver := range nativeDrivers(t) {
		address := serve(t, func(conn net.Conn) { echo(conn, func() { time.Sleep(time.Millisecond) }) })
		g := mustOpen(t, Spec{
			Network: "tcp", Address: address, Workload: Echo, Conns: 1, Depth: 1, Request: 64, Driver: driver, Spin: true,
		})
		r := mustRun(t, g, 100*time.Millisecond)
		// The server is in this process, so its time is counted too.
		if cpu := r.Usage.CPU.Total().Seconds() / r.Wall.Seconds(); r.Busy > cpu/2 {
			t.Errorf("%s: used %.2f of a core and was busy for %.2f of one", driver, cpu, r.Busy)
		}
	}
}
