//go:build unix

package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/child"
)

// childEnv names the row that a child process serves with.
const childEnv = "RINGFD_TEST_EMFILE_ROW"

// Child turns the process into the server of DescriptorsRunOut, if it was
// started as that. Call it first in TestMain.
func Child() {
	name := os.Getenv(childEnv)
	if name == "" {
		return
	}
	for _, row := range append(Rows(), ServeRows()...) {
		if row.Name == name {
			serve := serveWithoutDescriptors
			if row.Served {
				serve = serveFloodWithoutDescriptors
			}
			if err := serve(row); err != nil {
				fmt.Println("failed", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	fmt.Println("failed: no row", name)
	os.Exit(1)
}

// The back-off of the child's loop, and how long six errors of it take.
const (
	emfileMinDelay = 10 * time.Millisecond
	emfileMaxDelay = 80 * time.Millisecond
	emfileErrors   = 6
	emfileWaits    = (10 + 20 + 40 + 80 + 80) * time.Millisecond
)

// startChild starts the server of a row, in a process of its own. line waits for what
// it says.
func startChild(t *testing.T, row Row) (server *exec.Cmd, in io.WriteCloser, lines *bufio.Scanner, line func(format string, into ...any)) {
	t.Helper()
	_ = row.Open(t) // skips where there is no such row
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	server = child.Exec(ctx, self)
	server.Env = append(os.Environ(), childEnv+"="+row.Name)
	server.Stderr = os.Stderr
	if in, err = server.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines = bufio.NewScanner(out)
	return server, in, lines, func(format string, into ...any) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the child ended: %v", server.Wait())
		}
		if _, err := fmt.Sscanf(lines.Text(), format, into...); err != nil {
			t.Fatalf("the child said %q, want %q", lines.Text(), format)
		}
	}
}

// endChild ends the child, which is to have nothing more to say than of an accept
// that was under way at the release.
func endChild(t *testing.T, server *exec.Cmd, in io.Closer, lines *bufio.Scanner) {
	t.Helper()
	_ = in.Close()
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "error ") {
			t.Errorf("the child said %q", lines.Text())
		}
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the child: %v", err)
	}
}

// DescriptorsRunOut has a child process accept with no descriptor left. The
// accept loop must neither spin, nor lose a connection, nor end, and must go on
// when there are descriptors again.
func DescriptorsRunOut(t *testing.T, row Row) {
	server, in, lines, line := startChild(t, row)
	var address string
	line("full %s", &address)
	var connections []net.Conn
	for range 3 {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		connections = append(connections, c)
	}

	type report struct {
		class     string
		wait      time.Duration
		wall, cpu time.Duration
	}
	var reports []report
	for range emfileErrors {
		var r report
		line("error %s %d %d %d", &r.class, &r.wait, &r.wall, &r.cpu)
		if r.class != "system" {
			t.Errorf("an error of class %s", r.class)
		}
		if want := min(emfileMinDelay<<len(reports), emfileMaxDelay); r.wait != want {
			t.Errorf("error %d waits %v, want %v", len(reports), r.wait, want)
		}
		reports = append(reports, r)
	}
	wall := reports[emfileErrors-1].wall - reports[0].wall
	cpu := reports[emfileErrors-1].cpu - reports[0].cpu
	if wall < emfileWaits {
		t.Errorf("%d errors in %v, their waits alone are %v", emfileErrors, wall, emfileWaits)
	}
	if cpu > wall/4 {
		t.Errorf("the child used %v of CPU time in %v: it spins", cpu, wall)
	}
	t.Logf("%d errors in %v with %v of CPU time", emfileErrors, wall, cpu)

	fmt.Fprintln(in, "release")
	for i, c := range connections {
		_ = c.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); string(got) != "served" || err != nil {
			t.Errorf("connection %d got %q, %v", i, got, err)
		}
	}
	endChild(t, server, in, lines)
}

// serveWithoutDescriptors is the child.
func serveWithoutDescriptors(row Row) error {
	b, err := ringfd.Open(row.Options)
	if err != nil {
		return err
	}
	l, err := b.Listen(context.Background(), "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		return err
	}
	hoard, err := takeAllDescriptors()
	if err != nil {
		return err
	}
	start := time.Now()
	loop := accept.Loop{
		MinDelay: emfileMinDelay,
		MaxDelay: emfileMaxDelay,
		OnError: func(e *accept.Error, wait time.Duration) {
			if !errors.Is(e, syscall.EMFILE) {
				fmt.Println("failed", e)
			}
			fmt.Printf("error %v %d %d %d\n", e.Class, wait, time.Since(start), cpuTime())
		},
	}
	fmt.Println("full", l.Addr())
	ended := async(func() error {
		return loop.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) {
			_, _ = f.Write([]byte("served"))
			_ = f.Close()
		})
	})
	in := bufio.NewScanner(os.Stdin)
	in.Scan() // release
	for _, f := range hoard {
		_ = f.Close()
	}
	return endServing(in, l, ended, b)
}

// FloodWithoutDescriptors floods a child process that serves, and has no descriptor
// left. Those that it serves already go on being served meanwhile; it does not spin;
// and the flood is served when there are descriptors again.
func FloodWithoutDescriptors(t *testing.T, row Row) {
	const old, flood = 8, 100
	server, in, lines, line := startChild(t, row)
	var address string
	line("serves %s", &address)
	dial := func() net.Conn {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	echo := func(what string, connections []net.Conn) {
		t.Helper()
		for i, c := range connections {
			if err := wantEcho(c, []byte("hello")); err != nil {
				t.Fatalf("%s %d: %v", what, i, err)
			}
		}
	}
	var olds, news []net.Conn
	for range old {
		olds = append(olds, dial())
	}
	echo("connection", olds)
	fmt.Fprintln(in, "fill")
	line("full")
	for range flood {
		news = append(news, dial())
	}
	var first, last struct{ wall, cpu time.Duration }
	line("error %d %d", &first.wall, &first.cpu)
	for range emfileErrors - 1 {
		echo("old connection, without descriptors,", olds)
		line("error %d %d", &last.wall, &last.cpu)
	}
	wall, cpu := last.wall-first.wall, last.cpu-first.cpu
	if wall < emfileWaits {
		t.Errorf("%d errors in %v, their waits alone are %v", emfileErrors, wall, emfileWaits)
	}
	if cpu > wall/4 {
		t.Errorf("the child used %v of CPU time in %v: it spins", cpu, wall)
	}
	fmt.Fprintln(in, "release")
	echo("connection of the flood", news)
	echo("old connection, after the flood,", olds)
	endChild(t, server, in, lines)
}

// serveFloodWithoutDescriptors is the child of that.
func serveFloodWithoutDescriptors(row Row) error {
	start := time.Now()
	o := row.Options
	o.Accept = accept.Loop{
		MinDelay: emfileMinDelay,
		MaxDelay: emfileMaxDelay,
		OnError: func(e *accept.Error, _ time.Duration) {
			if !errors.Is(e, syscall.EMFILE) || e.Class != accept.System {
				fmt.Println("failed", e)
			}
			fmt.Printf("error %d %d\n", time.Since(start), cpuTime())
		},
	}
	// Before Serve: an accept in flight goes by the limit that it began with.
	if err := limitFiles(fewFiles); err != nil {
		return err
	}
	b, err := ringfd.Open(o)
	if err != nil {
		return err
	}
	l, err := b.Listen(context.Background(), "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		return err
	}
	ended := async(func() error { return b.Serve(context.Background(), l, dataEcho()) })
	fmt.Println("serves", l.Addr())
	in := bufio.NewScanner(os.Stdin)
	in.Scan() // fill
	hoard, err := takeAllDescriptors()
	if err != nil {
		return err
	}
	fmt.Println("full")
	in.Scan()                                // release
	if err := limitFiles(1024); err != nil { // there are more than were hoarded
		return err
	}
	for _, f := range hoard {
		_ = f.Close()
	}
	return endServing(in, l, ended, b)
}

// endServing ends a child's serving when the parent has closed its standard input.
func endServing(in *bufio.Scanner, l *accept.Listener, ended <-chan error, b *ringfd.Backend) error {
	in.Scan() // end of file
	if err := l.Close(); err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return err
	}
	return b.Close()
}

const fewFiles = 64

func limitFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = rlimit(min(n, uint64(limit.Max)))
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// takeAllDescriptors opens files until the process may open no more.
func takeAllDescriptors() ([]*os.File, error) {
	if err := limitFiles(fewFiles); err != nil {
		return nil, err
	}
	var hoard []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			return hoard, nil
		}
		if err != nil {
			return nil, err
		}
		hoard = append(hoard, f)
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
