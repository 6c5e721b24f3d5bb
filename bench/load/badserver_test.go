package load

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

func TestBadServersAreNoticed(t *testing.T) {
	const size = 5000
	// answer reads whole messages, and writes what change makes of them.
	answer := func(change func(message []byte) []byte) func(net.Conn) {
		return func(conn net.Conn) {
			buffer := make([]byte, size)
			for {
				if _, err := io.ReadFull(conn, buffer); err != nil {
					return
				}
				if _, err := conn.Write(change(buffer)); err != nil {
					return
				}
			}
		}
	}
	flip := func(at int) func([]byte) []byte {
		return func(message []byte) []byte { message[at]++; return message }
	}
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, c := range []struct {
		what     string
		handle   func(net.Conn)
		workload Workload
		rate     float64
		want     error
	}{
		{"another stamp", answer(flip(0)), Echo, 0, errMixedUp},
		{"a changed byte", answer(flip(100)), Echo, 0, errMixedUp},
		{"a changed byte at the end of what is checked", answer(flip(checkedHead - 1)), Echo, 0, errMixedUp},
		{"a changed byte at the end", answer(flip(size - 1)), Echo, 0, errMixedUp},
		{"an old message", func() func(net.Conn) {
			first := []byte(nil)
			return answer(func(message []byte) []byte {
				if first == nil {
					first = append(first, message...)
				}
				return first
			})
		}(), Exchange, 0, errMixedUp},
		{"a byte too many", answer(func(m []byte) []byte { return append(m[:size:size], 1) }), Exchange, 0, nil},
		{"a byte too few", answer(func(m []byte) []byte { return m[:size-1] }), Exchange, 0, errStalled},
		{"no answer", silent, Echo, 0, errStalled},
		{"no answer in open loop", silent, Echo, 20, errStalled},
		{"no answer in churn", silent, Churn, 0, errStalled},
		{"no answer in a trace", silent, Trace, 0, errStalled},
		{"no greeting", silent, Idle, 0, errStalled},
		{"no fan-out", answer(func(m []byte) []byte { return m }), Fanout, 0, errStalled},
		{"an end in the midst of a reply", func(conn net.Conn) {
			buffer := make([]byte, size)
			_, _ = io.ReadFull(conn, buffer)
			_, _ = conn.Write(buffer[:size/2])
		}, Echo, 0, io.ErrUnexpectedEOF},
		{"an end at once", func(net.Conn) {}, Idle, 0, nil},
		{"a slow answer", answer(func(m []byte) []byte { time.Sleep(20 * time.Millisecond); return m }), Echo, 5000, errBehind},
	} {
		t.Run(c.what, func(t *testing.T) {
			onAllDrivers(t, func(t *testing.T, driver Driver) {
				g, err := openWith(Spec{
					Network: "tcp", Address: serve(t, c.handle), Workload: c.workload, Conns: 2, Depth: 1,
					Request: size, Reply: size, Rate: c.rate, Driver: driver,
				}, 60*time.Millisecond)
				if err == nil {
					var again error
					_, err = g.run(50 * time.Millisecond)
					if _, again = g.run(time.Millisecond); again == nil {
						t.Error("a run after one that failed")
					}
					_ = g.close() // it may be the other end's fault
				}
				if err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%v, not %v", err, c.want)
				}
			})
		})
	}
}

// What is left unchecked for the sake of speed is checked when asked for.
func TestWhole(t *testing.T) {
	const size = 3 * checkedHead
	address := serve(t, func(conn net.Conn) {
		buffer := make([]byte, size)
		for {
			if _, err := io.ReadFull(conn, buffer); err != nil {
				return
			}
			buffer[2*checkedHead]++
			if _, err := conn.Write(buffer); err != nil {
				return
			}
		}
	})
	for _, whole := range []bool{false, true} {
		g, err := Open(Spec{Network: "tcp", Address: address, Workload: Echo, Conns: 1, Depth: 1, Request: size, Whole: whole})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Run(time.Millisecond); errors.Is(err, errMixedUp) != whole {
			t.Errorf("whole is %v: %v", whole, err)
		}
		_ = g.Close() // it may be the other end's fault
	}
}

// The connections go to all addresses in turns.
func TestMoreAddresses(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		for _, workload := range []Workload{Echo, Churn} {
			var counts [3]atomic.Int64
			spec := Spec{Network: "tcp", Workload: workload, Conns: 7, Depth: 1, Request: 64, Reply: 64, Driver: driver}
			for i := range counts {
				address := serve(t, func(conn net.Conn) {
					counts[i].Add(1)
					echo(conn, func() {})
				})
				if i == 0 {
					spec.Address = address
				} else {
					spec.More = append(spec.More, address)
				}
			}
			g := mustOpen(t, spec)
			mustRun(t, g, 20*time.Millisecond)
			a, b, c := counts[0].Load(), counts[1].Load(), counts[2].Load()
			if workload == Echo && (a != 3 || b != 2 || c != 2) || min(a, b, c) == 0 {
				t.Errorf("%s: %d, %d and %d connections", workload, a, b, c)
			}
		}
	})
}
