package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ringfd/ringfd/bench"
)

// Ctrl-C ends a soak with the picture, the samples and the table so far.
func TestSoakInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to another process: run this on a Unix system")
	}
	dir := filepath.Join(t.TempDir(), "new")
	cmd := exec.CommandContext(t.Context(), program, "soak", "--time", "1h", "--interval", "50ms", "--backend", "net", "--conns", "16", "--out", dir)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	var last string
	for n := 0; lines.Scan(); n++ {
		last = lines.Text()
		if n == 1 {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitFailure || !strings.HasPrefix(last, "ringfd: interrupted after ") {
		t.Errorf("code %d, last line %q", cmd.ProcessState.ExitCode(), last)
	}
	if !strings.Contains(stdout.String(), "at the end") || !strings.Contains(stdout.String(), filepath.Join(dir, "soak.svg")) {
		t.Errorf("it printed\n%s", &stdout)
	}
	for name, want := range map[string]string{"soak.svg": "<svg", "soak.png": "\x89PNG", "soak.csv": "seconds,"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "soak.json"))
	var report bench.SoakReport
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || !report.Interrupted || len(report.Samples) < 4 || report.Failure != "" {
		t.Errorf("%v, report %+v", err, report)
	}
}

// What grows is exit code 1, with the reason.
func TestSoakFails(t *testing.T) {
	cmd, stdout, stderr := start(t, nil, "soak", "--time", "1s", "--interval", "50ms", "--backend", "net", "--conns", "16",
		"--growth", "10", "--flaw", "wrong-byte", "--out", t.TempDir())
	out, code := finish(t, cmd, stdout)
	if code != exitFailure || !strings.Contains(stderr.String(), "ringfd: the soak failed: ") || !strings.Contains(out, "FAILED") {
		t.Errorf("code %d, stderr %s, stdout %s", code, stderr, out)
	}
}
