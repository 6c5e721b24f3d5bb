package exhaustion

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/internal/child"
	"github.com/ringfd/ringfd/internal/leak"
)

func TestMain(m *testing.M) {
	child.Main(parts)
	leak.Main(m)
}

// patience bounds every wait for something that must happen.
const patience = 60 * time.Second

// parts are the peers, in a process of their own: what they hold does not count.
var parts = map[string]func() any{"peers": peers}

const (
	addressVariable = "RINGFD_TEST_ADDRESS"
	kindVariable    = "RINGFD_TEST_KIND"
	countVariable   = "RINGFD_TEST_COUNT"
)

// group is a process full of peers.
type group struct {
	t     *testing.T
	child *exec.Cmd
	in    io.WriteCloser
	out   io.Reader
}

// startPeers starts n peers of a kind, which connect to address.
func startPeers(t *testing.T, kind, address string, n int) *group {
	t.Helper()
	g := &group{t: t, child: child.Command("peers", addressVariable+"="+address, kindVariable+"="+kind, countVariable+"="+strconv.Itoa(n))}
	g.child.Stderr = os.Stderr
	var err error
	if g.in, err = g.child.StdinPipe(); err == nil {
		g.out, err = g.child.StdoutPipe()
	}
	if err == nil {
		err = g.child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.child.Process.Kill() })
	return g
}

// begin has the peers begin, when all are connected.
func (g *group) begin() {
	g.t.Helper()
	if _, err := g.in.Write([]byte("g")); err != nil {
		g.t.Fatal(err)
	}
}

// ready waits until the peers have done their worst.
func (g *group) ready() {
	g.t.Helper()
	word := make([]byte, len(stuck))
	if _, err := io.ReadFull(g.out, word); err != nil || string(word) != stuck {
		g.t.Fatalf("the peers said %q, %v", word, err)
	}
}

// stop has the peers go away, and waits for that.
func (g *group) stop() {
	g.t.Helper()
	_ = g.in.Close()
	rest, _ := io.ReadAll(g.out)
	if err := g.child.Wait(); err != nil {
		g.t.Errorf("the peers: %v %s", err, rest)
	}
}

// open opens a backend, or skips the test.
func open(t *testing.T, o ringfd.Options) *ringfd.Backend {
	t.Helper()
	b, err := ringfd.Open(o)
	if unavailable, ok := errors.AsType[*ringfd.UnavailableError](err); ok {
		t.Skipf("%v (a kernel that allows io_uring would make this run)", unavailable)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// path returns where to listen: unix sockets have no ports that run out.
func path(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ringfd") // t.TempDir is too long for sun_path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// until waits for what nothing tells of.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this did not happen: ", what)
		}
	}
}

// ringMaps counts the mappings of rings.
func ringMaps(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "io_uring")
}

// held is what the process holds: the heap and the stacks.
func held() int64 {
	var s runtime.MemStats
	for range 2 { // pools let go at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc + s.StackInuse)
}

// serve accepts plain connections that package net makes, for the peers of a test
// that are to be ours.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
