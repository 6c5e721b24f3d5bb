package ringfd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// fallbackDelay is how long the addresses of the preferred family have before
// those of the other are tried beside them (RFC 8305 asks for 250 ms; net
// takes 300).
const fallbackDelay = 300 * time.Millisecond

// Dial resolves address and connects to it. network is "tcp", "tcp4", "tcp6"
// or "unix". A name is looked up by Options.Dial.Resolver, and on "tcp4" and "tcp6" for
// that family only. Of several addresses the first that answers is taken: those of a
// family one after the other, each with its share of what is left of ctx's time, and the
// family that the resolver names first 300 ms ahead of the other (RFC 6555), as net does. The error of a failed
// connect is an *fd.Error that says how it failed; of a name or an address that
// is of no use, a *net.OpError. Each names the network, the address and the cause. A
// cancelled or expired ctx matches ctx.Err(). Nothing stays open when it fails.
func (b *Backend) Dial(ctx context.Context, network, address string) (*fd.FD, error) {
	f, _, err := b.dialWith(ctx, network, address, b.Socket)
	return f, err
}

// DialContext is Dial with the net view: it fits net.Dialer.DialContext and
// http.Transport.DialContext. It tells the hooks of httptrace, and its errors are those
// of net's Dialer: a *net.OpError whose Err is an *os.SyscallError, a *net.DNSError, or
// for the end of ctx an error with the words of net ("i/o timeout", "operation was
// canceled") that matches ctx's.
func (b *Backend) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	f, addr, err := b.dialWith(ctx, network, address, b.Socket)
	if err == nil {
		return f.Conn(), nil
	}
	if e, ok := err.(*net.OpError); ok {
		return nil, e
	}
	return nil, &net.OpError{Op: "dial", Net: network, Source: b.dialing.LocalAddr, Addr: addr, Err: asOfNet(err)}
}

// asOfNet is the cause of a failed dial as net's Dialer gives it.
func asOfNet(err error) error {
	if e, ok := errors.AsType[*fd.Error](err); ok {
		err = e.Err
	}
	if _, ok := errors.AsType[syscall.Errno](err); !ok {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return dialTimeout{}
		case errors.Is(err, context.Canceled):
			return dialCanceled{}
		}
	}
	return err
}

// dialTimeout and dialCanceled are the end of a dial's context, as net puts it.
type (
	dialTimeout  struct{}
	dialCanceled struct{}
)

func (dialTimeout) Error() string         { return "i/o timeout" }
func (dialTimeout) Timeout() bool         { return true }
func (dialTimeout) Temporary() bool       { return true }
func (dialTimeout) Is(target error) bool  { return target == context.DeadlineExceeded }
func (dialCanceled) Error() string        { return "operation was canceled" }
func (dialCanceled) Is(target error) bool { return target == context.Canceled }

// dialWith connects an FD that socket makes. It returns the FD, or the error and
// the address it is about.
func (b *Backend) dialWith(ctx context.Context, network, address string, socket func() *fd.FD) (f *fd.FD, addr net.Addr, err error) {
	if err := b.impl.away(func() { f, addr, err = b.dial(ctx, network, address, socket) }); err != nil {
		return nil, nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return f, addr, err
}

func (b *Backend) dial(ctx context.Context, network, address string, socket func() *fd.FD) (*fd.FD, net.Addr, error) {
	ctx, trace := traced(ctx)
	addrs, err := resolveDial(trace.lookUp(ctx), b.dialing.Resolver, network, address)
	if err == nil {
		addrs, err = from(b.dialing.LocalAddr, addrs)
	}
	if err != nil {
		return nil, nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	d := dialer{network: network, trace: trace, socket: socket}
	primaries, fallbacks := byFamily(addrs)
	if len(fallbacks) == 0 {
		return d.each(ctx, primaries)
	}
	return d.both(ctx, primaries, fallbacks)
}

// dialer is one Dial, whose name has been looked up.
type dialer struct {
	network string
	trace   dialTrace
	socket  func() *fd.FD
}

// each tries one address after the other and keeps the first error.
func (d *dialer) each(ctx context.Context, addrs []net.Addr) (*fd.FD, net.Addr, error) {
	var firstErr error
	var firstAddr net.Addr
	for i, addr := range addrs {
		attempt, cancel := shareOfDeadline(ctx, len(addrs)-i)
		f := d.socket()
		done := d.trace.connect(d.network, addr)
		err := f.Connect(attempt, addr)
		done(err)
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

// both races the families. The loser is cancelled, waited for and closed.
func (d *dialer) both(ctx context.Context, primaries, fallbacks []net.Addr) (*fd.FD, net.Addr, error) {
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
		f, addr, err := d.each(ctx, addrs)
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

// from returns those of addrs that local can connect to, as net does: of the family of
// local. At least one is left.
func from(local net.Addr, addrs []net.Addr) ([]net.Addr, error) {
	if local == nil {
		return addrs, nil
	}
	var fit []net.Addr
	var unfit error
	for _, a := range addrs {
		if err := fd.CheckConnect(local, a); err == nil {
			fit = append(fit, a)
		} else if unfit == nil {
			unfit = err
		}
	}
	if len(fit) == 0 {
		return nil, unfit
	}
	return fit, nil
}

// resolveDial returns the addresses to connect to, at least one.
func resolveDial(ctx context.Context, r *net.Resolver, network, address string) ([]net.Addr, error) {
	if err := checkNetwork(network); err != nil {
		return nil, err
	}
	if address == "" {
		return nil, &net.AddrError{Err: "missing address"} // as net has it
	}
	if network == "unix" {
		return []net.Addr{&net.UnixAddr{Name: address, Net: network}}, nil
	}
	addrs, err := resolveTCP(ctx, r, network, address)
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
	addrs, err := resolveTCP(ctx, nil, network, address)
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

// resolveTCP resolves host and port; an empty host gives one address without an IP. A
// nil resolver is that of net.
func resolveTCP(ctx context.Context, r *net.Resolver, network, address string) ([]*net.TCPAddr, error) {
	if r == nil {
		r = net.DefaultResolver
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := r.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return []*net.TCPAddr{{Port: port}}, nil
	}
	ips, err := lookUp(ctx, r, network, host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 1 && ips[0] == netip.IPv6Unspecified() { // as net does: golang/go#18806
		ips = append(ips, netip.IPv4Unspecified())
	}
	var addrs []*net.TCPAddr
	for _, ip := range ips {
		if network == "tcp4" && !ip.Is4() || network == "tcp6" && ip.Is4() {
			continue
		}
		addrs = append(addrs, &net.TCPAddr{IP: ip.AsSlice(), Port: port, Zone: ip.Zone()})
	}
	if len(addrs) == 0 {
		return nil, &net.AddrError{Err: "no suitable address for " + network, Addr: address}
	}
	return addrs, nil
}

// lookUp asks only for addresses of the network's family: a server that does not answer
// the other question would cost its time-out.
func lookUp(ctx context.Context, r *net.Resolver, network, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil // with its zone, which a look-up loses
	}
	ips, err := r.LookupNetIP(ctx, "ip"+strings.TrimPrefix(network, "tcp"), host)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, err
}
