package bench

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

var generators = map[string]func(loadSpec) (generator, error){
	"native":   openGenerator,
	"portable": openGoroutines,
}

// serve accepts connections until the test ends, and hands them to handle.
func serve(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				handle(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func TestGeneratorsCountExactly(t *testing.T) {
	for name, open := range generators {
		for _, spec := range []loadSpec{{Conns: 1, Size: minSize}, {Conns: 7, Size: 64}, {Conns: 3, Size: 1 << 20}} {
			served := make(chan int64, spec.Conns)
			spec.Address = serve(t, func(conn net.Conn) {
				n, _ := io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
				served <- n
			})
			g, err := open(spec)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var total LoadResult
			for range 2 { // runs can follow each other on the same connections
				var r LoadResult
				latencies := newHistogram()
				start := time.Now()
				if err := g.run(20*time.Millisecond, &r, latencies); err != nil {
					t.Fatalf("%s, %+v: %v", name, spec, err)
				}
				if took := time.Since(start); took < 20*time.Millisecond {
					t.Errorf("%s: ran for %v", name, took)
				}
				if r.Messages < uint64(spec.Conns) || r.Sent != r.Messages*uint64(spec.Size) || r.Received != r.Sent {
					t.Errorf("%s, %+v: %+v", name, spec, r)
				}
				if uint64(latencies.TotalCount()) != r.Messages {
					t.Errorf("%s: %d latencies of %d messages", name, latencies.TotalCount(), r.Messages)
				}
				total.Sent += r.Sent
			}
			if err := g.close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			var atServer int64
			for range spec.Conns {
				atServer += <-served
			}
			if uint64(atServer) != total.Sent {
				t.Errorf("%s, %+v: sent %d bytes, the server saw %d", name, spec, total.Sent, atServer)
			}
		}
	}
}

func TestGeneratorsNoticeBadServers(t *testing.T) {
	for name, open := range generators {
		for _, c := range []struct {
			what   string
			handle func(net.Conn)
			check  func(error) bool
		}{
			{"one that answers with another message", func(conn net.Conn) {
				buffer := make([]byte, 64)
				for {
					if _, err := io.ReadFull(conn, buffer); err != nil {
						return
					}
					buffer[0]++
					if _, err := conn.Write(buffer); err != nil {
						return
					}
				}
			}, func(err error) bool { return errors.Is(err, errMixedUp) }},
			{"one that closes in the middle of a reply", func(conn net.Conn) {
				buffer := make([]byte, 64)
				_, _ = io.ReadFull(conn, buffer)
				_, _ = conn.Write(buffer[:32])
			}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		} {
			g, err := open(loadSpec{Address: serve(t, c.handle), Conns: 2, Size: 64})
			if err != nil {
				t.Fatal(err)
			}
			var r LoadResult
			if err := g.run(time.Second, &r, newHistogram()); !c.check(err) {
				t.Errorf("%s generator with %s: %v", name, c.what, err)
			}
			_ = g.close()
		}
	}
}

func TestGeneratorsNeedAServer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, open := range generators {
		if _, err := open(loadSpec{Address: address, Conns: 1, Size: 64}); err == nil {
			t.Errorf("%s: no error with nobody listening", name)
		}
	}
}
