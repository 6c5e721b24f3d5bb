package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// link is a network of two hosts: a TUN device in each of two network namespaces,
// and what carries packets between them, as badly as it is told to. It does what
// netem does and needs no module of the kernel for that.
type link struct {
	near, far host
	mu        sync.Mutex
	random    *rand.Rand
	quality   atomic.Pointer[quality]
	carried   atomic.Int64
	lost      atomic.Int64
	carriers  sync.WaitGroup
	flying    sync.WaitGroup
}

// quality says what happens to packets.
type quality struct {
	loss, double  float64       // how likely it is
	delay, jitter time.Duration // jitter lets packets overtake each other
	cut           bool
}

// host is one end: a namespace, and the thread that lives in it.
type host struct {
	address string
	tun     *os.File
	name    string
	socket  int
	do      chan func()
}

// newLink makes a link, or skips the test.
func newLink(t *testing.T) *link {
	t.Helper()
	l := &link{random: rand.New(rand.NewPCG(seed, 0))}
	l.quality.Store(new(quality))
	for i, h := range []*host{&l.near, &l.far} {
		h.do = make(chan func())
		h.address = fmt.Sprintf("10.98.76.%d", i+1)
		made := make(chan error)
		go h.live(made)
		err := <-made
		t.Cleanup(func() { close(h.do) })
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
			t.Skipf("%v; root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun, would make this run", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.carriers.Go(func() { l.carry(l.near.tun, l.far.tun) })
	l.carriers.Go(func() { l.carry(l.far.tun, l.near.tun) })
	t.Cleanup(func() {
		_ = l.near.tun.Close()
		_ = l.far.tun.Close()
		l.carriers.Wait()
		l.flying.Wait()
		_ = unix.Close(l.near.socket)
		_ = unix.Close(l.far.socket)
	})
	return l
}

// live runs what is to be done in the namespace, until there is no more to do. The
// thread ends with it, and the namespace when its sockets have.
func (h *host) live(made chan<- error) {
	runtime.LockOSThread()
	made <- h.make()
	for f := range h.do {
		f()
	}
}

func (h *host) make() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq("ringfd0")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, request); err != nil {
		_ = unix.Close(tun)
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	h.tun, h.name = os.NewFile(uintptr(tun), "tun"), request.Name()
	if h.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	for _, address := range []struct {
		call uint
		ip   net.IP
	}{{unix.SIOCSIFADDR, net.ParseIP(h.address)}, {unix.SIOCSIFNETMASK, net.IPv4(255, 255, 255, 0)}} {
		if request, err = unix.NewIfreq(h.name); err != nil {
			return err
		}
		if err := request.SetInet4Addr(address.ip.To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(h.socket, address.call, request); err != nil {
			return fmt.Errorf("an address for %s: %w", h.name, err)
		}
	}
	return h.setUp(true)
}

// setUp is `ip link set up`, or down.
func (h *host) setUp(up bool) error {
	request, err := unix.NewIfreq(h.name)
	if err != nil {
		return err
	}
	if up {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	}
	if err := unix.IoctlIfreq(h.socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("SIOCSIFFLAGS: %w", err)
	}
	return nil
}

// in runs f in the namespace, and waits for it.
func (h *host) in(f func() error) error {
	done := make(chan error)
	h.do <- func() { done <- f() }
	return <-done
}

// carry moves packets from one end to the other until the first is closed.
func (l *link) carry(from, to *os.File) {
	packet := make([]byte, 64<<10)
	for {
		n, err := from.Read(packet)
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				return
			}
			time.Sleep(time.Millisecond) // it is down
			continue
		}
		q := l.quality.Load()
		for range l.copies(q) {
			l.send(append([]byte(nil), packet[:n]...), to, l.wait(q))
		}
	}
}

// copies says how many of a packet arrive.
func (l *link) copies(q *quality) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch chance := l.random.Float64(); {
	case q.cut, chance < q.loss:
		l.lost.Add(1)
		return 0
	case chance < q.loss+q.double:
		return 2
	}
	return 1
}

func (l *link) wait(q *quality) time.Duration {
	if q.jitter == 0 {
		return q.delay
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return q.delay + time.Duration(l.random.Int64N(int64(q.jitter)))
}

func (l *link) send(packet []byte, to *os.File, after time.Duration) {
	arrive := func() {
		_, _ = to.Write(packet)
		l.carried.Add(1)
	}
	if after == 0 {
		arrive()
		return
	}
	l.flying.Add(1)
	time.AfterFunc(after, func() {
		defer l.flying.Done()
		arrive()
	})
}

// TestBadLink echoes over a link that delays, loses, doubles and reorders.
func TestBadLink(t *testing.T) {
	guard(t)
	l := newLink(t)
	for _, s := range styles {
		t.Run(s.name, func(t *testing.T) {
			for _, q := range []quality{
				{delay: time.Millisecond, jitter: 2 * time.Millisecond},
				{loss: 0.02, double: 0.02, delay: 200 * time.Microsecond, jitter: 300 * time.Microsecond},
			} {
				l.quality.Store(&q)
				site := s.open(t)
				if err := l.far.in(func() error { return site.serve(l.far.address+":0", accept.Config{}) }); err != nil {
					t.Fatal(err)
				}
				rounds(func() {
					if err := l.exchange(site, 4, 128<<10); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
	l.quality.Store(new(quality))
	t.Logf("%d packets arrived, %d were lost", l.carried.Load(), l.lost.Load())
	if l.lost.Load() == 0 {
		t.Error("no packet was lost")
	}
}

// exchange is site.exchange from the near host: connecting is done on its thread.
func (l *link) exchange(s *site, clients, total int) error {
	ends := make(chan error, clients)
	var err error
	for range clients {
		var f *fd.FD
		dialled := l.near.in(func() (err error) {
			f, err = s.dial()
			return err
		})
		if dialled != nil {
			ends <- dialled
			continue
		}
		random := s.random()
		go func() {
			defer f.Close()
			ends <- s.stream(f, random, total).duplex(random)
		}()
	}
	for range clients {
		err = errors.Join(err, <-ends)
	}
	return err
}

// TestLinkIsCut has the link between two hosts go away under traffic, in two ways.
// Both ends find out, and call it lost.
func TestLinkIsCut(t *testing.T) {
	guard(t)
	ways := []struct {
		name string
		cut  func(l *link) error
	}{
		{"blackhole", func(l *link) error { l.quality.Store(&quality{cut: true}); return nil }},
		{"down", func(l *link) error { return errors.Join(l.near.setUp(false), l.far.setUp(false)) }},
	}
	var links []*link
	var waits []func()
	for _, way := range ways { // all at once, since it takes a while to be noticed
		l := newLink(t)
		links = append(links, l)
		for _, s := range styles {
			if wait := l.beginCut(t, s, way.name); wait != nil {
				waits = append(waits, wait)
			}
		}
	}
	for i, way := range ways {
		if err := way.cut(links[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, wait := range waits {
		wait()
	}
}

// beginCut connects clients of a style and has them echo until they are lost. What it
// returns waits for that.
func (l *link) beginCut(t *testing.T, st style, way string) (wait func()) {
	const clients = 3
	// Noticed by who sends in about this time, by who waits in about two seconds.
	const timeout = 600 * time.Millisecond
	alive := net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}
	site, err := st.begin(func(o *ringfd.Options) { o.Dial = fd.DialConfig{KeepAlive: alive, UserTimeout: timeout} })
	if err != nil {
		t.Logf("%s: %v", st.name, err)
		return nil
	}
	t.Cleanup(func() {
		if err := site.end(); err != nil {
			t.Errorf("%s: %v", st.name, err)
		}
	})
	err = l.far.in(func() error {
		return site.serve(l.far.address+":0", accept.Config{KeepAlive: alive, UserTimeout: timeout})
	})
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, clients)
	for i := range clients {
		var f *fd.FD
		err := l.near.in(func() (err error) {
			f, err = site.dial()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		begun := make(chan struct{})
		go func() { ends <- untilLost(f, pattern(i), begun) }()
		<-begun
	}
	return func() {
		for range clients {
			err := <-ends
			e, ok := errors.AsType[*fd.Error](err)
			if !ok || e.Reason != fd.Lost {
				t.Errorf("%s, %s: a client ended with %v, want the reason %q", way, st.name, err, fd.Lost)
			}
			t.Logf("%s, %s: %v", way, st.name, err)
		}
		for site.ended[fd.Lost].Load() < 2*clients { // the guard's patience ends it
			time.Sleep(time.Millisecond)
		}
	}
}

// untilLost echoes small messages until that fails, and says why. It closes begun
// after the first.
func untilLost(f *fd.FD, bytes pattern, begun chan struct{}) error {
	var message [8]byte
	for i := uint64(0); ; i++ {
		binary.BigEndian.PutUint64(message[:], i+uint64(bytes)<<32)
		sent := message
		if _, err := f.Write(sent[:]); err != nil {
			return err
		}
		for got := 0; got < len(message); {
			n, err := f.Read(sent[got:])
			if err != nil {
				return err
			}
			got += n
		}
		if sent != message {
			return fmt.Errorf("%x came back as %x", message, sent)
		}
		if i == 0 {
			close(begun)
		}
	}
}
