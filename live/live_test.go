package live_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/internal/leak"
	"github.com/ringfd/ringfd/live"
	"github.com/ringfd/ringfd/uring"
)

func TestMain(m *testing.M) { leak.Main(m) }

// source is a Backend with loops, that counts how often it was asked.
type source struct {
	asked atomic.Int64
	stats ringfd.Stats
}

func (*source) Kind() ringfd.Kind         { return ringfd.IOUring }
func (*source) Why() string               { return "it is a test" }
func (*source) Features() ringfd.Features { return uring.FeatureSubmitAll | uring.FeatureNAPI }
func (s *source) Stats() ringfd.Stats     { s.asked.Add(1); return s.stats }

func newSource() *source {
	loop := ringfd.LoopStats{Connections: 3, Turns: 1 << 60, Copied: 5}
	loop.TurnLength.Record(1000)
	loop.Batch.Record(1 << 40)
	return &source{stats: ringfd.Stats{Sockets: 2, Enters: 7, Loops: []ringfd.LoopStats{loop, {Held: 1}}}}
}

// newPath returns a path where nothing is. It skips the test where there are no
// unix sockets.
func newPath(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	if runtime.GOOS == "windows" {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Skipf("%v; a Windows with unix sockets would make this run", err)
		}
		check(t, l.Close())
	}
	return path
}

// serve shows source at a new path until the test ends.
func serve(t *testing.T, source live.Source) (path string) {
	t.Helper()
	path = newPath(t)
	s, err := live.Serve(path, source)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return path
}

func dial(t *testing.T, path string) *live.Client {
	t.Helper()
	c, err := live.Dial(t.Context(), path)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantText fails unless err has every text in it, on one line.
func wantText(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %q, want one line with %q", err, text)
		}
	}
}

func TestSnapshot(t *testing.T) {
	source := newSource()
	c := dial(t, serve(t, source))
	first, err := c.Read(t.Context())
	check(t, err)
	if diff := cmp.Diff(source.stats, first.Stats); diff != "" {
		t.Errorf("the counters (-sent +got):\n%s", diff)
	}
	if first.PID != os.Getpid() || first.Program == "" || first.Version == "" || first.Go != runtime.Version() ||
		first.Backend != ringfd.IOUring || first.Why != source.Why() || first.Features != "submit_all,napi" {
		t.Errorf("snapshot %+v", first)
	}
	source.stats.Loops[1].Held = 2 // between requests nobody looks
	second, err := c.Read(t.Context())
	check(t, err)
	if second.Stats.Loops[1].Held != 2 || second.Uptime <= first.Uptime || !second.Started.Equal(first.Started) {
		t.Errorf("second snapshot %+v, after %+v", second, first)
	}
	if n := source.asked.Load(); n != 2 {
		t.Errorf("the source was asked %d times for 2 requests", n)
	}
}

// TestBackend: what is shown is the backend's, and showing it changes nothing.
func TestBackend(t *testing.T) {
	for _, row := range conformance.Rows() {
		if row.Core {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			b := row.Open(t)
			path := serve(t, b)
			for want := range 2 {
				s, err := live.Read(t.Context(), path)
				check(t, err)
				if s.Backend != b.Kind() || s.Why != b.Why() || s.Features != b.Features().String() ||
					s.Stats.Listeners != want || s.Stats.Sockets != 0 {
					t.Errorf("with %d listeners: %+v", want, s)
				}
				if want == 0 {
					l, err := b.Listen(t.Context(), "tcp", "127.0.0.1:0", accept.Config{})
					check(t, err)
					t.Cleanup(func() { check(t, l.Close()) })
				}
			}
		})
	}
}

func TestManyReaders(t *testing.T) {
	const readers, reads = 8, 20
	source := newSource()
	path := serve(t, source)
	var all sync.WaitGroup
	for range readers {
		c := dial(t, path)
		all.Go(func() {
			for range reads {
				if s, err := c.Read(t.Context()); err != nil || len(s.Stats.Loops) != 2 {
					t.Errorf("%+v, %v", s, err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := source.asked.Load(); n != readers*reads {
		t.Errorf("the source was asked %d times, want %d", n, readers*reads)
	}
}

// TestProtocol: other programs may ask too, and those that ask wrongly are told.
func TestProtocol(t *testing.T) {
	conn, err := net.Dial("unix", serve(t, newSource()))
	check(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, c := range []struct{ request, want string }{
		{`{"get":"snapshot"}`, `{"snapshot":{"pid":`},
		{`get snapshot`, `{"error":"the request is not JSON: `},
		{`{"get":"weather"}`, `{"error":"this version does not know \"weather\"`},
		{` {"get": "snapshot", "more": 1}` + "\r", `{"snapshot":{"pid":`},
		{strings.Repeat(" ", 5000), `{"error":"the request is longer than 4096 bytes"}`},
	} {
		_, err := io.WriteString(conn, c.request+"\n")
		check(t, err)
		line, err := in.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, c.want) {
			t.Errorf("%.40q: %q, %v; want %s", c.request, line, err, c.want)
		}
	}
	if line, err := in.ReadString('\n'); err == nil {
		t.Errorf("after a request that is too long: %q, want the end", line)
	}
}

func TestMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows: run this on a Unix system")
	}
	info, err := os.Stat(serve(t, newSource()))
	check(t, err)
	if got := info.Mode(); got != os.ModeSocket|0o600 {
		t.Errorf("mode %v, want a socket of 0600", got)
	}
}

func TestLeftOver(t *testing.T) {
	path := newPath(t)
	leave(t, path)
	s, err := live.Serve(path, newSource())
	check(t, err)
	_, err = live.Read(t.Context(), path)
	check(t, err)
	check(t, s.Close())
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Close left the socket: %v", err)
	}
	if err := s.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing again: %v, want net.ErrClosed", err)
	}
}

// leave leaves the socket of a process that was killed.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	check(t, err)
	l.SetUnlinkOnClose(false)
	check(t, l.Close())
}

func TestCannotServe(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	check(t, os.WriteFile(file, []byte("precious"), 0o600))
	taken := serve(t, newSource())
	for _, c := range []struct {
		path  string
		texts []string
	}{
		{file, []string{"no socket", "remove it, or give another path"}},
		{taken, []string{"a process serves this path", "stop it, or give another path"}},
		{filepath.Join(folder, "none", "s"), []string{"make its folder first"}},
		{filepath.Join(folder, strings.Repeat("s", 120)), []string{"at most 103"}},
		{"@abstract", []string{"open to everyone"}},
		{"", []string{"give a path"}},
	} {
		s, err := live.Serve(c.path, newSource())
		if err == nil {
			t.Errorf("Serve at %q works", c.path)
			check(t, s.Close())
			continue
		}
		wantText(t, err, append(c.texts, "cannot listen on "+c.path)...)
		if _, ok := errors.AsType[*accept.ListenError](err); !ok {
			t.Errorf("Serve at %q: %T, want an *accept.ListenError", c.path, err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file in the way: %q, %v", text, err)
	}
	_, err := live.Read(t.Context(), taken)
	check(t, err)
}

func TestCannotRead(t *testing.T) {
	left := newPath(t)
	leave(t, left)
	for _, c := range []struct {
		path  string
		texts []string
	}{
		{newPath(t), []string{"start the process"}},
		{left, []string{"has ended"}},
		{answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), []string{"not live.Serve"}},
		{answering(t, "{}\n"), []string{"not live.Serve"}},
		{answering(t, `{"snapshot":7}`), []string{"not live.Serve"}},
		{answering(t, `{"error":"not today"}`), []string{"not today"}},
		{answering(t, `{"snapshot":`), []string{"has ended"}},
		{answering(t, ""), []string{"has ended"}},
	} {
		s, err := live.Read(t.Context(), c.path)
		if s != nil {
			t.Errorf("%v: snapshot %+v", c.texts, s)
		}
		wantText(t, err, append(c.texts, c.path)...)
	}
}

// answering is a server that takes one line, answers it with text, and ends.
func answering(t *testing.T, text string) (path string) {
	t.Helper()
	path = newPath(t)
	l, err := net.Listen("unix", path)
	check(t, err)
	var ended sync.WaitGroup
	ended.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	})
	t.Cleanup(func() { _ = l.Close(); ended.Wait() })
	return path
}

// TestServerEnds: who is connected learns that nothing comes any more.
func TestServerEnds(t *testing.T) {
	path := newPath(t)
	s, err := live.Serve(path, newSource())
	check(t, err)
	c := dial(t, path)
	_, err = c.Read(t.Context())
	check(t, err)
	check(t, s.Close())
	_, err = c.Read(t.Context())
	wantText(t, err, "has ended", path)
}

// TestContextEndsRead: a process that does not answer is not waited for.
func TestContextEndsRead(t *testing.T) {
	path := newPath(t)
	l, err := net.Listen("unix", path)
	check(t, err)
	defer l.Close()
	c := dial(t, path)
	conn, err := l.Accept()
	check(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(ctx)
		ended <- err
	}()
	_, err = bufio.NewReader(conn).ReadString('\n') // it has asked
	check(t, err)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v, want context.Canceled", err)
	}
}
