package conformance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"golang.org/x/net/dns/dnsmessage"
)

// resolveCases are about names: what is asked for, and which of several addresses is
// taken. The right behaviour is net's.
var resolveCases = []Case{
	{Name: "ResolveOneFamily", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		asks, other := dnsmessage.TypeA, dnsmessage.TypeAAAA
		if e.Network == "tcp6" {
			asks, other = other, asks
		}
		s := &nameServer{silent: other, records: map[dnsmessage.Type][]netip.Addr{asks: {ipOf(l.Addr())}}}
		r := s.resolver(t)
		f, err := dialName(t, e, r, e.Network, l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if got := f.RemoteAddr().String(); got != l.Addr().String() {
			t.Errorf("dialled %s, want %v", got, l.Addr())
		}
		_ = f.Close()
		if s.count(asks) == 0 || s.count(other) != 0 {
			t.Errorf("dialling asked %d questions of type %v and %d of type %v, want none of those", s.count(asks), asks, s.count(other), other)
		}

		before := net.DefaultResolver // listeners ask this one
		net.DefaultResolver = r
		t.Cleanup(func() { net.DefaultResolver = before })
		named, err := e.Backend.Listen(t.Context(), e.Network, "name.test.:0", defaultConfig)
		if err != nil {
			t.Fatal(err)
		}
		_ = named.Close()
		if s.count(other) != 0 {
			t.Errorf("listening asked %d questions of type %v", s.count(other), other)
		}
	}},
	{Name: "ResolveBothFamilies", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		s := serverOf(ipOf(l.Addr()))
		f, err := dialName(t, e, s.resolver(t), "tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if s.count(dnsmessage.TypeA) == 0 || s.count(dnsmessage.TypeAAAA) == 0 {
			t.Errorf("asked %d questions of A and %d of AAAA, want both", s.count(dnsmessage.TypeA), s.count(dnsmessage.TypeAAAA))
		}
	}},
	{Name: "ResolveNone", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		_, err := dialName(t, e, serverOf().resolver(t), e.Network, l.Addr())
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
			t.Errorf("a name without addresses: %v (%T), want a *net.DNSError", err, err)
		}
	}},
	{Name: "DialDeadThenAlive", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		if e.Network == "tcp6" {
			return // there is one address of the loopback
		}
		l := e.Listen(t, defaultConfig)
		dead := netip.MustParseAddr("127.0.0.77") // refuses
		f, err := dialName(t, e, serverOf(dead, ipOf(l.Addr())).resolver(t), e.Network, l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if got := f.RemoteAddr().String(); got != l.Addr().String() {
			t.Errorf("dialled %s, want %v", got, l.Addr())
		}
		_ = f.Close()
	}},
	{Name: "DialSlowFamily", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// One family does not answer: the other gets its turn after the head start. Which
		// family is first is for the resolver (RFC 6724), so the other one may be at once.
		slow, alive := bothFamilies(t, e)
		start := time.Now()
		f, err := dialName(t, e, serverOf(ipOf(slow), ipOf(alive)).resolver(t), "tcp", alive)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.RemoteAddr().String(); got != alive.String() {
			t.Errorf("dialled %s, want %v", got, alive)
		}
		if took := time.Since(start); took > 5*time.Second { // a SYN is sent again after 1, 3, 7 s
			t.Errorf("it took %v", took)
		}
		_ = f.Close()
	}},
	{Name: "DialDeadFamily", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// One family refuses: the other is tried at once, as net does.
		l := e.Listen(t, defaultConfig)
		other := netip.IPv6Loopback()
		if e.Network == "tcp6" {
			other = netip.MustParseAddr("127.0.0.1")
		}
		f, err := dialName(t, e, serverOf(other, ipOf(l.Addr())).resolver(t), "tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if got := f.RemoteAddr().String(); got != l.Addr().String() {
			t.Errorf("dialled %s, want %v", got, l.Addr())
		}
		_ = f.Close()
	}},
	{Name: "DialFromFamily", TCP: true, Run: func(t *testing.T, e *Env) {
		// Of a name's addresses those of the local address's family are tried, as net does.
		l := e.Listen(t, defaultConfig)
		s := serverOf(netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
		r := s.resolver(t)
		e = e.With(t, func(o *ringfd.Options) {
			o.Dial.Resolver, o.Dial.LocalAddr = r, &net.TCPAddr{IP: ipOf(l.Addr()).AsSlice()}
		})
		f, err := e.Backend.Dial(t.Context(), "tcp", nameOf(l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}},
	{Name: "DialTimesShared", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// The time of ctx is for all addresses: the slow one does not eat it up.
		if e.Network == "tcp6" {
			return // there is one address of the loopback
		}
		slow := fullListener(t, e)
		alive, err := net.Listen("tcp4", "127.0.0.2:"+portOf(slow))
		if err != nil {
			t.Fatal(err)
		}
		defer alive.Close()
		r := serverOf(ipOf(slow), ipOf(alive.Addr())).resolver(t)
		e = e.With(t, func(o *ringfd.Options) { o.Dial.Resolver = r })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		f, err := e.Backend.Dial(ctx, e.Network, nameOf(slow))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.RemoteAddr().String(); got != alive.Addr().String() {
			t.Errorf("dialled %s, want %v", got, alive.Addr())
		}
		_ = f.Close()
	}},
}

// dialName dials a name that r resolves, at the port of addr, through Dial, or on a row
// that serves, DialServe.
func dialName(t testing.TB, e *Env, r *net.Resolver, network string, addr net.Addr) (f interface {
	RemoteAddr() net.Addr
	Close() error
}, err error) {
	t.Helper()
	e = e.With(t, func(o *ringfd.Options) { o.Dial.Resolver = r })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if e.Row.Served {
		return e.Backend.DialServe(ctx, network, nameOf(addr), blockingEcho())
	}
	return e.Backend.Dial(ctx, network, nameOf(addr))
}

// serverOf returns a server that gives these addresses for every name.
func serverOf(ips ...netip.Addr) *nameServer {
	s := &nameServer{records: make(map[dnsmessage.Type][]netip.Addr)}
	for _, ip := range ips {
		kind := dnsmessage.TypeA
		if ip.Is6() {
			kind = dnsmessage.TypeAAAA
		}
		s.records[kind] = append(s.records[kind], ip)
	}
	return s
}

// bothFamilies returns a listener of this network that does not answer, and one of the
// other family, at the same port, that does.
func bothFamilies(t testing.TB, e *Env) (slow, alive net.Addr) {
	t.Helper()
	network, host := "tcp6", "::1"
	if e.Network == "tcp6" {
		network, host = "tcp4", "127.0.0.1"
	}
	for range 10 {
		slow = fullListener(t, e)
		l, err := net.Listen(network, net.JoinHostPort(host, portOf(slow)))
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return slow, l.Addr()
		}
	}
	t.Fatal("no port is free in both families")
	return nil, nil
}

func ipOf(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }
func portOf(a net.Addr) string   { return strconv.Itoa(a.(*net.TCPAddr).Port) }
func nameOf(a net.Addr) string   { return "name.test.:" + portOf(a) }
