package load

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onAllDrivers runs a test with each driver that there is here.
func onAllDrivers(t *testing.T, test func(t *testing.T, driver Driver)) {
	t.Helper()
	for _, driver := range append(nativeDrivers(t), Portable) {
		t.Run(string(driver), func(t *testing.T) { test(t, driver) })
	}
}

// listen listens until the test ends. network is tcp4, tcp6 or unix.
func listen(t *testing.T, network string) net.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	switch network {
	case "tcp6":
		address = "[::1]:0"
	case "unix":
		if runtime.GOOS == "windows" {
			t.Skip("Windows has unix sockets only in part: run this on another OS")
		}
		dir, err := os.MkdirTemp("", "load") // short: the path is limited
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, address)
	if err != nil && network == "tcp6" {
		t.Skipf("%v: run this where IPv6 is on", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serveWorkload runs the lab's own server for spec until the test ends, and
// sets the address in spec.
func serveWorkload(t *testing.T, network string, spec *Spec) *server.Server {
	t.Helper()
	l := listen(t, network)
	spec.Network, spec.Address = l.Addr().Network(), l.Addr().String()
	s := server.New(server.Spec{Service: spec.Workload.Service(), Request: spec.Request, Reply: spec.Reply, Buffer: 64 << 10})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.ServeNet(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// serve hands each connection to handle, until the test ends.
func serve(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l := listen(t, "tcp4")
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

// echo answers what comes on conn, after each.
func echo(conn net.Conn, each func()) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		each()
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func mustOpen(t *testing.T, spec Spec) *generator {
	t.Helper()
	g, err := open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func mustRun(t *testing.T, g *generator, d time.Duration) *Result {
	t.Helper()
	r, err := g.run(d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closedByPeer(totals control.Totals) uint64 { return totals.Ends[control.PeerClosed] }
