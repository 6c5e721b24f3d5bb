package ringfd

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// fallbackDelay is how long the addresses of the preferred family have before
// those of the other are tried beside them (RFC 8305 asks for 250 ms; net
// takes 300).
const fallbackDelay = 300 * time.Millisecond

// Dial resolves address and connects to it. network is "tcp", "tcp4", "tcp6"
// or "unix". Of several addresses the first that answers is taken, with a head
// start for the family that the resolver names first. The error of a failed
// connect is an *fd.Error that says how it failed; a cancelled or expired ctx
// matches ctx.Err(). Nothing stays open when it fails.
func (b *Backend) Dial(ctx context.Context, network, address string) (*fd.FD, error) {
	f, _, err := b.dialWith(ctx, network, address, b.Socket)
	return f, err
}

// DialContext is Dial with the net view: it fits net.Dialer.DialContext and
// http.Transport.DialContext, and its errors are *net.OpError.
func (b *Backend) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	f, addr, err := b.dialWith(ctx, network, address, b.Socket)
	if err == nil {
		return f.Conn(), nil
	}
	var e *fd.Error
	if errors.As(err, &e) && (errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded)) {
		err = e.Err
	}
	return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: err}
}

// dialWith connects an FD that socket makes. It returns the FD, or the error and
// the address it is about.
func (b *Backend) dialWith(ctx context.Context, network, address string, socket func() *fd.FD) (f *fd.FD, addr net.Addr, err error) {
	if err := b.impl.away(func() { f, addr, err = dial(ctx, network, address, socket) }); err != nil {
		return nil, nil, err
	}
	return f, addr, err
}

func dial(ctx context.Context, network, address string, socket func() *fd.FD) (*fd.FD, net.Addr, error) {
	addrs, err := resolveDial(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	primaries, fallbacks := byFamily(addrs)
	if len(fallbacks) == 0 {
		return dialEach(ctx, primaries, socket)
	}
	return dialBoth(ctx, primaries, fallbacks, socket)
}

// dialEach tries one address after the other and keeps the first error.
func dialEach(ctx context.Context, addrs []net.Addr, socket func() *fd.FD) (*fd.FD, net.Addr, error) {
	var firstErr error
	var firstAddr net.Addr
	for i, addr := range addrs {
		attempt, cancel := shareOfDeadline(ctx, len(addrs)-i)
		f := socket()
		err := f.Connect(attempt, addr)
		cancel()
		if err == nil {
			return f, addr, nil
		}
		if firstErr == nil {
			firstErr, firstAddr = err, addr
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, firstAddr, firstErr
}

// shareOfDeadline leaves time for the addresses that follow.
func shareOfDeadline(ctx context.Context, remaining int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || remaining <= 1 {
		return ctx, func() {}
	}
	share := time.Until(deadline) / time.Duration(remaining)
	return context.WithTimeout(ctx, max(share, 2*time.Second))
}

// dialBoth races the families. The loser is cancelled, waited for and closed.
func dialBoth(ctx context.Context, primaries, fallbacks []net.Addr, socket func() *fd.FD) (*fd.FD, net.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		f       *fd.FD
		addr    net.Addr
		err     error
		primary bool
	}
	results := make(chan result)
	start := func(addrs []net.Addr, primary bool) {
		f, addr, err := dialEach(ctx, addrs, socket)
		results <- result{f, addr, err, primary}
	}
	go start(primaries, true)
	running := 1
	headStart := time.NewTimer(fallbackDelay)
	defer headStart.Stop()

	var winner, failed result
	for waiting := fallbacks; running > 0; {
		select {
		case <-headStart.C:
			if waiting != nil && winner.f == nil {
				go start(waiting, false)
				waiting = nil
				running++
			}
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				if failed.err == nil || r.primary {
					failed = r
				}
				if waiting != nil && winner.f == nil && ctx.Err() == nil {
					go start(waiting, false)
					waiting = nil
					running++
				}
			case winner.f == nil:
				winner = r
				cancel()
			default:
				_ = r.f.Close() // it came second
			}
		}
	}
	if winner.f != nil {
		return winner.f, winner.addr, nil
	}
	return nil, failed.addr, failed.err
}

// byFamily splits addresses by the family of the first.
func byFamily(addrs []net.Addr) (primaries, fallbacks []net.Addr) {
	first, ok := addrs[0].(*net.TCPAddr)
	if !ok {
		return addrs, nil
	}
	for _, a := range addrs {
		if (a.(*net.TCPAddr).IP.To4() == nil) == (first.IP.To4() == nil) {
			primaries = append(primaries, a)
		} else {
			fallbacks = append(fallbacks, a)
		}
	}
	return primaries, fallbacks
}

// resolveDial returns the addresses to connect to, at least one.
func resolveDial(ctx context.Context, network, address string) ([]net.Addr, error) {
	if err := checkNetwork(network); err != nil {
		return nil, err
	}
	if network == "unix" {
		return []net.Addr{&net.UnixAddr{Name: address, Net: network}}, nil
	}
	addrs, err := resolveTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	list := make([]net.Addr, len(addrs))
	for i, a := range addrs {
		if a.IP == nil || a.IP.IsUnspecified() { // as net does: this host
			if network == "tcp6" || a.IP != nil && a.IP.To4() == nil {
				a.IP = net.IPv6loopback
			} else {
				a.IP = net.IPv4(127, 0, 0, 1)
			}
		}
		list[i] = a
	}
	return list, nil
}

// resolveListen returns the one address to listen on; with a name that has
// several, an IPv4 one, as net does.
func resolveListen(ctx context.Context, network, address string) (net.Addr, error) {
	if err := checkNetwork(network); err != nil {
		return nil, err
	}
	if network == "unix" {
		return &net.UnixAddr{Name: address, Net: network}, nil
	}
	if address == "" { // as net does: any address and port
		return &net.TCPAddr{}, nil
	}
	addrs, err := resolveTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if addrs[0].IP.IsUnspecified() { // not the IPv4 address that stands beside it
		return addrs[0], nil
	}
	for _, a := range addrs {
		if a.IP.To4() != nil {
			return a, nil
		}
	}
	return addrs[0], nil
}

// resolveTCP resolves host and port; an empty host gives one address without
// an IP.
func resolveTCP(ctx context.Context, network, address string) ([]*net.TCPAddr, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(service)
	if err != nil || port < 0 || port > 65535 {
		if port, err = net.DefaultResolver.LookupPort(ctx, network, service); err != nil {
			return nil, err
		}
	}
	if host == "" {
		return []*net.TCPAddr{{Port: port}}, nil
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 1 && ips[0].IP.Equal(net.IPv6unspecified) { // as net does: golang/go#18806
		ips = append(ips, net.IPAddr{IP: net.IPv4zero})
	}
	var addrs []*net.TCPAddr
	for _, ip := range ips {
		is4 := ip.IP.To4() != nil
		if network == "tcp4" && !is4 || network == "tcp6" && is4 {
			continue
		}
		addrs = append(addrs, &net.TCPAddr{IP: ip.IP, Port: port, Zone: ip.Zone})
	}
	if len(addrs) == 0 {
		return nil, &net.AddrError{Err: "no suitable address for " + network, Addr: address}
	}
	return addrs, nil
}
