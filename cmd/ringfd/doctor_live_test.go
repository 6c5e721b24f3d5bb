package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/live"
)

// busySource is a Backend with two loops, of which the first does the same
// between any two requests.
type busySource struct {
	mu    sync.Mutex
	stats ringfd.Stats
}

func (*busySource) Kind() ringfd.Kind         { return ringfd.IOUring }
func (*busySource) Why() string               { return "it is a test" }
func (*busySource) Features() ringfd.Features { return 0 }

func (b *busySource) Stats() ringfd.Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Loops = slices.Clone(s.Loops)
	b.work()
	return s
}

// work is what happens until the next request.
func (b *busySource) work() {
	b.stats.Enters++
	b.stats.Completed += 4
	l := &b.stats.Loops[0]
	l.Turns += 100
	for range 99 {
		l.TurnLength.Record(1000)
		l.Batch.Record(3)
	}
	l.TurnLength.Record(math.MaxUint64)
	l.Batch.Record(64)
	l.Enters += 50
	l.Completed += 200
	l.Rearms, l.NoBuffers, l.Overflows, l.Wakeups = l.Rearms+2, l.NoBuffers+3, l.Overflows+4, l.Wakeups+5
	l.Spins, l.SpinsLost = l.Spins+6, l.SpinsLost+7
	l.Held, l.Panics, l.Offloads, l.Copied = l.Held+8, l.Panics+9, l.Offloads+10, l.Copied+(3<<20)
}

func newBusySource() *busySource {
	b := &busySource{stats: ringfd.Stats{Sockets: 5, Listeners: 1, Loops: []ringfd.LoopStats{{Connections: 3}, {Connections: 2}}}}
	b.work()
	return b
}

// TestLiveReport: what is printed is of the interval, and every figure is in its
// column.
func TestLiveReport(t *testing.T) {
	source := newBusySource()
	snapshot := func(uptime time.Duration) *live.Snapshot {
		return &live.Snapshot{PID: 42, Program: "node", Version: "v1.2.3", Go: "go1.26", Started: time.Unix(0, 0),
			Uptime: uptime, Backend: ringfd.IOUring, Why: source.Why(), Features: "submit_all", Stats: source.Stats()}
	}
	first := snapshot(10 * time.Second)
	second := snapshot(12 * time.Second)
	const row0 = "│ 0 │ 3 │ 50 │ 1.02µs │ 1.02µs │ more │ 3 │ 3 │ 0.25 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │ 8 │ 9 │ 10 │ 3.0 MiB │"
	const row1 = "│ 1 │ 2 │ 0 │ - │ - │ - │ - │ - │ - │ 0 │ 0 │ 0 │ 0 │ 0 │ 0 │ 0 │ 0 │ 0 │ 0 B │"
	rings := "pollers: wake-ups 0, calls made for goroutines 4, syscalls/call 0.25,"
	for _, c := range []struct {
		name         string
		report       liveReport
		want, absent []string
	}{
		{"first", newLiveReport(first, nil),
			[]string{"node, process 42: ringfd v1.2.3, go1.26", "backend io_uring: it is a test",
				"in 10s, since ", "sockets 5, listeners 1", rings, strings.Replace(row0, "│ 50 │", "│ 10 │", 1), row1}, []string{"submit_all"}},
		{"second", newLiveReport(second, first), []string{"in 2s: sockets 5, listeners 1", rings, row0, row1}, []string{"node", "since"}},
		{"no time", newLiveReport(first, first), []string{"in 0s", "│ 0 │ 3 │ 0 │ - │"}, nil},
		{"net", newLiveReport(&live.Snapshot{Backend: ringfd.Net, Uptime: time.Second}, nil),
			[]string{"backend net", "no loops"}, []string{"pollers", "│"}},
	} {
		var out strings.Builder
		if err := c.report.write(&out); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", c.name, want, &out)
			}
		}
		for _, absent := range c.absent {
			if strings.Contains(text, absent) {
				t.Errorf("%s: %q is in\n%s", c.name, absent, &out)
			}
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1: "1ns", 1024: "1.02µs", 131072: "131µs", 1048576: "1.05ms", 90*time.Second + 1: "1m30s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5<<20 + 1<<19: "5.5 MiB", math.MaxUint64: "16.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

// serveLive shows source at a new path until the test ends.
func serveLive(t *testing.T, source live.Source) (path string, server *live.Server) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "live")
	server, err := live.Serve(path, source)
	if err != nil && runtime.GOOS == "windows" {
		t.Skipf("%v; a Windows with unix sockets would make this run", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return path, server
}

func TestDoctorLive(t *testing.T) {
	path, _ := serveLive(t, newBusySource())
	cmd, stdout, stderr := start(t, nil, "doctor", "--live", path, "--count", "2", "--interval", "1ms")
	text, code := finish(t, cmd, stdout)
	if code != 0 || stderr.Len() != 0 || strings.Count(text, "pollers: ") != 2 || strings.Count(text, "since") != 1 {
		t.Errorf("code %d, stderr %s, text\n%s", code, stderr, text)
	}

	cmd, stdout, stderr = start(t, nil, "doctor", "--live", path, "--json", "--count", "3", "--interval", "1ms")
	text, code = finish(t, cmd, stdout)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if code != 0 || stderr.Len() != 0 || len(lines) != 3 {
		t.Fatalf("code %d, stderr %s, %d lines", code, stderr, len(lines))
	}
	for i, line := range lines {
		var r liveReport
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		// The first report is of the two requests before as well.
		turns, completed := uint64(100), uint64(200)
		if i == 0 {
			turns, completed = 300, 600
		}
		if r.First != (i == 0) || r.PID != os.Getpid() || r.Why != "it is a test" || r.Seconds <= 0 || len(r.Loops) != 2 ||
			r.Interval.Loops[0].Turns != turns || r.Interval.Loops[0].Completed != completed {
			t.Errorf("line %d: %+v", i, r)
			continue
		}
		l, idle := r.Loops[0], r.Loops[1]
		if *l.TurnLength.P50 != 1023 || l.TurnLength.Max != nil || *l.Batch.Max != 127 || *l.SyscallsPerCompletion != 0.25 ||
			idle.TurnLength.P50 != nil || idle.SyscallsPerCompletion != nil || idle.Connections != 2 {
			t.Errorf("line %d: loops %s", i, line)
		}
		if !strings.Contains(line, `"max":null`) {
			t.Errorf("line %d says that no turn was longer than any bound: %s", i, line)
		}
	}
}

// TestDoctorLiveEnds: it goes on until it is interrupted, or the process ends.
func TestDoctorLiveEnds(t *testing.T) {
	for _, interrupted := range []bool{true, false} {
		if interrupted && runtime.GOOS == "windows" {
			continue // cannot send an interrupt to another process
		}
		path, server := serveLive(t, newBusySource())
		cmd, stdout, stderr := start(t, nil, "doctor", "--live", path, "--json", "--interval", "1ms")
		for range 3 {
			if _, err := stdout.ReadString('\n'); err != nil {
				t.Fatalf("%v, stderr %s", err, stderr)
			}
		}
		var err error
		if interrupted {
			err = cmd.Process.Signal(os.Interrupt)
		} else {
			err = server.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		_, code := finish(t, cmd, stdout)
		line := stderr.String()
		if interrupted && (code != 0 || line != "") {
			t.Errorf("interrupted: code %d, stderr %q", code, line)
		}
		if !interrupted && (code != exitFailure || strings.Count(line, "\n") != 1 || !strings.Contains(line, "has ended")) {
			t.Errorf("the process ended: code %d, stderr %q; want code 1 and one line", code, line)
		}
	}
}

func TestDoctorLiveMistakes(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--live", absent}, absent},
		{[]string{"--live", absent, "--interval=-1s"}, "-1s"},
		{[]string{"--live", absent, "--count=-1"}, "-1"},
		{[]string{"--interval", "1s"}, "--live"},
		{[]string{"--count", "1"}, "--live"},
	} {
		cmd, stdout, stderr := start(t, nil, append([]string{"doctor"}, c.args...)...)
		out, code := finish(t, cmd, stdout)
		line := stderr.String()
		if code != exitUsage || out != "" || strings.Count(line, "\n") != 1 || !strings.Contains(line, c.want) {
			t.Errorf("doctor %v: code %d, stdout %q, stderr %q; want code 2 and one line with %q", c.args, code, out, line, c.want)
		}
	}
}
