package ringfd_test

import (
	"bufio"
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
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// TestMethodsOfTCPConn: type assertions that succeed on a *net.TCPConn do so on
// an *fd.Conn.
func TestMethodsOfTCPConn(t *testing.T) {
	has := func(ours, theirs reflect.Type) {
		for m := range theirs.Methods() {
			got, ok := ours.MethodByName(m.Name)
			if !ok {
				t.Errorf("%v has no %s", ours, m.Name)
				continue
			}
			if !sameCall(got.Type, m.Type) {
				t.Errorf("%v.%s is %v, and %v has %v", ours, m.Name, got.Type, theirs, m.Type)
			}
		}
	}
	has(reflect.TypeFor[*fd.Conn](), reflect.TypeFor[*net.TCPConn]())
	has(reflect.TypeFor[*fd.Conn](), reflect.TypeFor[net.Conn]())
	has(reflect.TypeFor[*accept.NetListener](), reflect.TypeFor[net.Listener]())
}

// sameCall compares method types, receivers apart.
func sameCall(a, b reflect.Type) bool {
	first := func(t reflect.Type) int { // the receiver, which interfaces do not list
		if t.NumIn() > 0 && t.In(0).Kind() == reflect.Pointer {
			return 1
		}
		return 0
	}
	if a.NumIn()-first(a) != b.NumIn()-first(b) || a.NumOut() != b.NumOut() {
		return false
	}
	for i := range a.NumIn() - first(a) {
		if a.In(i+first(a)) != b.In(i+first(b)) {
			return false
		}
	}
	for i := range a.NumOut() {
		if a.Out(i) != b.Out(i) {
			return false
		}
	}
	return true
}

// netPair returns a connection of two net views and its listener.
func netPair(t *testing.T, b *ringfd.Backend) (client, server net.Conn, l net.Listener) {
	t.Helper()
	l = netListen(t, b)
	client, err := b.DialContext(t.Context(), "tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server, l
}

func netListen(t *testing.T, b *ringfd.Backend) net.Listener {
	t.Helper()
	l, err := b.Listen(t.Context(), "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.NetListener()
}

// wantOpError checks that err itself is a *net.OpError of this op.
func wantOpError(t *testing.T, err error, op string) *net.OpError {
	t.Helper()
	opErr, ok := err.(*net.OpError) // users assert on the outermost value
	if !ok {
		t.Fatalf("%v (%T), want a *net.OpError", err, err)
	}
	if opErr.Op != op || opErr.Net == "" || opErr.Addr == nil {
		t.Errorf("%#v, want op %q with network and address", opErr, op)
	}
	return opErr
}

// TestNetErrors: the errors that users of net look for, in the forms in which
// they look.
func TestNetErrors(t *testing.T) {
	eachFullRow(t, func(t *testing.T, row conformance.Row) {
		t.Run("EOF", func(t *testing.T) {
			client, server, _ := netPair(t, row.Open(t))
			_ = client.Close()
			if _, err := server.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("Read: %v (%T), want io.EOF itself", err, err)
			}
			if _, err := io.ReadFull(server, make([]byte, 1)); err != io.EOF {
				t.Errorf("io.ReadFull: %v", err)
			}
			if b, err := io.ReadAll(server); len(b) != 0 || err != nil {
				t.Errorf("io.ReadAll: %q, %v", b, err)
			}
		})
		t.Run("Closed", func(t *testing.T) {
			client, _, l := netPair(t, row.Open(t))
			_ = client.Close()
			_, read := client.Read(make([]byte, 1))
			_, write := client.Write([]byte("x"))
			for op, err := range map[string]error{"read": read, "write": write, "set": client.SetDeadline(time.Now())} {
				wantOpError(t, err, op)
				if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "use of closed network connection") {
					t.Errorf("%s: %v, want net.ErrClosed and its text", op, err)
				}
				if netErr := err.(net.Error); netErr.Timeout() {
					t.Errorf("%s: Timeout() of %v is true", op, err)
				}
			}
			again := client.Close()
			wantOpError(t, again, "close")
			if !errors.Is(again, net.ErrClosed) {
				t.Errorf("second Close: %v, want net.ErrClosed as net has it", again)
			}
			_ = l.Close()
			_, err := l.Accept()
			wantOpError(t, err, "accept")
			if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "use of closed network connection") {
				t.Errorf("Accept: %v, want net.ErrClosed and its text", err)
			}
			if netErr := err.(net.Error); netErr.Temporary() || netErr.Timeout() {
				t.Errorf("Temporary() or Timeout() of %v is true", err)
			}
		})
		t.Run("Deadline", func(t *testing.T) {
			client, _, l := netPair(t, row.Open(t))
			past := time.Unix(1, 0)
			_ = client.SetDeadline(past)
			_, read := client.Read(make([]byte, 1))
			_, write := client.Write([]byte("x"))
			_ = l.(*accept.NetListener).SetDeadline(past)
			_, acc := l.Accept()
			for op, err := range map[string]error{"read": read, "write": write, "accept": acc} {
				wantOpError(t, err, op)
				if netErr := err.(net.Error); !netErr.Timeout() || !netErr.Temporary() {
					t.Errorf("%s: Timeout() or Temporary() of %v is false", op, err)
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v, want os.ErrDeadlineExceeded alone", op, err)
				}
				if !strings.Contains(err.Error(), "i/o timeout") {
					t.Errorf("%s: %v, want the words i/o timeout", op, err)
				}
			}
		})
		t.Run("Reset", func(t *testing.T) {
			client, server, _ := netPair(t, row.Open(t))
			_ = client.(*fd.Conn).SetLinger(0)
			_ = client.Close()
			_, err := server.Read(make([]byte, 1))
			wantOpError(t, err, "read")
			if e, ok := errors.AsType[*fd.Error](err); !ok || e.Reason != fd.Lost || !fd.PeerClosed(err) {
				t.Errorf("%v holds no *fd.Error with Lost, by the peer", err)
			}
			if errors.Is(err, net.ErrClosed) || err.(net.Error).Timeout() || err.(net.Error).Temporary() {
				t.Errorf("%v says what it is not", err)
			}
			if _, ok := errors.AsType[*os.SyscallError](err); !ok {
				t.Errorf("%v holds no *os.SyscallError", err)
			}
			if errno, ok := errors.AsType[syscall.Errno](err); !ok || !isWindows && errno != syscall.ECONNRESET {
				t.Errorf("%v holds errno %v", err, errno)
			}
		})
		t.Run("Refused", func(t *testing.T) {
			b := row.Open(t)
			_, server, l := netPair(t, b)
			_ = l.Close()
			_, err := b.DialContext(t.Context(), "tcp4", server.RemoteAddr().String())
			wantOpError(t, err, "dial")
			if !isWindows && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%v, want ECONNREFUSED", err)
			}
			_, want := net.Dial("tcp4", server.RemoteAddr().String())
			if err.Error() != want.Error() {
				t.Errorf("the text is %q, net's %q", err, want)
			}
			if e, ok := err.(*net.OpError).Err.(*os.SyscallError); !ok || !isWindows && e.Syscall != "connect" {
				t.Errorf("the cause is %#v, want an *os.SyscallError of connect as net has it", err.(*net.OpError).Err)
			}
		})
		t.Run("DialCanceled", func(t *testing.T) {
			b := row.Open(t)
			l := netListen(t, b)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := b.DialContext(ctx, "tcp4", l.Addr().String())
			wantOpError(t, err, "dial")
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
			var d net.Dialer
			if _, want := d.DialContext(ctx, "tcp4", l.Addr().String()); err.Error() != want.Error() {
				t.Errorf("the text is %q, net's %q", err, want)
			}
		})
		t.Run("DialTimeout", func(t *testing.T) {
			b := row.Open(t)
			l := netListen(t, b)
			ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
			defer cancel()
			_, err := b.DialContext(ctx, "tcp4", l.Addr().String())
			wantOpError(t, err, "dial")
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v, want context.DeadlineExceeded alone", err)
			}
			if !err.(net.Error).Timeout() || !err.(net.Error).Temporary() {
				t.Errorf("Timeout() or Temporary() of %v is false", err)
			}
			var d net.Dialer
			if _, want := d.DialContext(ctx, "tcp4", l.Addr().String()); err.Error() != want.Error() {
				t.Errorf("the text is %q, net's %q", err, want)
			}
		})
		t.Run("DialNonsense", func(t *testing.T) {
			b := row.Open(t)
			for _, bad := range []struct{ network, address string }{{"udp", "127.0.0.1:1"}, {"tcp", "no port"}, {"tcp", ""}, {"unix", ""}} {
				_, err := b.DialContext(t.Context(), bad.network, bad.address)
				if _, ok := err.(*net.OpError); !ok {
					t.Errorf("DialContext(%q, %q): %v (%T), want a *net.OpError", bad.network, bad.address, err, err)
				}
			}
		})
	})
}

// TestDialTrace: httptrace's hooks are told what net's Dialer tells them, once, and of
// no connect to a name server.
func TestDialTrace(t *testing.T) {
	type dial func(context.Context, string, string) (net.Conn, error)
	told := func(t *testing.T, dial dial, network, address string) (events []string) {
		var mu sync.Mutex
		add := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprintf(format, args...))
		}
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			DNSStart:     func(i httptrace.DNSStartInfo) { add("look up %s", i.Host) },
			DNSDone:      func(i httptrace.DNSDoneInfo) { add("looked up %v, %v", i.Addrs, i.Err) },
			ConnectStart: func(network, address string) { add("connect %s %s", network, address) },
			ConnectDone: func(network, address string, err error) {
				_, isOp := err.(*net.OpError)
				add("connected %s %s, %v, an OpError: %v", network, address, err, isOp)
			},
		})
		if c, err := dial(ctx, network, address); err == nil {
			_ = c.Close()
		}
		return events
	}
	eachFullRow(t, func(t *testing.T, row conformance.Row) {
		r := conformance.Resolver(t, netip.MustParseAddr("127.0.0.1"))
		b := row.Open(t, func(o *ringfd.Options) { o.Dial.Resolver = r })
		l := netListen(t, b)
		dead := conformance.DeadAddr(t, "tcp4").String()
		plain := net.Dialer{Resolver: r}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, d := range []struct{ network, address string }{
			{"tcp", l.Addr().String()}, {"tcp4", l.Addr().String()}, {"tcp4", dead},
			{"tcp4", "name.test.:" + port}, {"unix", "/no/such/socket"},
		} {
			got, want := told(t, b.DialContext, d.network, d.address), told(t, plain.DialContext, d.network, d.address)
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("dialling %s %s told\n%q, and net\n%q", d.network, d.address, got, want)
			}
		}
	})
}

// TestHTTPTrace: a client of net/http over DialContext tells its hooks of the connect.
func TestHTTPTrace(t *testing.T) {
	eachFullRow(t, func(t *testing.T, row conformance.Row) {
		b := row.Open(t)
		url, _ := server(t, b, func(w http.ResponseWriter, r *http.Request) {})
		var starts, ends atomic.Int32
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			ConnectStart: func(string, string) { starts.Add(1) },
			ConnectDone:  func(string, string, error) { ends.Add(1) },
		})
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		r, err := client(t, b).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if starts.Load() != 1 || ends.Load() != 1 {
			t.Errorf("told of %d connects, and %d ends, want one", starts.Load(), ends.Load())
		}
	})
}

// server runs an http.Server over the backend until the end of the test.
func server(t *testing.T, b *ringfd.Backend, handler http.HandlerFunc) (url string, s *http.Server) {
	t.Helper()
	l := netListen(t, b)
	s = &http.Server{Handler: handler}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + l.Addr().String(), s
}

func client(t *testing.T, b *ringfd.Backend) *http.Client {
	transport := &http.Transport{DialContext: b.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestHTTP runs net/http over both ends.
func TestHTTP(t *testing.T) {
	eachFullRow(t, func(t *testing.T, row conformance.Row) {
		t.Run("KeepAlive", func(t *testing.T) {
			b := row.Open(t)
			url, _ := server(t, b, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
			c := client(t, b)
			first := get(t, c, url)
			for range 20 {
				if got := get(t, c, url); got != first {
					t.Fatalf("a request came from %s, the first from %s", got, first)
				}
			}
		})
		t.Run("LargeBodies", func(t *testing.T) {
			b := row.Open(t)
			url, _ := server(t, b, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			body := strings.Repeat("0123456789abcdef", 1<<16)
			r, err := client(t, b).Post(url, "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if got, err := io.ReadAll(r.Body); string(got) != body || err != nil {
				t.Errorf("%d bytes came back of %d, %v", len(got), len(body), err)
			}
		})
		t.Run("Hijack", func(t *testing.T) {
			b := row.Open(t)
			hijacked := make(chan error, 1)
			url, _ := server(t, b, func(w http.ResponseWriter, r *http.Request) {
				c, rw, err := w.(http.Hijacker).Hijack()
				if err == nil {
					defer c.Close()
					if _, ok := c.(*fd.Conn); !ok {
						err = fmt.Errorf("hijacked a %T", c)
					}
					_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n\r\n")
					_ = rw.Flush()
					_, _ = io.Copy(c, rw)
				}
				hijacked <- err
			})
			c, err := b.DialContext(t.Context(), "tcp4", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			r := bufio.NewReader(c)
			if response, err := http.ReadResponse(r, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%v, %v", response, err)
			}
			fmt.Fprintln(c, "raw bytes")
			if line, err := r.ReadString('\n'); line != "raw bytes\n" {
				t.Errorf("got %q, %v", line, err)
			}
			_ = c.(*fd.Conn).CloseWrite()
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("%v, want end of file", err)
			}
			if err := <-hijacked; err != nil {
				t.Error(err)
			}
		})
		t.Run("RequestCanceled", func(t *testing.T) {
			b := row.Open(t)
			entered, left := make(chan struct{}), make(chan struct{})
			url, _ := server(t, b, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/wait" {
					fmt.Fprint(w, "ok")
					return
				}
				close(entered)
				<-r.Context().Done() // seen by the server's background read
				close(left)
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-entered
				cancel()
			}()
			c := client(t, b)
			request, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"/wait", nil)
			if _, err := c.Do(request); !errors.Is(err, context.Canceled) {
				t.Errorf("Do: %v, want context.Canceled", err)
			}
			select {
			case <-left:
			case <-time.After(20 * time.Second):
				t.Error("the server did not see that the client is gone")
			}
			if got := get(t, c, url); got != "ok" {
				t.Errorf("the next request got %q", got)
			}
		})
		t.Run("Shutdown", func(t *testing.T) {
			b := row.Open(t)
			entered, leave := make(chan struct{}), make(chan struct{})
			url, s := server(t, b, func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-leave
				fmt.Fprint(w, "finished")
			})
			c := client(t, b)
			answer := make(chan string, 1)
			go func() {
				r, err := c.Get(url)
				if err != nil {
					answer <- err.Error()
					return
				}
				defer r.Body.Close()
				body, _ := io.ReadAll(r.Body)
				answer <- string(body)
			}()
			<-entered
			down := make(chan error, 1)
			s.RegisterOnShutdown(func() { close(leave) }) // it has begun
			go func() { down <- s.Shutdown(context.Background()) }()
			if got := <-answer; got != "finished" {
				t.Errorf("the request under way got %q", got)
			}
			if err := <-down; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if _, err := c.Get(url); err == nil {
				t.Error("a request after Shutdown succeeded")
			}
		})
	})
}

// TestTLS runs crypto/tls over both ends, and HTTP/2 over that.
func TestTLS(t *testing.T) {
	certificate, roots := selfSigned(t)
	eachFullRow(t, func(t *testing.T, row conformance.Row) {
		t.Run("Echo", func(t *testing.T) {
			rawClient, rawServer, _ := netPair(t, row.Open(t))
			s := tls.Server(rawServer, &tls.Config{Certificates: []tls.Certificate{certificate}})
			c := tls.Client(rawClient, &tls.Config{RootCAs: roots, ServerName: "localhost"})
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(s, s)
				_ = s.Close()
				ended <- err
			}()
			message := strings.Repeat("secret ", 20000)
			go func() {
				_, _ = io.WriteString(c, message)
				_ = c.CloseWrite()
			}()
			if got, err := io.ReadAll(c); string(got) != message || err != nil {
				t.Errorf("%d bytes came back of %d, %v", len(got), len(message), err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			_ = c.Close()
		})
		t.Run("HTTP2", func(t *testing.T) {
			b := row.Open(t)
			l := netListen(t, b)
			s := &http.Server{
				Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }),
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
			}
			ended := make(chan error, 1)
			go func() { ended <- s.ServeTLS(l, "", "") }()
			transport := &http.Transport{
				DialContext:       b.DialContext,
				TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost"},
				ForceAttemptHTTP2: true,
			}
			c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			for range 5 {
				if got := get(t, c, "https://"+l.Addr().String()); got != "HTTP/2.0" {
					t.Errorf("the protocol is %s", got)
				}
			}
			transport.CloseIdleConnections()
			_ = s.Close()
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
	})
}

// selfSigned makes a certificate for localhost.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

const isWindows = os.PathSeparator == '\\'
