package conformance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/leak"
)

// serveWith serves connections to the listener that it returns, until stop is
// called or the test ends. stop ends the context, and returns what Serve does.
func (e *Env) serveWith(t testing.TB, h fd.Handler) (l *accept.Listener, stop func() error) {
	t.Helper()
	l = e.Listen(t, defaultConfig)
	ctx, cancel := context.WithCancel(context.Background())
	ended := async(func() error { return e.Backend.Serve(ctx, l, h) })
	stop = sync.OnceValue(func() error {
		cancel()
		return await(t, ended, "the end of Serve")
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l, stop
}

// peerOf connects to l by package net, until the end of the test.
func (e *Env) peerOf(t testing.TB, l *accept.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(e.Network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// blocking is a handler in blocking style that reports an error.
func blocking(reports chan<- error, serve func(f *fd.FD) error) fd.Handler {
	return fd.Handler{Blocking: func(f *fd.FD) { reports <- serve(f) }}
}

// wantReport waits for what a handler reports.
func wantReport(t testing.TB, reports <-chan error) {
	t.Helper()
	if err := await(t, reports, "the handler's report"); err != nil {
		t.Error(err)
	}
}

// style is a handler in one of the two styles.
type style struct {
	name    string
	handler fd.Handler
}

// echoes are echo handlers in both styles.
func echoes() []style {
	return []style{{"blocking", blockingEcho()}, {"data", dataEcho()}}
}

func blockingEcho() fd.Handler {
	return fd.Handler{Blocking: func(f *fd.FD) {
		buf := make([]byte, 32<<10)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if _, err := f.Write(buf[:n]); err != nil {
				return
			}
		}
	}}
}

func dataEcho() fd.Handler {
	return fd.Handler{Data: func(f *fd.FD, data []byte) {
		if _, err := f.Write(data); err != nil {
			_ = f.CloseWithReason(err)
		}
	}}
}

// wantEcho sends data and wants it back.
func wantEcho(c net.Conn, data []byte) error {
	sent := async(func() error {
		_, err := c.Write(data)
		return err
	})
	got := make([]byte, len(data))
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("%d of %d bytes came back: %w", n, len(data), err)
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%d other bytes came back", len(data))
	}
	return <-sent
}

// wantAll reads to the end of file and wants exactly this.
func wantAll(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != want {
		t.Errorf("the peer read %d bytes %.40q, %v; want %d bytes %.40q", len(got), got, err, len(want), want)
	}
}

// serveCases are about Serve and DialServe in both styles.
var serveCases = []Case{
	{Name: "ServeEcho", Core: true, Run: serveEcho},
	{Name: "ServeEndBehindData", Core: true, Run: serveEndBehindData},
	{Name: "ServeRefusedWritev", Core: true, Run: serveRefusedWritev},
	{Name: "ServeWriteThenClose", Core: true, Run: func(t *testing.T, e *Env) {
		message := pattern(300 << 10)
		handlers := []style{
			{"blocking, Close", fd.Handler{Blocking: func(f *fd.FD) {
				_, _ = f.Write(message)
				_ = f.Close()
			}}},
			{"blocking, return", fd.Handler{Blocking: func(f *fd.FD) { _, _ = f.Write(message) }}},
			{"blocking, small, return", fd.Handler{Blocking: func(f *fd.FD) {
				for rest := message; len(rest) > 0; {
					n := min(1000, len(rest))
					_, _ = f.Write(rest[:n])
					rest = rest[n:]
				}
			}}},
			{"data, Close", fd.Handler{Data: func(f *fd.FD, _ []byte) {
				_, _ = f.Write(message)
				_ = f.Close()
			}}},
			{"open, Close", fd.Handler{Data: func(*fd.FD, []byte) {}, Open: func(f *fd.FD) {
				_, _ = f.Write(message)
				_ = f.Close()
			}}},
		}
		for _, h := range handlers {
			t.Run(h.name, func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				c := e.peerOf(t, l)
				if h.name == "data, Close" {
					write(t, c, "x")
				}
				wantAll(t, c, string(message))
			})
		}
	}},
	{Name: "ServeDeadlines", Core: true, Run: serveDeadlines},
	{Name: "ServeSlowReader", Core: true, Run: func(t *testing.T, e *Env) {
		const size = 8 << 20
		data := pattern(size)
		reports := make(chan error, 1)
		l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) error {
			n, err := f.Write(data)
			if n != size || err != nil || f.Stats().Written != size {
				return fmt.Errorf("Write = %d, %v; Stats = %+v", n, err, f.Stats())
			}
			return nil
		}))
		got := make([]byte, size)
		c := e.peerOf(t, l)
		if _, err := io.ReadFull(slowReader{c}, got); err != nil {
			t.Fatal(err)
		}
		checkPattern(t, got, size)
		wantReport(t, reports)
	}},
	{Name: "ServeOtherConnections", Core: true, Run: serveOtherConnections},
	{Name: "ServeFromGoroutines", Core: true, Run: func(t *testing.T, e *Env) {
		opened := make(chan *fd.FD, 1)
		ended := make(chan error, 1)
		l, _ := e.serveWith(t, fd.Handler{
			Open: func(f *fd.FD) { opened <- f },
			Data: func(*fd.FD, []byte) {},
			End:  func(f *fd.FD, err error) { ended <- err },
		})
		c := e.peerOf(t, l)
		f := await(t, opened, "Open")
		data := pattern(4 << 20) // beyond the limit of a data handler: a goroutine waits
		w := goWrite(f, data)
		got := make([]byte, len(data))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		checkPattern(t, got, len(data))
		if r := await(t, w, "the end of Write"); r.n != len(data) || r.err != nil {
			t.Errorf("Write = %d, %v", r.n, r.err)
		}
		if n, err := f.Writev([][]byte{[]byte("a"), []byte("bc")}); n != 3 || err != nil {
			t.Errorf("Writev = %d, %v", n, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wantAll(t, c, "abc")
		wantErr(t, "End", await(t, ended, "End"), "read", fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "ServeOffload", Core: true, Run: serveOffload},
	{Name: "ServeTLS", Core: true, Run: serveTLS},
	{Name: "ServeChurn", Core: true, Run: serveChurn},
	{Name: "ServeAddresses", Core: true, Run: func(t *testing.T, e *Env) {
		reports := make(chan error, 1)
		want := make(chan [2]string, 1)
		l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) (err error) {
			f.Offload(func() {
				if got, want := [2]string{f.LocalAddr().String(), f.RemoteAddr().String()}, <-want; got != want {
					err = fmt.Errorf("the addresses are %q, want %q", got, want)
				}
			})
			return err
		}))
		c := e.peerOf(t, l)
		want <- [2]string{c.RemoteAddr().String(), c.LocalAddr().String()}
		wantReport(t, reports)
	}},
	{Name: "ServeDialled", Core: true, Run: serveDialled},
	{Name: "DialServeRefused", Core: true, Run: func(t *testing.T, e *Env) {
		addr := e.deadAddr(t)
		_, want := e.Backend.Dial(t.Context(), e.Network, addr.String())
		for _, h := range []fd.Handler{
			{Blocking: func(*fd.FD) { t.Error("the handler was called") }},
			{Data: func(*fd.FD, []byte) {}, Open: func(*fd.FD) { t.Error("Open was called") },
				End: func(*fd.FD, error) { t.Error("End was called") }},
		} {
			f, err := e.Backend.DialServe(t.Context(), e.Network, addr.String(), h)
			refused, ok := errors.AsType[*fd.Error](err)
			if f != nil || !ok || refused.Reason != fd.Unexpected || err.Error() != want.Error() {
				t.Fatalf("DialServe = %v, %v; Dial says %v", f, err, want)
			}
			if e.tcp() && refused.Connect != fd.ConnectRefused {
				t.Errorf("DialServe: %v is called %q", err, refused.Connect)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := e.Backend.DialServe(ctx, e.Network, addr.String(), blockingEcho()); !errors.Is(err, context.Canceled) {
			t.Errorf("DialServe under a context that is over: %v", err)
		}
	}},
	{Name: "ServeEvents", Core: true, Run: serveEvents},
	{Name: "ServeAllocatesNothing", Run: func(t *testing.T, e *Env) {
		for _, h := range echoes() {
			t.Run(h.name, func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				c := e.peerOf(t, l)
				message, buf := make([]byte, 64), make([]byte, 64)
				wantNoAllocs(t, func() {
					if _, err := c.Write(message); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(c, buf); err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	}},
}

// serveEcho echoes messages of many sizes over few and many connections.
func serveEcho(t *testing.T, e *Env) {
	for _, h := range append(echoes(), style{"waiting", fd.Handler{Blocking: waitingEcho}}) {
		for _, connections := range []int{1, 50} {
			t.Run(fmt.Sprintf("%s/%d", h.name, connections), func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				var group sync.WaitGroup
				for i := range connections {
					c := e.peerOf(t, l)
					group.Go(func() {
						for _, size := range []int{1, 63, 1000, 4096, 16<<10 + 1, 64 << 10, 1 << 20} {
							if connections > 1 && size == 1<<20 && i > 4 {
								continue // enough of those
							}
							message := pattern(size + i)[i:]
							if err := wantEcho(c, message); err != nil {
								t.Errorf("connection %d, %d bytes: %v", i, size, err)
								return
							}
						}
					})
				}
				await(t, async(func() bool { group.Wait(); return true }), "the end of every echo")
			})
		}
	}
}

// serveDeadlines: deadlines in a handler end calls, and not the connection.
func serveDeadlines(t *testing.T, e *Env) {
	reports := make(chan error, 1)
	timedOut := make(chan int, 2)
	l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) error {
		const d = 20 * time.Millisecond
		timeout := func(op string, n int, err error) error {
			e, ok := errors.AsType[*fd.Error](err)
			if !ok || e.Op != op || e.Reason != fd.None || !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("%s = %d, %v; want an expired deadline", op, n, err)
			}
			return nil
		}
		buf := make([]byte, 16)
		for range 2 {
			start := time.Now()
			if err := f.SetReadDeadline(start.Add(d)); err != nil {
				return err
			}
			n, err := f.Read(buf)
			if err := timeout("read", n, err); err != nil {
				return err
			}
			if took := time.Since(start); took < d {
				return fmt.Errorf("a deadline of %v ended Read after %v", d, took)
			}
		}
		n, err := f.Read(buf) // it stays expired
		if err := timeout("read", n, err); err != nil {
			return err
		}
		if err := f.SetReadDeadline(forever); err != nil {
			return err
		}
		timedOut <- 0
		if n, err := f.Read(buf); err != nil || string(buf[:n]) != "alive" {
			return fmt.Errorf("Read = %q, %v", buf[:n], err)
		}

		if err := f.SetWriteDeadline(time.Now().Add(d)); err != nil {
			return err
		}
		n, err = f.Write(pattern(64 << 20))
		if err := timeout("write", n, err); err != nil {
			return err
		}
		if f.Stats().Written != uint64(n) {
			return fmt.Errorf("Write = %d, Stats = %+v", n, f.Stats())
		}
		if err := f.SetWriteDeadline(forever); err != nil {
			return err
		}
		timedOut <- n
		_, err = f.Write([]byte("more"))
		return err
	}))
	c := e.peerOf(t, l)
	await(t, timedOut, "the end of Read")
	write(t, c, "alive")
	n := await(t, timedOut, "the end of Write")
	wantAll(t, c, string(pattern(n))+"more")
	wantReport(t, reports)
}

// serveOtherConnections: a handler writes to and closes connections that other
// handlers serve, on its own loop and on another.
func serveOtherConnections(t *testing.T, e *Env) {
	const connections = 4
	for _, loops := range []int{1, 2} {
		for _, data := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d loops, data %v", loops, data), func(t *testing.T) {
				e := e.With(t, func(o *ringfd.Options) { o.Loops.Count = loops })
				var mu sync.Mutex
				all := make([]*fd.FD, connections)
				// A command is the number of its connection and of the one to write to,
				// or 'x' and the one to close.
				order := func(f *fd.FD, command []byte) {
					mu.Lock()
					if command[0] != 'x' {
						all[command[0]] = f
					}
					other := all[command[1]]
					mu.Unlock()
					if command[0] != 'x' {
						_, _ = other.Write([]byte{'m', command[0]})
						return
					}
					_ = other.Close()
					_, _ = f.Write([]byte("done"))
				}
				ends := make(chan error, connections)
				h := fd.Handler{Blocking: func(f *fd.FD) {
					for {
						command := make([]byte, 2)
						for got := 0; got < 2; {
							n, err := f.Read(command[got:])
							if err != nil {
								ends <- err
								return
							}
							got += n
						}
						order(f, command)
					}
				}}
				if data {
					h = fd.Handler{
						Data: func(f *fd.FD, data []byte) {
							for ; len(data) >= 2; data = data[2:] { // the test sends one at a time
								order(f, data)
							}
						},
						End: func(_ *fd.FD, err error) { ends <- err },
					}
				}
				l, _ := e.serveWith(t, h)
				var peers []net.Conn
				for i := range connections {
					c := e.peerOf(t, l)
					peers = append(peers, c)
					write(t, c, string([]byte{byte(i), byte(i)}))
					read(t, c, string([]byte{'m', byte(i)}))
				}
				for i, from := range peers {
					for j, to := range peers {
						write(t, from, string([]byte{byte(i), byte(j)}))
						read(t, to, string([]byte{'m', byte(i)}))
					}
				}
				for j := 1; j < connections; j++ {
					write(t, peers[0], string([]byte{'x', byte(j)}))
					read(t, peers[0], "done")
					wantAll(t, peers[j], "")
					wantErr(t, "the end", await(t, ends, "the end of a closed connection"), "read", fd.ClosedLocally, net.ErrClosed)
				}
			})
		}
	}
}

// serveOffload: while work waits, the other connections of the loop are served.
func serveOffload(t *testing.T, e *Env) {
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	began, goOn := make(chan struct{}), make(chan struct{})
	boom := errors.New("boom")
	ended := make(chan *fd.FD, 1)
	echo := blockingEcho()
	l, _ := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
		first := make([]byte, 1)
		if _, err := f.Read(first); err != nil {
			return
		}
		switch first[0] {
		case 'w':
			f.Offload(func() { close(began); <-goOn })
			_, _ = f.Write([]byte("waited"))
		case 'p':
			ended <- f
			f.Offload(func() { panic(boom) })
		default:
			_, _ = f.Write(first)
			echo.Blocking(f)
		}
	}})
	waiting := e.peerOf(t, l)
	write(t, waiting, "w")
	await(t, began, "the work")
	other := e.peerOf(t, l)
	if err := wantEcho(other, []byte("served meanwhile")); err != nil {
		t.Error(err)
	}
	close(goOn)
	wantAll(t, waiting, "waited")

	panics := e.peerOf(t, l)
	write(t, panics, "p")
	wantAll(t, panics, "")
	wantPanicked(t, await(t, ended, "the handler"), boom)
	if err := wantEcho(other, []byte("still served")); err != nil {
		t.Error(err)
	}
}

// wantPanicked checks that a handler's panic ended f.
func wantPanicked(t testing.TB, f *fd.FD, value any) {
	t.Helper()
	reason, err := f.Reason()
	p, ok := errors.AsType[*fd.PanicError](err)
	if reason != fd.Unexpected || !ok {
		t.Fatalf("Reason = %q, %v; want Unexpected, a *PanicError", reason, err)
	}
	if p.Value != value || !bytes.Contains(p.Stack, []byte("conformance")) {
		t.Errorf("the handler panicked with %v at\n%s\nwant %v", p.Value, p.Stack, value)
	}
	if cause, ok := value.(error); ok && !errors.Is(err, cause) {
		t.Errorf("errors.Is(%v, %v) is false", err, cause)
	}
}

// serveTLS speaks TLS in blocking handlers, at both ends.
func serveTLS(t *testing.T, e *Env) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"peer"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}

	l, _ := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
		c := tls.Server(f.Conn(), config)
		_, _ = io.Copy(c, struct{ io.Reader }{c})
		_ = c.Close()
	}})
	message := pattern(200 << 10)
	reports := make(chan error, 1)
	_, err = e.Backend.DialServe(t.Context(), e.Network, l.Addr().String(), blocking(reports, func(f *fd.FD) error {
		c := tls.Client(f.Conn(), &tls.Config{RootCAs: roots, ServerName: "peer"})
		defer c.Close()
		for rest := message; len(rest) > 0; {
			n := min(16<<10, len(rest))
			if _, err := c.Write(rest[:n]); err != nil {
				return err
			}
			got := make([]byte, n)
			if _, err := io.ReadFull(c, got); err != nil {
				return err
			}
			if !bytes.Equal(got, rest[:n]) {
				return errors.New("other bytes came back")
			}
			rest = rest[n:]
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	wantReport(t, reports)
}

// serveChurn opens and closes many connections, and looks for what they left.
func serveChurn(t *testing.T, e *Env) {
	connections := 2000
	if e.Row.Core || raceEnabled {
		connections = 400
	}
	for _, h := range echoes() {
		t.Run(h.name, func(t *testing.T) {
			leak.Check(t)
			e := e.With(t)
			l, stop := e.serveWith(t, h.handler)
			var next atomic.Int64
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					for next.Add(1) <= int64(connections) {
						c, err := net.Dial(e.Network, l.Addr().String())
						if err != nil {
							t.Error(err)
							return
						}
						_ = c.SetDeadline(time.Now().Add(patience))
						if err := wantEcho(c, []byte("hello")); err != nil {
							t.Error(err)
						}
						_ = c.Close()
					}
				})
			}
			group.Wait()
			if err := stop(); err != nil {
				t.Error(err)
			}
			left := e.Backend.Stats().Sockets
			for end := time.Now().Add(patience); left != 0 && time.Now().Before(end); left = e.Backend.Stats().Sockets {
				time.Sleep(time.Millisecond) // a loop's counts are those of its last turn
			}
			if left != 0 {
				t.Errorf("%d sockets are left", left)
			}
		})
	}
}

// serveDialled serves dialled connections, in both styles, to a peer of net's.
func serveDialled(t *testing.T, e *Env) {
	for _, h := range echoes() {
		t.Run(h.name, func(t *testing.T) {
			l, err := net.Listen(e.Network, e.Address(t))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ctx, cancel := context.WithCancel(t.Context())
			f, err := e.Backend.DialServe(ctx, e.Network, l.Addr().String(), h.handler)
			if err != nil {
				t.Fatal(err)
			}
			cancel() // which bounds the connecting only
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			if err := wantEcho(c, pattern(100<<10)); err != nil {
				t.Error(err)
			}
			write(t, f, "by anyone")
			read(t, c, "by anyone")
			if err := f.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			wantAll(t, c, "")
		})
	}
}

// serveEvents: events tell of a served connection as of any other.
func serveEvents(t *testing.T, e *Env) {
	for _, h := range echoes() {
		t.Run(h.name, func(t *testing.T) {
			var read, written, lastRead, lastWritten, created, accepted atomic.Uint64
			closed := make(chan fd.Closed, 2)
			e := e.With(t, func(o *ringfd.Options) {
				o.Events = &fd.Events{
					Create: func(uint64) { created.Add(1) },
					Accept: func(uint64, string) { accepted.Add(1) },
					Read: func(_ uint64, n int, total uint64) {
						read.Add(uint64(n))
						lastRead.Store(total)
					},
					Written: func(_ uint64, n int, total uint64) {
						written.Add(uint64(n))
						lastWritten.Store(total)
					},
					Close: func(c fd.Closed) { closed <- c },
				}
			})
			l, stop := e.serveWith(t, h.handler)
			c := e.peerOf(t, l)
			const size = 100 << 10
			if err := wantEcho(c, pattern(size)); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			got := await(t, closed, "the event of the end")
			if err := stop(); err != nil {
				t.Error(err)
			}
			if got.Stats != (fd.Stats{Read: size, Written: size}) || got.Cause.Reason != fd.ClosedByPeer {
				t.Errorf("the end says %+v, %v; want %d each way, closed by the peer", got.Stats, got.Cause, size)
			}
			for name, n := range map[string]uint64{"read": read.Load(), "written": written.Load(),
				"the last total read": lastRead.Load(), "the last total written": lastWritten.Load()} {
				if n != size {
					t.Errorf("%s: %d, want %d", name, n, size)
				}
			}
			if created.Load() != 1 || accepted.Load() != 1 || len(closed) != 0 {
				t.Errorf("created %d, accepted %d, closed %d more times", created.Load(), accepted.Load(), len(closed))
			}
		})
	}
}

// serveEndBehindData has the last bytes and the end of file be there, and the loop
// be told of both, before the handler goes on to read. It receives much at a time by
// then.
func serveEndBehindData(t *testing.T, e *Env) {
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	const much, last = 256 << 10, 100
	reports, there, goOn := make(chan error, 1), make(chan struct{}), make(chan struct{})
	l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) error {
		if _, err := io.ReadFull(plainReader{f}, make([]byte, much)); err != nil {
			return err
		}
		f.Offload(func() {
			close(there)
			<-goOn
		})
		if got, err := io.ReadAll(plainReader{f}); len(got) != last || err != nil {
			return fmt.Errorf("the rest: %d bytes, %v; want %d and the end of file", len(got), err, last)
		}
		return nil
	}))
	echo, _ := e.serveWith(t, blockingEcho())
	other := e.peerOf(t, echo)
	turns := func() { // of the loop, which serves both
		for range 5 {
			write(t, other, "x")
			read(t, other, "x")
		}
	}
	peer := e.peerOf(t, l)
	write(t, peer, string(make([]byte, much)))
	await(t, there, "the handler has what was sent")
	turns()
	write(t, peer, string(make([]byte, last)))
	turns()
	if err := peer.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	turns()
	close(goOn)
	wantReport(t, reports)
}

// serveRefusedWritev: what a Writev to a connection of another loop has left behind,
// when it was refused, is not sent by the handler's next Write.
func serveRefusedWritev(t *testing.T, e *Env) {
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 2 })
	message := pattern(beyondBuffers)
	reports := make(chan error, 1)
	var first atomic.Pointer[fd.FD]
	begun := make(chan struct{}, 1)
	l, _ := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
		if first.CompareAndSwap(nil, f) {
			begun <- struct{}{}
			_ = f.WaitRead() // until the test ends
			return
		}
		other := first.Load()
		if err := other.SetWriteDeadline(past); err != nil {
			reports <- err
			return
		}
		n, err := other.Writev([][]byte{make([]byte, 50<<10), make([]byte, 50<<10)})
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			reports <- fmt.Errorf("Writev = %d, %v; want an expired deadline", n, err)
			return
		}
		_, err = f.Write(message)
		reports <- err
	}})
	_ = e.peerOf(t, l)
	await(t, begun, "the first handler")
	c := e.peerOf(t, l)
	got := make([]byte, len(message))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Errorf("%d bytes: %v", n, err)
	}
	wantReport(t, reports)
	if !bytes.Equal(got, message) {
		t.Error("other bytes than those of the Write have come")
	}
}
