package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/fd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is when a test that hangs is given up.
const limit = 20 * time.Second

// eachTarget runs test with each server of this module, on TCP and unix sockets.
func eachTarget(t *testing.T, spec control.ServerSpec, test func(t *testing.T, c *child, dial func() net.Conn)) {
	t.Helper()
	networks := []string{"tcp", "unix"}
	if runtime.GOOS == "windows" {
		networks = networks[:1]
	}
	for _, target := range []string{"io_uring", "io_uring-blocking", "io_uring-data", "net", "net-blocking", "net-data", GoNet} {
		for _, network := range networks {
			t.Run(target+"/"+network, func(t *testing.T) {
				spec.Target, spec.Network, spec.Address = target, network, "127.0.0.1:0"
				if network == "unix" {
					dir, err := os.MkdirTemp("", "server") // short: the path is limited
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = os.RemoveAll(dir) }()
					spec.Address = filepath.Join(dir, "s")
				}
				c := new(child)
				ready, err := c.Start(spec)
				if errors.Is(err, control.ErrUnavailable) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				test(t, c, func() net.Conn { return dial(t, network, ready.Address) })
			})
		}
	}
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// stop ends a server whose clients have all closed, and checks its totals.
func stop(t *testing.T, c *child, conns, read, written int) {
	t.Helper()
	if err := c.Stop(); err != nil {
		t.Error("Stop:", err)
	}
	totals := c.Totals()
	if totals.Accepted != uint64(conns) || totals.Live != 0 || totals.Ends[control.PeerClosed] != uint64(conns) || len(totals.Ends) > 1 ||
		totals.Read != uint64(read) || totals.Written != uint64(written) {
		t.Errorf("totals %+v, want %d connections closed by their peer, %d bytes read, %d written", totals, conns, read, written)
	}
	if n := c.requests.Len(); n != 0 {
		t.Errorf("the requests of %d connections are kept", n)
	}
}

// pattern is n bytes that begin like no other's.
func pattern(n, seed int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8 + seed*31)
	}
	return p
}

func TestEcho(t *testing.T) {
	eachTarget(t, control.ServerSpec{Service: control.Echo, Buffer: 4 << 10}, func(t *testing.T, c *child, dial func() net.Conn) {
		conn, sum := dial(), 0
		for i, size := range []int{1, 64, 4097, 100_000, 1 << 20} {
			message := pattern(size, i)
			sent := make(chan error, 1)
			go func() {
				_, err := conn.Write(message)
				sent <- err
			}()
			if !bytes.Equal(receive(t, conn, size), message) {
				t.Errorf("%d bytes came back wrong", size)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			sum += size
			if read := c.Totals().Read; read != uint64(sum) {
				t.Errorf("read %d bytes, want %d", read, sum)
			}
		}
		_ = conn.Close()
		stop(t, c, 1, sum, sum)
	})
}

// Requests come in pieces, and several at once; each has a reply with its stamp.
func TestExchange(t *testing.T) {
	const request, reply, n = 100, 300_000, 12
	spec := control.ServerSpec{Service: control.Exchange, Request: request, Reply: reply, Buffer: 4 << 10}
	eachTarget(t, spec, func(t *testing.T, c *child, dial func() net.Conn) {
		conns := []net.Conn{dial(), dial()}
		for i, conn := range conns {
			var all []byte
			for k := range n {
				all = append(all, pattern(request, 100*i+k)...)
			}
			send(t, conn, all[:3]) // a part of a stamp
			send(t, conn, all[3:request+50])
			send(t, conn, all[request+50:])
		}
		for i, conn := range conns {
			for k := range n {
				if got := receive(t, conn, reply)[:control.StampSize]; !bytes.Equal(got, pattern(request, 100*i+k)[:control.StampSize]) {
					t.Errorf("connection %d: reply %d has the stamp %x", i, k, got)
				}
			}
			_ = conn.Close()
		}
		stop(t, c, len(conns), len(conns)*n*request, len(conns)*n*reply)
	})
}

func TestFanout(t *testing.T) {
	const size, members = 1 << 10, 20
	spec := control.ServerSpec{Service: control.Fanout, Request: size, Reply: size, Buffer: 4 << 10}
	eachTarget(t, spec, func(t *testing.T, c *child, dial func() net.Conn) {
		var conns []net.Conn
		for i := range members {
			// The connection has its first message when it is a member.
			conns = append(conns, dial())
			message := pattern(size, i)
			send(t, conns[i], message[:size/3])
			send(t, conns[i], message[size/3:])
			for k, conn := range conns {
				if !bytes.Equal(receive(t, conn, size), message) {
					t.Fatalf("the message of connection %d came wrong to %d", i, k)
				}
			}
		}
		both := append(pattern(size, 1), pattern(size, 2)...)
		send(t, conns[3], both)
		for k, conn := range conns {
			if !bytes.Equal(receive(t, conn, 2*size), both) {
				t.Fatalf("two messages at once came wrong to %d", k)
			}
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		stop(t, c, members, (members+2)*size, (members*(members+1)/2+2*members)*size)
	})
}

// What cannot be taken ends the connection, with a reason that names it.
func TestRefusedReply(t *testing.T) {
	eachTarget(t, control.ServerSpec{Service: control.Echo, Buffer: 1}, func(t *testing.T, c *child, dial func() net.Conn) {
		conn := dial()
		send(t, conn, []byte{1})
		receive(t, conn, 1)
		var fds []*fd.FD
		c.mu.Lock()
		for member := range c.live {
			if f, ok := member.(fdConnection); ok {
				fds = append(fds, f.FD)
			}
		}
		c.mu.Unlock()
		for _, f := range fds {
			closeAfter(f, nil)
			send(t, conn, []byte{2})
			receive(t, conn, 1)
			closeAfter(f, errors.New("too much"))
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d more bytes came", n)
			}
			if reasons := f.Reasons(); len(reasons) != 1 || reasons[0].Error() != "too much" {
				t.Errorf("closed for %v", reasons)
			}
		}
		_ = conn.Close()
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTargetNames(t *testing.T) {
	for name, want := range map[string]struct {
		kind  ringfd.Kind
		style Style
	}{
		"io_uring": {ringfd.IOUring, ""}, "io_uring-data": {ringfd.IOUring, Data},
		"net-blocking": {ringfd.Net, Blocking}, "auto": {ringfd.Auto, ""},
	} {
		if kind, style := parse(name); kind != want.kind || style != want.style {
			t.Errorf("%s is %s, %q", name, kind, style)
		}
	}
	spec := control.ServerSpec{Target: "net-callback", Network: "tcp", Address: "127.0.0.1:0", Service: control.Echo, Buffer: 1}
	if _, err := new(child).Start(spec); err == nil || !strings.Contains(err.Error(), "net-callback") {
		t.Errorf("a style that there is not: %v", err)
	}
}
