package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/bench/control"
)

// beCommand, in the environment, makes the test binary be the command.
const beCommand = "RINGFD_TEST_BE_COMMAND"

// program is the command: this test binary.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(beCommand) != "" {
		main()
	}
	var err error
	if program, err = os.Executable(); err != nil {
		panic(err)
	}
	if err := os.Setenv(beCommand, "yes"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// start starts the command without the environment variables that choose a
// backend, but for those given.
func start(t *testing.T, env []string, args ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(append(os.Environ(), "RINGFD_BACKEND=", "RINGFD_WITHOUT="), env...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // if it still runs
	return cmd, bufio.NewReader(stdout), &stderr
}

// finish waits for the end and returns the rest of the output and the code.
func finish(t *testing.T, cmd *exec.Cmd, stdout io.Reader) (string, int) {
	t.Helper()
	rest, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(rest), cmd.ProcessState.ExitCode()
}

func TestMistakesAreOneLineAndCode2(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	for _, c := range []struct {
		args []string
		env  []string
		want string // in the line
	}{
		{args: nil, want: "doctor"},
		{args: []string{"--no-such-flag"}, want: "--no-such-flag"},
		{args: []string{"juggle"}, want: "juggle"},
		{args: []string{"echo", "--backend", "epoll"}, want: `unknown backend "epoll"`},
		{args: []string{"echo"}, env: []string{"RINGFD_BACKEND=epoll"}, want: `RINGFD_BACKEND: unknown backend "epoll"`},
		{args: []string{"echo"}, env: []string{"RINGFD_WITHOUT=wings"}, want: `"wings"`},
		{args: []string{"doctor"}, env: []string{"RINGFD_WITHOUT=wings"}, want: `"wings"`},
		{args: []string{"echo", "--network", "udp"}, want: "udp"},
		{args: []string{"echo", "--busy-poll", "often"}, want: "often"},
		{args: []string{"echo", "--busy-poll=-1us"}, want: "-1µs"},
		{args: []string{"echo", "--listen", busy.Addr().String()}, want: "another process"},
		{args: []string{"echo", "--backend", "net", "--listen", busy.Addr().String()}, want: "another process"},
		{args: []string{"echo", "--listen", "nonsense"}, want: "nonsense"},
		{args: []string{"echo", "--network", "unix", "--listen", filepath.Join("no", "such", "directory")}, want: "cannot listen"},
		{args: []string{"bench", "--cell", "65B-1"}, want: `unknown cell "65B-1": choose from echo-64B-1, `},
		{args: []string{"bench", "--target", "epoll"}, want: `unknown target "epoll": choose from io_uring, `},
		{args: []string{"bench", "--driver", "poll"}, want: "epoll"},
		{args: []string{"bench", "--rounds", "0"}, want: "0 rounds"},
		{args: []string{"bench", "--rounds", "many"}, want: "many"},
		{args: []string{"bench", "--window", "0s"}, want: "0s"},
		{args: []string{"soak", "--time", "-1s"}, want: "-1s"},
		{args: []string{"soak", "--time", "5s", "--interval", "1s"}, want: "12 samples"},
		{args: []string{"soak", "--backend", "epoll"}, want: "epoll"},
		{args: []string{"bench", "compare", "main.go", "absent.json"}, want: "absent.json"},
		{args: []string{"bench", "compare", "main.go", "main.go"}, want: "main.go is not a report"},
		{args: []string{"bench", "render", "go.mod"}, want: "go.mod is not a report"},
	} {
		cmd, stdout, stderr := start(t, c.env, c.args...)
		out, code := finish(t, cmd, stdout)
		line := stderr.String()
		if code != exitUsage || out != "" || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") || !strings.Contains(line, c.want) {
			t.Errorf("ringfd %v %v: code %d, stdout %q, stderr %q; want code 2 and one line with %q", c.args, c.env, code, out, line, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"bench", "--help"}, {"bench", "compare", "--help"}, {"bench", "render", "--help"}, {"soak", "--help"}} {
		cmd, stdout, stderr := start(t, nil, args...)
		out, code := finish(t, cmd, stdout)
		if code != 0 || stderr.Len() != 0 || !strings.Contains(out, "Usage: ringfd") || strings.Contains(out, control.Command) {
			t.Errorf("ringfd %v: code %d, stderr %q, stdout %s", args, code, stderr, out)
		}
	}
}

func TestEcho(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to another process: run this on a Unix system")
	}
	for _, backend := range []string{"auto", "net"} {
		for _, network := range []string{"tcp", "unix"} {
			for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
				testEcho(t, backend, network, signal)
			}
		}
	}
}

func testEcho(t *testing.T, backend, network string, signal os.Signal) {
	t.Helper()
	listen := "127.0.0.1:0"
	if network == "unix" {
		listen = filepath.Join(t.TempDir(), "socket")
	}
	cmd, stdout, stderr := start(t, nil, "echo", "--backend", backend, "--network", network, "--listen", listen, "--busy-poll", "10us")
	first, err := stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%v, stderr %s", err, stderr)
	}
	var address string
	if fields := strings.Fields(first); len(fields) < 6 || fields[3] != "backend" {
		t.Fatalf("first line %q", first)
	} else {
		address = strings.TrimSuffix(fields[2], ",")
	}
	message := bytes.Repeat([]byte("echo"), 50_000) // larger than its buffer
	gone := dial(t, network, address)
	exchange(t, gone, message)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	stays := dial(t, network, address)
	defer func() { _ = stays.Close() }()
	exchange(t, stays, message)
	// Its goroutine may not have seen the end of the first connection yet: that
	// one may count as ended by either side, and is not looked for below.
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	rest, code := finish(t, cmd, stdout)
	if code != 0 || stderr.Len() != 0 {
		t.Errorf("%s, %s, %v: code %d, stderr %s", backend, network, signal, code, stderr)
	}
	if want := "connections 2, bytes read 400000, bytes written 400000\n"; !strings.HasPrefix(rest, want) {
		t.Errorf("%s, %s, %v: totals %q, want %q", backend, network, signal, rest, want)
	}
	if !strings.Contains(rest, "connection closed by us\n") {
		t.Errorf("%s, %s, %v: totals %q without the connection that was open", backend, network, signal, rest)
	}
	if network == "unix" {
		if _, err := os.Stat(listen); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket file is left: %v", err)
		}
	}
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange sends a message and wants it back.
func exchange(t *testing.T, conn net.Conn, message []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(message)
		sent <- err
	}()
	answer := make([]byte, len(message))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(answer, message) {
		t.Fatal("the answer is not the message")
	}
}

func TestDoctor(t *testing.T) {
	for _, c := range []struct {
		env    []string
		probed bool
	}{
		{nil, true},
		{[]string{"RINGFD_BACKEND=net"}, false},
		{[]string{"RINGFD_WITHOUT=all"}, true},
	} {
		cmd, stdout, stderr := start(t, c.env, "doctor", "--json")
		out, code := finish(t, cmd, stdout)
		if code != 0 {
			t.Fatalf("%v: code %d, stderr %s", c.env, code, stderr)
		}
		var d diagnosis
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatal(err)
		}
		if d.Probed != c.probed || d.Backend == "" || d.Why == "" || (c.probed && d.IOUring == (d.Refused != "")) {
			t.Errorf("%v: %+v", c.env, d)
		}
		for _, f := range d.Features {
			if c.env != nil && f.State == stateUsed {
				t.Errorf("%v: %s is used", c.env, f.Name)
			}
		}
		cmd, stdout, _ = start(t, c.env, "doctor")
		text, code := finish(t, cmd, stdout)
		if code != 0 || !strings.Contains(text, d.Why) {
			t.Errorf("%v: code %d, text %s", c.env, code, text)
		}
		for _, f := range d.Features {
			if !strings.Contains(text, f.Name) {
				t.Errorf("%v: %s is not in the text", c.env, f.Name)
			}
		}
	}
}
