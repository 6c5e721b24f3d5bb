package zapevents_test

import (
	"errors"
	"io"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/zapevents"
)

const big = math.MaxInt32 + 1 // the first count that a signed 32-bit field loses

type entry struct {
	Name    string
	Level   zapcore.Level
	Message string
	Fields  map[string]any
}

func observed(logs *observer.ObservedLogs) []entry {
	var entries []entry
	for _, e := range logs.TakeAll() {
		entries = append(entries, entry{e.LoggerName, e.Level, e.Message, e.ContextMap()})
	}
	return entries
}

func TestEntries(t *testing.T) {
	banned, late := errors.New("banned"), errors.New("too late")
	debug := func(message string, fields map[string]any) entry {
		return entry{"p2p.fd", zap.DebugLevel, message, fields}
	}
	closed := debug("cnx:7:close fd (stats : 2147483648/3)", map[string]any{
		"event": "close_fd", "connection_id": uint64(7), "nread": uint64(big), "nwrit": uint64(3)})
	end := func(cause fd.Error, reasons []error, point, peer string) func(*fd.Events) {
		return func(e *fd.Events) {
			e.Close(fd.Closed{ID: 7, Stats: fd.Stats{Read: big, Written: 3},
				Cause: &cause, Reasons: reasons, Point: point, Peer: peer})
		}
	}
	for _, test := range []struct {
		name string
		emit func(*fd.Events)
		want []entry
	}{
		{"create", func(e *fd.Events) { e.Create(1) }, []entry{debug("cnx:1:create fd", map[string]any{
			"event": "create_fd", "connection_id": uint64(1)})}},
		{"try read", func(e *fd.Events) { e.TryRead(1, 512) }, []entry{debug("cnx:1:try read 512", map[string]any{
			"event": "try_read", "connection_id": uint64(1), "length": int64(512)})}},
		{"read", func(e *fd.Events) { e.Read(1, 5, big) }, []entry{debug("cnx:1:read 5 (2147483648)", map[string]any{
			"event": "read_fd", "connection_id": uint64(1), "nread": int64(5), "nread_total": uint64(big)})}},
		{"try write", func(e *fd.Events) { e.TryWrite(1, 512) }, []entry{debug("cnx:1:try write 512", map[string]any{
			"event": "try_write", "connection_id": uint64(1), "length": int64(512)})}},
		{"written", func(e *fd.Events) { e.Written(1, 5, big) }, []entry{debug("cnx:1:written 5 (2147483648)", map[string]any{
			"event": "written_fd", "connection_id": uint64(1), "nwrit": int64(5), "nwrit_total": uint64(big)})}},
		{"connect", func(e *fd.Events) { e.Connect(1, "::1:9732") }, []entry{debug("cnx:1:connect ::1:9732", map[string]any{
			"event": "connect", "connection_id": uint64(1), "socket": "::1:9732"})}},
		{"accept", func(e *fd.Events) { e.Accept(1, "::1:9732") }, []entry{debug("cnx:1:accept ::1:9732", map[string]any{
			"event": "accept", "connection_id": uint64(1), "socket": "::1:9732"})}},
		{"close error", func(e *fd.Events) { e.CloseError(7, syscall.EIO) }, []entry{{
			"p2p.fd", zap.WarnLevel, "socket related to connection 7 failed to close:" + syscall.EIO.Error(),
			map[string]any{"event": "close_fd_error", "connection_id": uint64(7), "error": syscall.EIO.Error()}}}},
		{"held", func(e *fd.Events) {
			e.Held(fd.Held{ID: 7, For: 120 * time.Millisecond, Stack: []byte("goroutine 9 [running]:\nmain.slow()")})
		}, []entry{{
			"p2p.fd", zap.WarnLevel, "cnx:7:handler has held its loop for 120ms",
			map[string]any{"event": "held_loop", "connection_id": uint64(7), "duration": 120 * time.Millisecond,
				"stack": "goroutine 9 [running]:\nmain.slow()"}}}},
		{"ring lost", func(e *fd.Events) { e.RingLost(io.ErrUnexpectedEOF) }, []entry{{
			"p2p.fd", zap.WarnLevel, "a ring is lost: unexpected EOF",
			map[string]any{"event": "ring_lost", "error": "unexpected EOF"}}}},
		{"lost", func(e *fd.Events) { e.Leaked(fd.Leaked{ID: 7, Point: "::1:9732", Made: []byte("main.forget()")}) }, []entry{{
			"p2p.fd", zap.WarnLevel, "cnx:7:fd was lost without a close",
			map[string]any{"event": "leaked_fd", "connection_id": uint64(7), "point": "::1:9732", "made": "main.forget()"}}}},
		{"closed by us, no reason given", end(fd.Error{Reason: fd.ClosedLocally}, nil, "", ""), []entry{closed, {
			"p2p.fd", zap.InfoLevel, "disconnected from <Undefined_point>#<Undefined_peer_id>: unknown reason",
			map[string]any{"event": "close_fd_unknown_reason", "connection_id": uint64(7)}}}},
		{"closed by us for reasons", end(fd.Error{Reason: fd.ClosedLocally}, []error{late, banned}, "::1:9732", "idr7"), []entry{closed, {
			"p2p.fd", zap.InfoLevel, "disconnected from ::1:9732#idr7: too late, banned",
			map[string]any{"event": "close_fd_reason", "connection_id": uint64(7), "point": "::1:9732", "peer": "idr7",
				"reason": []any{"too late", "banned"}}}}},
		{"closed by the peer", end(fd.Error{Reason: fd.ClosedByPeer, Err: io.EOF}, nil, "::1:9732", ""), []entry{closed, {
			"p2p.fd", zap.InfoLevel, "disconnected from ::1:9732#<Undefined_peer_id>: connection closed by peer",
			map[string]any{"event": "close_fd_reason", "connection_id": uint64(7), "point": "::1:9732",
				"reason": []any{"connection closed by peer"}}}}},
		{"lost, with a reason before", end(fd.Error{Reason: fd.Lost, Err: io.ErrUnexpectedEOF}, []error{banned}, "", "idr7"), []entry{closed, {
			"p2p.fd", zap.InfoLevel, "disconnected from <Undefined_point>#idr7: banned, connection to peer was lost with exception unexpected EOF",
			map[string]any{"event": "close_fd_reason", "connection_id": uint64(7), "peer": "idr7",
				"reason": []any{"banned", "connection to peer was lost with exception unexpected EOF"}}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			test.emit(zapevents.New(zap.New(core, zap.AddCaller())))
			if diff := cmp.Diff(test.want, observed(logs)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

// all emits every event once.
func all(e *fd.Events) {
	e.Create(1)
	e.Connect(1, "127.0.0.1:9732")
	e.Accept(1, "127.0.0.1:9732")
	e.TryRead(1, 512)
	e.Read(1, 512, 512)
	e.TryWrite(1, 512)
	e.Written(1, 512, 512)
	e.CloseError(1, syscall.EIO)
	e.Held(fd.Held{ID: 1, For: time.Second})
	e.Close(fd.Closed{ID: 1})
}

func TestLevels(t *testing.T) {
	level := zap.NewAtomicLevel()
	core, logs := observer.New(level)
	events := zapevents.New(zap.New(core).Named("node"))
	for _, test := range []struct {
		level zapcore.Level
		want  int // entries
	}{
		{zap.DebugLevel, 11}, {zap.InfoLevel, 3}, {zap.WarnLevel, 2}, {zap.ErrorLevel, 0}, {zap.DebugLevel, 11},
	} {
		level.SetLevel(test.level) // the events follow a level that changes
		all(events)
		got := observed(logs)
		if len(got) != test.want {
			t.Errorf("level %v: %d entries, want %d: %v", test.level, len(got), test.want, got)
		}
		for _, e := range got {
			if e.Name != "node.p2p.fd" {
				t.Errorf("logger name %q, want node.p2p.fd", e.Name)
			}
		}
	}
}

func TestNilLoggerDisables(t *testing.T) {
	if got := zapevents.New(nil); got != nil {
		t.Errorf("New(nil) = %v, want nil", got)
	}
}

// A sampler must see the message, not an empty one, when it decides.
func TestSampler(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	var seen []string
	hook := zapcore.SamplerHook(func(e zapcore.Entry, _ zapcore.SamplingDecision) { seen = append(seen, e.Message) })
	events := zapevents.New(zap.New(zapcore.NewSamplerWithOptions(core, 1<<40, 1, 0, hook)))
	events.Create(1)
	events.Create(2)
	events.Create(1)
	if want := []string{"cnx:1:create fd", "cnx:2:create fd", "cnx:1:create fd"}; !slices.Equal(seen, want) {
		t.Errorf("the sampler saw %q, want %q", seen, want)
	}
	if n := logs.Len(); n != 2 {
		t.Errorf("%d entries, want 2: the third repeats the first", n)
	}
}

func TestDisabledAllocatesNothing(t *testing.T) {
	core, _ := observer.New(zap.ErrorLevel)
	events := zapevents.New(zap.New(core))
	if n := testing.AllocsPerRun(100, func() { all(events) }); n != 0 {
		t.Errorf("%v allocations for events that are off, want 0", n)
	}
}

// TestConnection checks which events one connection emits at each end.
func TestConnection(t *testing.T) {
	for _, kind := range []ringfd.Kind{ringfd.Net, ringfd.IOUring} {
		t.Run(string(kind), func(t *testing.T) {
			clientCore, clientLogs := observer.New(zap.DebugLevel)
			serverCore, serverLogs := observer.New(zap.DebugLevel)
			client, server := open(t, kind, clientCore), open(t, kind, serverCore)

			l, err := server.Listen(t.Context(), "tcp", "127.0.0.1:0", accept.Config{})
			check(t, err)
			c, err := client.Dial(t.Context(), "tcp", l.Addr().String())
			check(t, err)
			s, from, err := l.Accept(t.Context())
			check(t, err)
			_, err = c.Write([]byte("hello"))
			check(t, err)
			buf := make([]byte, 5)
			_, err = io.ReadFull(s, buf)
			check(t, err)
			s.SetPeer("idr7")
			check(t, s.CloseWithReason(errors.New("banned")))
			if _, err := c.Read(buf); !errors.Is(err, io.EOF) {
				t.Fatalf("Read after the peer closed: %v, want end of file", err)
			}
			check(t, c.Close())

			wantEvents(t, "client", clientLogs, []string{
				"create_fd", "connect", "try_write", "written_fd", "try_read", "read_fd", "close_fd", "close_fd_reason"},
				"disconnected from "+fd.SocketString(l.Addr())+"#<Undefined_peer_id>: connection closed by peer")
			wantEvents(t, "server", serverLogs, []string{
				"create_fd", "accept", "try_read", "read_fd", "close_fd", "close_fd_reason"},
				"disconnected from "+fd.SocketString(from)+"#idr7: banned")
		})
	}
}

func open(t *testing.T, kind ringfd.Kind, core zapcore.Core) *ringfd.Backend {
	t.Helper()
	b, err := ringfd.Open(ringfd.Options{Backend: kind, Events: zapevents.New(zap.New(core))})
	if unavailable := (*ringfd.UnavailableError)(nil); errors.As(err, &unavailable) {
		t.Skipf("needs a kernel with io_uring: %v", err)
	}
	check(t, err)
	t.Cleanup(func() { check(t, b.Close()) })
	return b
}

func wantEvents(t *testing.T, side string, logs *observer.ObservedLogs, want []string, last string) {
	t.Helper()
	var got []string
	entries := observed(logs)
	for _, e := range entries {
		got = append(got, e.Fields["event"].(string))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("events of the %s (-want +got):\n%s", side, diff)
	}
	if got := entries[len(entries)-1].Message; got != last {
		t.Errorf("last message of the %s is %q, want %q", side, got, last)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
