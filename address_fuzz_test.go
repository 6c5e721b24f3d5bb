package ringfd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
)

// FuzzAddress: whatever string comes, there is an error or an address that
// formats back, and package net is of the same opinion.
func FuzzAddress(f *testing.F) {
	for _, address := range []string{
		"", ":", ":0", ":80", "127.0.0.1:80", "0.0.0.0:1", "[::]:1", "[::1]:65535", "[::1]:65536", "::1:80", "[::ffff:192.0.2.1]:80",
		"[fe80::1%lo]:80", "[fe80::1%1]:80", "localhost:80", "no such name:1", "127.0.0.1:http", "127.0.0.1:-1", "127.0.0.1:+80",
		"127.0.0.1", "[127.0.0.1]:80", "127.0.0.1:", "1.2.3:4", "01.2.3.4:5", "/a/path", "@abstract", "@", "\x00",
	} {
		for network := range networks {
			f.Add(uint8(network), address)
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, address string) {
		offline(t)
		network := networks[int(n)%len(networks)]
		listen, err := resolveListen(t.Context(), network, address)
		checkSameAs(t, network, address, listen, err)
		dial, dialErr := resolveDial(t.Context(), nil, network, address)
		if address == "" {
			if dialErr == nil {
				t.Errorf("Dial(%q, %q) has %v to go to", network, address, dial)
			}
			return
		}
		if (dialErr == nil) != (err == nil) {
			t.Errorf("%q, %q: to listen: %v, to dial: %v", network, address, err, dialErr)
		}
		if dialErr == nil && len(dial) == 0 {
			t.Errorf("Dial(%q, %q) has nowhere to go", network, address)
		}
		for i, a := range dial {
			checkDial(t, network, listen, a, i == 0)
		}
	})
}

var networks = []string{"tcp", "tcp4", "tcp6", "unix", "udp", ""}

// offline has names looked up in files only.
func offline(t *testing.T) {
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server is asked")
	}}
	t.Cleanup(func() { net.DefaultResolver = before })
}

// checkSameAs compares an address to listen on with what net makes of the same.
func checkSameAs(t *testing.T, network, address string, got net.Addr, err error) {
	t.Helper()
	var want net.Addr
	var wantErr error
	switch network {
	case "tcp", "tcp4", "tcp6":
		want, wantErr = net.ResolveTCPAddr(network, address)
	case "unix":
		want, wantErr = net.ResolveUnixAddr(network, address)
	default:
		wantErr = net.UnknownNetworkError(network)
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q, %q: %v, %v; net says %v, %v", network, address, got, err, want, wantErr)
	}
	if err != nil {
		if err.Error() == "" {
			t.Errorf("%q, %q: the error has no text", network, address)
		}
		return
	}
	if named(network, address) {
		return // of several addresses ResolveTCPAddr takes another than Listen
	}
	if got.String() != want.String() || got.Network() != want.Network() {
		t.Errorf("%q, %q: %v; net says %v", network, address, got, want)
	}
	again, err := resolveListen(t.Context(), network, got.String())
	if err != nil || again.String() != got.String() {
		t.Errorf("%q, %q: %v comes back as %v, %v", network, address, got, again, err)
	}
}

// named reports that the address has a name that is to be resolved.
func named(network, address string) bool {
	host, _, err := net.SplitHostPort(address)
	_, literal := netip.ParseAddr(host)
	return network != "unix" && err == nil && host != "" && literal != nil
}

// checkDial checks an address to connect to against that to listen on: it is no
// wildcard, and the same in everything else. This host is first tried by the family
// of the wildcard.
func checkDial(t *testing.T, network string, listen, dial net.Addr, first bool) {
	t.Helper()
	if network == "unix" {
		if dial.String() != listen.String() {
			t.Errorf("%v to dial, %v to listen", dial, listen)
		}
		return
	}
	from, to := listen.(*net.TCPAddr), dial.(*net.TCPAddr)
	is4 := to.IP.To4() != nil
	if to.Port != from.Port || to.IP == nil || to.IP.IsUnspecified() || network == "tcp4" && !is4 || network == "tcp6" && is4 {
		t.Errorf("%s: %v to dial, %v to listen", network, to, from)
	}
	if first && from.IP.IsUnspecified() && is4 != (from.IP.To4() != nil) {
		t.Errorf("%s: this host is %v, of the family of %v", network, to, from)
	}
}
