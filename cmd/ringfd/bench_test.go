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
	"github.com/ringfd/ringfd/bench/load"
)

// aMoment are flags for a bench that proves nothing, quickly.
var aMoment = []string{"--rounds", "2", "--window", "30ms", "--warmup", "5ms", "--no-syscalls"}

// measure runs the bench and returns its report, from a file.
func measure(t *testing.T, args ...string) (path string, report *bench.Report) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "new", "report.json")
	args = append(append([]string{"bench", "--json", path}, aMoment...), args...)
	cmd, stdout, stderr := start(t, nil, args...)
	out, code := finish(t, cmd, stdout)
	if code != 0 || !strings.Contains(out, "machine") {
		t.Fatalf("code %d, stderr %s, stdout %s", code, stderr, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	report = new(bench.Report)
	if err := decoder.Decode(report); err != nil {
		t.Fatal(err)
	}
	return path, report
}

func TestBenchJSON(t *testing.T) {
	_, report := measure(t, "--target", "io_uring", "--target", "go-net", "--cell", "echo-64B-64.*", "--cell", "echo-16KiB-16")
	if len(report.Cells) != 3 || report.Machine.CPUs == 0 || report.Go == "" || report.Commit == "" || report.Settings.Rounds != 2 ||
		len(report.Settings.Args) == 0 || len(report.Choices) != 2 {
		t.Errorf("report %+v", report)
	}
	for _, c := range report.Cells {
		if len(c.Rounds) != 2*max(1, c.Cell.Weight)*len(report.Targets) {
			t.Errorf("%s: %d rounds", c.Cell.Name, len(c.Rounds))
		}
		for _, r := range c.Rounds {
			if r.Read == 0 || r.Read != r.Load.Messages*uint64(c.Cell.Request) || r.Load.Histogram == "" {
				t.Errorf("%s on %s: %d messages, %d bytes at the server", c.Cell.Name, r.Target, r.Load.Messages, r.Read)
			}
		}
	}
}

// The real programs are in a program of their own, which `make peers` builds.
func TestBenchApps(t *testing.T) {
	cmd, stdout, stderr := start(t, nil, "bench", "--apps", "--list")
	if out, code := finish(t, cmd, stdout); code != 0 || !strings.Contains(out, "http-64B-4000-procs2") || !strings.Contains(out, "by the net view") {
		t.Errorf("code %d, stderr %s, stdout %s", code, stderr, out)
	}
	cmd, stdout, stderr = start(t, nil, "bench", "--apps", "--peers", t.TempDir())
	if _, code := finish(t, cmd, stdout); code == 0 || !strings.Contains(stderr.String(), "make peers") {
		t.Errorf("without them: code %d, stderr %s", code, stderr)
	}
}

// Standard output is the JSON alone when it is asked for there.
func TestBenchJSONOnly(t *testing.T) {
	cmd, stdout, stderr := start(t, nil, append([]string{"bench", "--json", "-", "--target", "net", "--cell", "echo-64B-1", "--driver", "portable"}, aMoment...)...)
	out, code := finish(t, cmd, stdout)
	var report bench.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		t.Fatalf("%v, code %d, stderr %s", err, code, stderr)
	}
	if got := report.Cells[0].Rounds[0].Load.Driver; got != load.Portable {
		t.Errorf("the generator's driver is %q", got)
	}
}

func TestBenchReports(t *testing.T) {
	dir := t.TempDir()
	html := filepath.Join(dir, "page.html")
	path, _ := measure(t, "--target", "io_uring", "--target", "go-net", "--cell", "echo-64B-1", "--html", html)
	readme := filepath.Join(filepath.Dir(path), "README.md")
	if page, err := os.ReadFile(html); err != nil || !bytes.Contains(page, []byte("echo-64B-1")) {
		t.Errorf("the page: %v", err)
	}
	const section = "# ringfd\n<!-- figures of report.json, which `make readme` writes -->\nstale figures\n<!-- end of figures -->\nrest\n"
	if err := os.WriteFile(readme, []byte(section), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, stdout, stderr := start(t, nil, "bench", "render", path, "--readme", readme, "--pictures", dir)
	if _, code := finish(t, cmd, stdout); code != 0 {
		t.Fatalf("code %d, stderr %s", code, stderr)
	}
	text, err := os.ReadFile(readme)
	if err != nil || !strings.Contains(string(text), "| echo 64 B, 1 connection |") || strings.Contains(string(text), "stale") ||
		!strings.HasSuffix(string(text), "\nrest\n") {
		t.Errorf("%v, README became\n%s", err, text)
	}
	if pictures, err := filepath.Glob(filepath.Join(dir, "*.svg")); err != nil || len(pictures) == 0 {
		t.Errorf("no pictures, %v", err)
	}
	// Again: nothing is left to change.
	cmd, stdout, _ = start(t, nil, "bench", "render", path, "--readme", readme)
	_, code := finish(t, cmd, stdout)
	if again, err := os.ReadFile(readme); code != 0 || err != nil || !bytes.Equal(again, text) {
		t.Errorf("code %d, %v: the second time it became\n%s", code, err, again)
	}
	// A run is not worse than itself, and what is printed of it is the table.
	cmd, stdout, stderr = start(t, nil, "bench", "compare", path, path)
	if _, code := finish(t, cmd, stdout); code != 0 {
		t.Errorf("compared with itself: code %d, stderr %s", code, stderr)
	}
	cmd, stdout, _ = start(t, nil, "bench", "render", path)
	if out, code := finish(t, cmd, stdout); code != 0 || !strings.Contains(out, "│ echo-64B-1 │") {
		t.Errorf("code %d, stdout %s", code, out)
	}
}

// What got worse is exit code 1.
func TestBenchCompareWorse(t *testing.T) {
	path, report := measure(t, "--target", "go-net", "--cell", "echo-64B-1", "--rounds", "6")
	for i := range report.Cells[0].Rounds {
		report.Cells[0].Rounds[i].Server.CPU.User *= 10
		report.Cells[0].Rounds[i].Server.CPU.System *= 10
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	slower := filepath.Join(t.TempDir(), "slower.json")
	if err := os.WriteFile(slower, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, stdout, stderr := start(t, nil, "bench", "compare", path, slower)
	if out, code := finish(t, cmd, stdout); code != exitFailure || !strings.Contains(out, "echo-64B-1") {
		t.Errorf("ten times the CPU: code %d, stderr %s, stdout %s", code, stderr, out)
	}
	cmd, stdout, stderr = start(t, nil, "bench", "compare", slower, path)
	if out, code := finish(t, cmd, stdout); code != 0 {
		t.Errorf("a tenth of the CPU: code %d, stderr %s, stdout %s", code, stderr, out)
	}
}

func TestBenchInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to another process: run this on a Unix system")
	}
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), program, "bench", "--target", "net", "--rounds", "1000", "--window", "10ms",
		"--warmup", "1ms", "--cell", "echo-64B-1", "--json", file)
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
	for lines.Scan() {
		last = lines.Text()
		if strings.HasPrefix(last, "[3/") { // a round is complete
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitFailure || last != "ringfd: interrupted: the rounds are not complete" {
		t.Errorf("%v, last line %q", err, last)
	}
	if !strings.Contains(stdout.String(), "│ echo-64B-1 │ net ") || !strings.Contains(stdout.String(), "Interrupted") {
		t.Errorf("it did not print what it has:\n%s", &stdout)
	}
	if report, err := readReport(file); err != nil || !report.Interrupted || len(report.Cells[0].Rounds) == 0 {
		t.Errorf("it did not write what it has: %v", err)
	}
}
