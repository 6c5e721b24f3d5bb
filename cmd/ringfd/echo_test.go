package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/live"
)

// TestEchoStyles: whatever serves the connections, they get back what they send,
// the totals are right, and --live shows who is connected.
func TestEchoStyles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to another process: run this on a Unix system")
	}
	for _, style := range []string{goroutines, "blocking", "data"} {
		for _, backend := range []string{"auto", "net"} {
			for _, network := range []string{"tcp", "unix"} {
				t.Run(style+"/"+backend+"/"+network, func(t *testing.T) { testEchoStyle(t, style, backend, network) })
			}
		}
	}
}

func testEchoStyle(t *testing.T, style, backend, network string) {
	path, listen := filepath.Join(t.TempDir(), "live"), "127.0.0.1:0"
	if network == "unix" {
		listen = filepath.Join(t.TempDir(), "socket")
	}
	cmd, stdout, stderr := start(t, nil, "echo", "--backend", backend, "--network", network, "--listen", listen, "--style", style, "--live", path)
	first, err := stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%v, stderr %s", err, stderr)
	}
	address := strings.TrimSuffix(strings.Fields(first)[2], ",")
	message := bytes.Repeat([]byte("echo"), 50_000) // larger than its buffer
	gone := dial(t, network, address)
	exchange(t, gone, message)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	stays := dial(t, network, address)
	defer func() { _ = stays.Close() }()
	exchange(t, stays, message)

	s, err := live.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != cmd.Process.Pid || s.Stats.Listeners != 1 || s.Stats.Sockets < 1 {
		t.Errorf("live: %+v; want process %d, with a listener and a connection", s, cmd.Process.Pid)
	}
	if loops := s.Backend == ringfd.IOUring && style != goroutines; loops != (len(s.Stats.Loops) > 0) {
		t.Errorf("live: %d loops on %s with %s", len(s.Stats.Loops), s.Backend, style)
	}

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, code := finish(t, cmd, stdout)
	if code != 0 || stderr.Len() != 0 {
		t.Errorf("code %d, stderr %s", code, stderr)
	}
	if want := "connections 2, bytes read 400000, bytes written 400000\n"; !strings.HasPrefix(rest, want) {
		t.Errorf("totals %q, want %q", rest, want)
	}
	if !strings.Contains(rest, "connection closed by us\n") {
		t.Errorf("totals %q without the connection that was open", rest)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the live socket is left: %v", err)
	}
}

func TestEchoMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--style", "callbacks"}, "callbacks"},
		{[]string{"--live", file}, "no socket"},
	} {
		cmd, stdout, stderr := start(t, nil, append([]string{"echo", "--listen", "127.0.0.1:0"}, c.args...)...)
		out, code := finish(t, cmd, stdout)
		line := stderr.String()
		if code != exitUsage || out != "" || strings.Count(line, "\n") != 1 || !strings.Contains(line, c.want) {
			t.Errorf("echo %v: code %d, stdout %q, stderr %q; want code 2 and one line with %q", c.args, code, out, line, c.want)
		}
	}
}
