//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringfd/ringfd/bench/control"
)

// TestMain is ringfd-peers itself where a test starts it as a child.
func TestMain(m *testing.M) {
	if os.Getenv("RINGFD_TEST_PEER") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m,
		// Both last as long as the process: netpoll's pollers, and the pools that
		// gnet opens when it is imported.
		goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreCurrent(),
	)
}

// limit is when a test that hangs is given up.
const limit = 20 * time.Second

// eachServer runs test for each target and network.
func eachServer(t *testing.T, test func(t *testing.T, target, network string)) {
	for _, target := range []string{gnetTarget, netpollTarget} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(target+"/"+network, func(t *testing.T) { test(t, target, network) })
		}
	}
}

func start(t *testing.T, target, network string, spec control.ServerSpec) (server control.Server, address string) {
	t.Helper()
	spec.Target, spec.Network, spec.Address = target, network, "127.0.0.1:0"
	if network == "unix" {
		spec.Address = filepath.Join(t.TempDir(), "Socket")
	}
	server = new(peer)
	ready, err := server.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	return server, ready.Address
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

// stop ends a server whose clients have all closed, and checks its totals.
func stop(t *testing.T, server control.Server, conns, read, written int) {
	t.Helper()
	began := time.Now()
	if err := server.Stop(); err != nil {
		t.Error("Stop:", err)
	}
	if took := time.Since(began); took >= control.DrainLimit {
		t.Errorf("Stop took %v though all clients have closed", took)
	}
	totals := server.Totals()
	if totals.Accepted != uint64(conns) || totals.Live != 0 || totals.Ends[control.PeerClosed] != uint64(conns) || len(totals.Ends) > 1 {
		t.Errorf("totals %+v, want %d accepted, and as many closed by their peer", totals, conns)
	}
	if totals.Read != uint64(read) || totals.Written != uint64(written) {
		t.Errorf("read %d and wrote %d bytes, want %d and %d", totals.Read, totals.Written, read, written)
	}
}

// message returns size random bytes that begin with a stamp.
func message(size int, stamp uint64) []byte {
	m := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(stamp), byte(stamp >> 8), byte(size)}).Read(m) // it cannot fail
	binary.BigEndian.PutUint64(m, stamp)
	return m
}

// send writes in the background: what is large may wait until it is read.
func send(t *testing.T, c net.Conn, p []byte) {
	go func() {
		if _, err := c.Write(p); err != nil {
			t.Error(err)
		}
	}()
}

func receive(t *testing.T, c net.Conn, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEchoSizes(t *testing.T) {
	eachServer(t, func(t *testing.T, target, network string) {
		server, address := start(t, target, network, control.ServerSpec{Service: control.Echo, Buffer: 1 << 16})
		c := dial(t, network, address)
		sum := 0
		for _, size := range []int{8, 64, 4096, 4097, 1 << 16, 1<<16 + 1, 1 << 20} {
			m := message(size, uint64(size))
			send(t, c, m)
			if !bytes.Equal(receive(t, c, size), m) {
				t.Fatalf("%d bytes came back wrong", size)
			}
			sum += size
			// The peer has the reply: what was read is counted.
			if read := server.Totals().Read; read != uint64(sum) {
				t.Fatalf("read %d bytes, want %d", read, sum)
			}
		}
		if totals := server.Totals(); totals.Live != 1 || totals.Accepted != 1 || len(totals.Ends) != 0 {
			t.Errorf("totals %+v, want one live connection", totals)
		}
		_ = c.Close()
		stop(t, server, 1, sum, sum)
	})
}

func TestEchoManyConnections(t *testing.T) {
	const conns, rounds, size = 200, 5, 300
	eachServer(t, func(t *testing.T, target, network string) {
		server, address := start(t, target, network, control.ServerSpec{Service: control.Echo, Buffer: 1 << 12})
		var clients sync.WaitGroup
		for i := range conns {
			c := dial(t, network, address)
			clients.Go(func() {
				defer c.Close()
				for round := range rounds {
					m, in := message(size, uint64(i*rounds+round)), make([]byte, size)
					if _, err := c.Write(m); err != nil {
						t.Error(err)
						return
					}
					if _, err := io.ReadFull(c, in); err != nil || !bytes.Equal(in, m) {
						t.Errorf("connection %d: wrong echo (%v)", i, err)
						return
					}
				}
			})
		}
		clients.Wait()
		stop(t, server, conns, conns*rounds*size, conns*rounds*size)
	})
}

// A reader with a small receive buffer makes the server wait for room to send.
func TestEchoSlowReader(t *testing.T) {
	const size = 16 << 20
	eachServer(t, func(t *testing.T, target, network string) {
		server, address := start(t, target, network, control.ServerSpec{Service: control.Echo, Buffer: 1 << 12})
		c := dial(t, network, address)
		if err := c.(interface{ SetReadBuffer(int) error }).SetReadBuffer(1 << 16); err != nil {
			t.Fatal(err)
		}
		m := message(size, 1)
		send(t, c, m)
		for rest := m; len(rest) > 0; {
			part := receive(t, c, min(len(rest), 10_000))
			if !bytes.Equal(part, rest[:len(part)]) {
				t.Fatalf("wrong bytes %d from the end", len(rest))
			}
			rest = rest[len(part):]
		}
		_ = c.Close()
		stop(t, server, 1, size, size)
	})
}

func TestExchange(t *testing.T) {
	const count = 20
	eachServer(t, func(t *testing.T, target, network string) {
		for _, size := range [][2]int{{8, 8}, {100, 3000}, {5000, 64}, {64, 1 << 20}, {1 << 20, 64}} {
			request, reply := size[0], size[1]
			server, address := start(t, target, network,
				control.ServerSpec{Service: control.Exchange, Request: request, Reply: reply, Buffer: 1 << 12})
			c := dial(t, network, address)
			var all []byte
			for i := range count {
				all = append(all, message(request, uint64(i))...)
			}
			// The first byte on its own: the server must wait for the rest.
			if _, err := c.Write(all[:1]); err != nil {
				t.Fatal(err)
			}
			send(t, c, all[1:])
			for i := range count {
				if stamp := binary.BigEndian.Uint64(receive(t, c, reply)); stamp != uint64(i) {
					t.Fatalf("%d for %d bytes: reply %d has the stamp %d", reply, request, i, stamp)
				}
			}
			_ = c.Close()
			stop(t, server, 1, count*request, count*reply)
		}
	})
}

func TestFanout(t *testing.T) {
	const senders, each = 5, 4
	eachServer(t, func(t *testing.T, target, network string) {
		for _, c := range []struct{ members, size int }{{50, 1000}, {50, 70_000}, {5, 1 << 20}} {
			testFanout(t, target, network, c.members, senders, each, c.size)
		}
	})
}

// testFanout has the first of the members send each messages at the same time;
// all must reach every member, whole, and in the order of their sender. The last
// member reads only when the others have all.
func testFanout(t *testing.T, target, network string, members, senders, each, size int) {
	server, address := start(t, target, network,
		control.ServerSpec{Service: control.Fanout, Request: size, Reply: size, Buffer: 1 << 12})
	conns := make([]net.Conn, members)
	for i := range conns {
		conns[i] = dial(t, network, address)
	}
	awaitAccepted(t, server, members)
	var others, last sync.WaitGroup
	last.Add(1)
	for i, c := range conns {
		if i < senders {
			var all []byte
			for k := range each {
				all = append(all, message(size, uint64(i*each+k))...)
			}
			send(t, c, all)
		}
		read := func() { readFanout(t, c, senders, each, size) }
		if i < members-1 {
			others.Go(read)
		} else {
			go func() { defer last.Done(); read() }()
		}
	}
	others.Wait()
	last.Wait()
	for _, c := range conns {
		_ = c.Close()
	}
	stop(t, server, members, senders*each*size, senders*each*size*members)
}

// Members that end in the midst of it harm no one else.
func TestFanoutMembersLeave(t *testing.T) {
	const members, leavers, count, size = 20, 15, 200, 20_000
	eachServer(t, func(t *testing.T, target, network string) {
		server, address := start(t, target, network,
			control.ServerSpec{Service: control.Fanout, Request: size, Reply: size, Buffer: 1 << 12})
		conns := make([]net.Conn, members)
		for i := range conns {
			conns[i] = dial(t, network, address)
		}
		awaitAccepted(t, server, members)
		var all []byte
		for i := range count {
			all = append(all, message(size, uint64(i))...)
		}
		send(t, conns[0], all)
		var readers sync.WaitGroup
		for i, c := range conns {
			readers.Go(func() {
				if i < members-leavers {
					readFanout(t, c, 1, count, size)
				} else {
					_, _ = io.CopyN(io.Discard, c, int64(i*size+i)) // it ends in the midst of a message
				}
				_ = c.Close()
			})
		}
		readers.Wait()
		if err := server.Stop(); err != nil {
			t.Error("Stop:", err)
		}
		totals := server.Totals()
		if totals.Ends[control.PeerClosed] != members || len(totals.Ends) != 1 || totals.Read != count*size {
			t.Errorf("totals %+v, want %d closed by their peer and %d bytes read", totals, members, count*size)
		}
	})
}

// awaitAccepted waits until the server has all connections: what is sent before
// need not reach them. A connection is accepted after its dial has returned, and
// the server tells nobody, so this asks again and again.
func awaitAccepted(t *testing.T, server control.Server, want int) {
	t.Helper()
	for deadline := time.Now().Add(limit); server.Totals().Accepted < uint64(want); {
		if time.Now().After(deadline) {
			t.Fatalf("totals %+v, want %d accepted", server.Totals(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

func readFanout(t *testing.T, c net.Conn, senders, each, size int) {
	next, in := make([]int, senders), make([]byte, size)
	for range senders * each {
		if _, err := io.ReadFull(c, in); err != nil {
			t.Error(err)
			return
		}
		stamp := binary.BigEndian.Uint64(in)
		if stamp >= uint64(senders*each) || !bytes.Equal(in, message(size, stamp)) {
			t.Errorf("a message came wrong, its stamp is %d", stamp)
			return
		}
		sender, number := int(stamp)/each, int(stamp)%each
		if number != next[sender] {
			t.Errorf("message %d of sender %d came as its number %d", number, sender, next[sender])
			return
		}
		next[sender]++
	}
}

// A connection that is reset, and one that ends within a message, are closed by
// their peer too, and what they sent is counted.
func TestAbruptEnds(t *testing.T) {
	eachServer(t, func(t *testing.T, target, network string) {
		server, address := start(t, target, network,
			control.ServerSpec{Service: control.Exchange, Request: 100, Reply: 100, Buffer: 1 << 12})
		whole, part := dial(t, network, address), dial(t, network, address)
		for _, c := range []net.Conn{whole, part} {
			send(t, c, message(100, 1))
			receive(t, c, 100)
		}
		if tcp, ok := whole.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil { // a reset
				t.Fatal(err)
			}
		}
		if _, err := part.Write(make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
		_, _ = whole.Close(), part.Close()
		stop(t, server, 2, 250, 200)
	})
}

// A peer that does not close is not waited for without end.
func TestStopWithOpenConnection(t *testing.T) {
	eachServer(t, func(t *testing.T, target, network string) {
		if network == "unix" {
			return // each takes the whole of control.DrainLimit
		}
		t.Parallel()
		server, address := start(t, target, network, control.ServerSpec{Service: control.Echo, Buffer: 1 << 12})
		c := dial(t, network, address)
		send(t, c, message(64, 1))
		receive(t, c, 64)
		if err := server.Stop(); err != nil {
			t.Error("Stop:", err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes (%v) from a server that has stopped", n, err)
		}
		if totals := server.Totals(); totals.Live != 0 || totals.Ends[closedByUs] != 1 {
			t.Errorf("totals %+v, want one connection closed by us", totals)
		}
	})
}

func TestStopAtOnce(t *testing.T) {
	eachServer(t, func(t *testing.T, target, network string) {
		server, address := start(t, target, network, control.ServerSpec{Service: control.Echo, Buffer: 1 << 12})
		stop(t, server, 0, 0, 0)
		if c, err := net.Dial(network, address); err == nil {
			_ = c.Close()
			t.Error("the server still listens")
		}
	})
}

func TestWrongSpecs(t *testing.T) {
	good := control.ServerSpec{Target: gnetTarget, Network: "tcp", Address: "127.0.0.1:0", Service: control.Echo}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*control.ServerSpec){
		`unknown target "evio"`:  func(s *control.ServerSpec) { s.Target = "evio" },
		`choose another path`:    func(s *control.ServerSpec) { s.Network, s.Address = "unix", file },
		`address already in use`: func(s *control.ServerSpec) { s.Target, s.Network, s.Address = netpollTarget, "unix", file },
		`gnet cannot listen`:     func(s *control.ServerSpec) { s.Address = "127.0.0.1:none" },
	} {
		spec := good
		change(&spec)
		if _, err := new(peer).Start(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", spec, err, want)
		}
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "precious" {
		t.Errorf("the file is now %q (%v)", kept, err)
	}
}

// The whole program, with one P, as the lab drives it.
func TestProcess(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	eachServer(t, func(t *testing.T, target, network string) {
		cmd := exec.CommandContext(t.Context(), program, control.Command, control.RoleServer)
		cmd.Env = append(os.Environ(), "RINGFD_TEST_PEER=1", "GOMAXPROCS=1")
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		requests, replies := json.NewEncoder(in), json.NewDecoder(out)
		ask := func(r control.Request) (reply control.Reply) {
			t.Helper()
			if err := requests.Encode(r); err != nil {
				t.Fatal(err)
			}
			if err := replies.Decode(&reply); err != nil || reply.Error != "" {
				t.Fatalf("%s: %v %s", r.Do, err, reply.Error)
			}
			return reply
		}
		spec := control.ServerSpec{Target: target, Network: network, Address: "127.0.0.1:0", Service: control.Echo, Buffer: 1 << 12}
		if network == "unix" {
			spec.Address = filepath.Join(t.TempDir(), "Socket")
		}
		ready := ask(control.Request{Do: control.DoStart, Server: &spec}).Ready
		if ready.Kind != target || ready.PID != cmd.Process.Pid || !strings.Contains(ready.Why, ": 1") {
			t.Errorf("ready %+v, want %s with one loop", ready, target)
		}
		c := dial(t, network, ready.Address)
		send(t, c, message(64, 1))
		receive(t, c, 64)
		if mark := ask(control.Request{Do: control.DoMark}).Mark; mark.Totals.Read != 64 || mark.Go == nil {
			t.Errorf("mark %+v, want 64 bytes read", mark)
		}
		_ = c.Close()
		want := fmt.Sprint(map[string]uint64{control.PeerClosed: 1})
		if mark := ask(control.Request{Do: control.DoStop}).Mark; fmt.Sprint(mark.Totals.Ends) != want {
			t.Errorf("ends %v, want %s", mark.Totals.Ends, want)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}
