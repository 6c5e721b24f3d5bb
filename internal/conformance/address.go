package conformance

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// addressCases are about addresses that cannot be what the caller means: each is an
// error that names the field, and nothing is connected.
var addressCases = []Case{
	{Name: "ConnectBadAddress", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig) // which an address that is taken for another would reach
		good := l.Addr().(*net.TCPAddr)
		with := func(change func(*net.TCPAddr)) net.Addr {
			a := &net.TCPAddr{IP: good.IP, Port: good.Port}
			change(a)
			return a
		}
		for name, bad := range map[string]struct {
			addr  net.Addr
			field string
		}{
			"nil":           {nil, "address"},
			"nil TCPAddr":   {(*net.TCPAddr)(nil), "address"},
			"nil UnixAddr":  {(*net.UnixAddr)(nil), "address"},
			"nil UDPAddr":   {(*net.UDPAddr)(nil), "type"},
			"UDPAddr":       {&net.UDPAddr{IP: good.IP, Port: good.Port}, "type"},
			"IPAddr":        {&net.IPAddr{IP: good.IP}, "type"},
			"1 byte":        {with(func(a *net.TCPAddr) { a.IP = net.IP{1} }), "IP"},
			"3 bytes":       {with(func(a *net.TCPAddr) { a.IP = net.IP{127, 0, 0} }), "IP"},
			"5 bytes":       {with(func(a *net.TCPAddr) { a.IP = net.IP{127, 0, 0, 1, 0} }), "IP"},
			"17 bytes":      {with(func(a *net.TCPAddr) { a.IP = append(net.IPv6loopback[:16:16], 0) }), "IP"},
			"negative port": {with(func(a *net.TCPAddr) { a.Port -= 1 << 16 }), "Port"},
			"large port":    {with(func(a *net.TCPAddr) { a.Port += 1 << 16 }), "Port"},
			"zone of IPv4":  {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: good.Port, Zone: "lo"}, "Zone"},
			"unknown zone":  {&net.TCPAddr{IP: net.IPv6loopback, Port: good.Port, Zone: "no such interface"}, "Zone"},
			"negative zone": {&net.TCPAddr{IP: net.IPv6loopback, Port: good.Port, Zone: "-1"}, "Zone"},
			"datagrams":     {&net.UnixAddr{Name: "/tmp/x", Net: "unixgram"}, "Net"},
			"packets":       {&net.UnixAddr{Name: "/tmp/x", Net: "unixpacket"}, "Net"},
			"no path":       {&net.UnixAddr{Net: "unix"}, "Name"},
			"zero byte":     {&net.UnixAddr{Name: "/tmp/x\x00y", Net: "unix"}, "Name"},
			"long path":     {&net.UnixAddr{Name: "/tmp/" + strings.Repeat("x", 200), Net: "unix"}, "Name"},
		} {
			f := e.Backend.Socket()
			err := f.Connect(t.Context(), bad.addr)
			wantBadAddr(t, name, err, bad.field)
			wantErr(t, name, err, "connect", fd.Unexpected)
			if _, err := f.SyscallConn(); err == nil {
				t.Errorf("%s: a socket is left open", name)
			}
		}
		wantNobody(t, l)
	}},
	{Name: "ConnectThisHost", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// As with net, no IP and an unspecified one are this host.
		l := e.Listen(t, defaultConfig)
		port := l.Addr().(*net.TCPAddr).Port
		ips := map[string][]net.IP{"tcp4": {nil, {}, net.IPv4zero, net.IPv4zero.To4()}, "tcp6": {net.IPv6zero}}
		for _, ip := range ips[e.Network] {
			addr := &net.TCPAddr{IP: ip, Port: port}
			f := e.Backend.Socket()
			if err := f.Connect(t.Context(), addr); err != nil {
				t.Fatalf("%v: %v", addr, err)
			}
			if got := f.RemoteAddr().String(); got != l.Addr().String() {
				t.Errorf("connected to %v, RemoteAddr is %s, want %v as net has it", addr, got, l.Addr())
			}
			_ = f.Close()
		}
	}},
	{Name: "ConnectKeepsNoAddress", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		addr := *l.Addr().(*net.TCPAddr)
		f := e.Backend.Socket()
		if err := f.Connect(t.Context(), &addr); err != nil {
			t.Fatal(err)
		}
		addr.Port++ // the caller's own
		if got := f.RemoteAddr().String(); got != l.Addr().String() {
			t.Errorf("RemoteAddr has become %s, want %v", got, l.Addr())
		}
		_ = f.Close()
	}},
	{Name: "DialFromBadAddress", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		other := net.IPv6loopback
		if e.Network == "tcp6" {
			other = net.IPv4(127, 0, 0, 1)
		}
		for name, bad := range map[string]struct {
			from  net.Addr
			field string
		}{
			"other family": {&net.TCPAddr{IP: other}, "IP"},
			"UDPAddr":      {&net.UDPAddr{IP: l.Addr().(*net.TCPAddr).IP}, "type"},
			"UnixAddr":     {&net.UnixAddr{Name: "/tmp/x", Net: "unix"}, "type"},
			"nil TCPAddr":  {(*net.TCPAddr)(nil), "address"},
			"3 bytes":      {&net.TCPAddr{IP: net.IP{127, 0, 0}}, "IP"},
			"large port":   {&net.TCPAddr{Port: 1 << 16}, "Port"},
			"zone of IPv4": {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Zone: "lo"}, "Zone"},
			"unknown zone": {&net.TCPAddr{IP: net.IPv6loopback, Zone: "no such interface"}, "Zone"},
		} {
			from := e.With(t, func(o *ringfd.Options) { o.Dial.LocalAddr = bad.from })
			f := from.Backend.Socket()
			wantBadAddr(t, name, f.Connect(t.Context(), l.Addr()), "Dial.LocalAddr: "+bad.field)
			if f, err := from.Backend.Dial(t.Context(), e.Network, l.Addr().String()); err == nil {
				t.Errorf("%s: dialled from %v", name, f.LocalAddr())
			}
			if f, err := from.Backend.DialServe(t.Context(), e.Network, l.Addr().String(), blockingEcho()); err == nil {
				t.Errorf("%s: DialServe from %v", name, f.LocalAddr())
			}
		}
		wantNobody(t, l)
	}},
	{Name: "DialFromAnywhere", TCP: true, Run: func(t *testing.T, e *Env) {
		// As with net, a local address without an IP, or with an unspecified one, is of
		// either family.
		l := e.Listen(t, defaultConfig)
		for _, ip := range []net.IP{nil, net.IPv4zero, net.IPv6zero} {
			from := e.With(t, func(o *ringfd.Options) { o.Dial.LocalAddr = &net.TCPAddr{IP: ip} })
			f, err := from.Backend.Dial(t.Context(), e.Network, l.Addr().String())
			if err != nil {
				t.Errorf("from %v: %v", ip, err)
				continue
			}
			_ = f.Close()
		}
	}},
	{Name: "UnixDialFromBadAddress", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		for name, bad := range map[string]struct {
			from  net.Addr
			field string
		}{
			"TCPAddr":      {&net.TCPAddr{}, "type"},
			"nil UnixAddr": {(*net.UnixAddr)(nil), "address"},
			"datagrams":    {&net.UnixAddr{Name: e.Address(t), Net: "unixgram"}, "Net"},
			"long path":    {&net.UnixAddr{Name: "/tmp/" + strings.Repeat("x", 200)}, "Name"},
		} {
			from := e.With(t, func(o *ringfd.Options) { o.Dial.LocalAddr = bad.from })
			wantBadAddr(t, name, from.Backend.Socket().Connect(t.Context(), l.Addr()), "Dial.LocalAddr: "+bad.field)
		}
		wantNobody(t, l)
		path := e.Address(t)
		from := e.With(t, func(o *ringfd.Options) { o.Dial.LocalAddr = &net.UnixAddr{Name: path, Net: "unix"} })
		f, err := from.Backend.Dial(t.Context(), "unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := f.LocalAddr().String(); got != path {
			t.Errorf("dialled from %q, want %q", got, path)
		}
		_ = f.Close()
	}},
	{Name: "UnixConnectNoNetwork", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		f := e.Backend.Socket()
		if err := f.Connect(t.Context(), &net.UnixAddr{Name: l.Addr().String()}); err != nil {
			t.Errorf("a UnixAddr whose Net is empty: %v", err)
		}
		if a, ok := f.RemoteAddr().(*net.UnixAddr); !ok || a.Net != "unix" {
			t.Errorf("RemoteAddr is %#v", f.RemoteAddr())
		}
		_ = f.Close()
	}},
	{Name: "ListenBadField", Run: func(t *testing.T, e *Env) {
		for _, bad := range []struct{ network, address, field string }{
			{"tcp", "[::1%no such interface]:0", "Zone"},
			{"tcp6", "[::%no such interface]:0", "Zone"},
			{"unix", "/tmp/" + strings.Repeat("x", 200), "Name"},
			{"unix", "/tmp/x\x00y", "Name"},
		} {
			l, err := e.Backend.Listen(t.Context(), bad.network, bad.address, defaultConfig)
			if err == nil {
				_ = l.Close()
			}
			wantBadAddr(t, bad.address, err, bad.field)
			if _, ok := errors.AsType[*accept.ListenError](err); !ok {
				t.Errorf("%q: %v (%T), want an *accept.ListenError", bad.address, err, err)
			}
		}
	}},
}

// wantBadAddr checks an error that says which field of an address is wrong.
func wantBadAddr(t testing.TB, name string, err error, field string) {
	t.Helper()
	e, ok := errors.AsType[*fd.AddrError](err)
	if !ok {
		t.Errorf("%s: %v (%T), want an *fd.AddrError", name, err, err)
		return
	}
	if e.Field != field || e.Problem == "" || e.Cure == "" || !strings.Contains(err.Error(), e.Cure) {
		t.Errorf("%s: %v is about the field %q, want %q with a cure", name, err, e.Field, field)
	}
	if _, ok := errors.AsType[*net.AddrError](err); !ok {
		t.Errorf("%s: %v holds no *net.AddrError", name, err)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && errno == 0 {
		t.Errorf("%s: %v holds an errno of 0", name, err)
	}
}

// wantNobody checks that nobody has connected to l.
func wantNobody(t testing.TB, l *accept.Listener) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, addr, err := l.Accept(ctx); err == nil {
		t.Errorf("%v has connected", addr)
	}
}
