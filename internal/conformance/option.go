package conformance

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// optionCases are about the OS socket below and its options.
var optionCases = []Case{
	{Name: "SyscallConn", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		rc, err := ours.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		seen := false
		if err := rc.Control(func(h uintptr) { seen = h > 2 }); err != nil || !seen {
			t.Errorf("Control: %v, a real descriptor: %v", err, seen)
		}
		write(t, ours, "alive")
		read(t, plainReader{peer}, "alive")
		_ = ours.Close()
		if err := rc.Control(func(uintptr) { t.Error("Control ran on a closed socket") }); err == nil {
			t.Error("Control succeeded on a closed socket")
		}
		if _, err := ours.SyscallConn(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SyscallConn: %v, want net.ErrClosed", err)
		}
	}},
	{Name: "File", Core: true, Run: func(t *testing.T, e *Env) {
		if runtime.GOOS == "windows" {
			t.Skip("windows cannot duplicate sockets into files; any other system would make this run")
		}
		ours, peer := e.Pair(t)
		f, err := ours.File()
		if err != nil {
			t.Fatal(err)
		}
		write(t, f, "through the file")
		read(t, plainReader{peer}, "through the file")
		_ = ours.Close()
		write(t, f, "still") // a duplicate outlives the FD
		read(t, plainReader{peer}, "still")
		_ = f.Close()
		if e.Network != "unix" {
			return
		}
		readErr(t, peer, fd.ClosedByPeer, io.EOF)
	}},
	{Name: "FileLeavesConnAlone", Core: true, Run: func(t *testing.T, e *Env) {
		if runtime.GOOS == "windows" {
			t.Skip("windows cannot duplicate sockets into files; any other system would make this run")
		}
		ours, peer := e.Pair(t)
		f, err := ours.File()
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		pending := goRead(ours, make([]byte, 16))
		parked(t, "fd.(*FD).Read", 1)
		set(t, ours.SetReadDeadline(past))
		wantTimeout(t, await(t, pending, "the end of Read").err, "read")
		set(t, ours.SetReadDeadline(forever))
		write(t, peer, "alive")
		read(t, plainReader{ours}, "alive")
	}},
	{Name: "ListenerFile", Run: func(t *testing.T, e *Env) {
		if runtime.GOOS == "windows" {
			t.Skip("windows cannot duplicate sockets into files; any other system would make this run")
		}
		l := e.Listen(t, defaultConfig)
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		again, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if again.Addr().String() != l.Addr().String() {
			t.Errorf("the file listens on %v, not %v", again.Addr(), l.Addr())
		}
		rc, err := l.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Control(func(uintptr) {}); err != nil {
			t.Error(err)
		}
	}},
	{Name: "TCPOptions", TCP: true, Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			c := ours.Conn()
			for name, err := range map[string]error{
				"SetNoDelay":         c.SetNoDelay(false),
				"SetKeepAlive":       c.SetKeepAlive(true),
				"SetKeepAlivePeriod": c.SetKeepAlivePeriod(30 * time.Second),
				"SetKeepAliveConfig": c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 11 * time.Second, Interval: 7 * time.Second, Count: 3}),
				"SetLinger":          c.SetLinger(-1),
				"SetReadBuffer":      c.SetReadBuffer(64 << 10),
				"SetWriteBuffer":     c.SetWriteBuffer(64 << 10),
			} {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if on, err := c.MultipathTCP(); on || err != nil {
				t.Errorf("MultipathTCP = %v, %v", on, err)
			}
			_ = ours.Close()
			if err := c.SetNoDelay(true); !errors.Is(err, net.ErrClosed) {
				t.Errorf("SetNoDelay after Close: %v, want net.ErrClosed", err)
			}
		})
	}},
	{Name: "LingerZeroResets", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		if err := ours.Conn().SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = ours.Close()
		wantPeerClosed(t, readErr(t, peer, fd.Lost))
	}},
	{Name: "SocketDefaults", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, _ net.Conn) {
			wantOptions(t, ours, map[string]int{
				"TCP_NODELAY": 1, "FD_CLOEXEC": 1,
				"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 9, // as with net
			})
		})
	}},
	{Name: "ConfiguredSockets", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		keepAlive := net.KeepAliveConfig{Enable: true, Idle: 11 * time.Second, Interval: 7 * time.Second, Count: 3}
		const userTimeout = 45 * time.Second
		e = e.With(t, func(o *ringfd.Options) {
			o.Dial.KeepAlive, o.Dial.UserTimeout = keepAlive, userTimeout
		})
		l := e.Listen(t, accept.Config{KeepAlive: keepAlive, UserTimeout: userTimeout})
		client := e.Dial(t, l.Addr())
		server := e.Accept(t, l)
		for name, f := range map[string]*fd.FD{"dialled": client, "accepted": server} {
			t.Log(name)
			wantOptions(t, f, map[string]int{
				"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 11, "TCP_KEEPINTVL": 7, "TCP_KEEPCNT": 3,
				"TCP_USER_TIMEOUT": int(userTimeout / time.Millisecond), "TCP_NODELAY": 1,
			})
		}
	}},
	{Name: "KeepAliveOff", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		off := net.KeepAliveConfig{Idle: -1}
		e = e.With(t, func(o *ringfd.Options) { o.Dial.KeepAlive = off })
		l := e.Listen(t, accept.Config{KeepAlive: off})
		client := e.Dial(t, l.Addr())
		for name, f := range map[string]*fd.FD{"dialled": client, "accepted": e.Accept(t, l)} {
			t.Log(name)
			wantOptions(t, f, map[string]int{"SO_KEEPALIVE": 0})
		}
	}},
	{Name: "DialFrom", TCP: true, Run: func(t *testing.T, e *Env) {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
		if e.Network == "tcp6" {
			from.IP = net.IPv6loopback
		}
		e = e.With(t, func(o *ringfd.Options) { o.Dial.LocalAddr = from })
		client, server := e.Pair(t)
		if !client.LocalAddr().(*net.TCPAddr).IP.Equal(from.IP) || server.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("dialled from %v, want %v", client.LocalAddr(), from)
		}
	}},
}
