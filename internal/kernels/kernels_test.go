package kernels

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ringfd/ringfd/uring"
)

const m = "\x16" // marks the lines of the tests' own

func TestReadOutput(t *testing.T) {
	part := Part{Runs: []Run{{Binary: "ringfd"}, {Row: "package uring", Binary: "uring"}, {Row: "package fd", Binary: "fd"}, {Row: "x", Binary: "x", Disabled: "2"}}}
	said := strings.Join([]string{
		"\r", ProbeLine + `{"Kernel":"6.1.0","Found":["napi"],"Lacks":{"send_zc":"why"}}` + "\r",
		BeginLine + "0",
		m + "=== RUN   TestConformance", m + "=== RUN   TestConformance/net", m + "=== RUN   TestConformance/net/tcp4",
		m + "=== RUN   TestConformance/net/tcp4/Close", "no newline" + m + "--- PASS: TestConformance/net/tcp4/Close (0.00s)",
		m + "=== RUN   TestConformance/net/tcp4/Read", "    read.go:1: bad", m + "    --- FAIL: TestConformance/net/tcp4/Read (0.00s)",
		m + "=== RUN   TestConformance/net/tcp4/Write", m + "--- SKIP: TestConformance/net/tcp4/Write (0.00s)",
		m + "--- FAIL: TestConformance/net/tcp4 (0.00s)", m + "--- FAIL: TestConformance/net (0.00s)", m + "--- FAIL: TestConformance (0.00s)",
		"FAIL", EndLine + "0 1",
		BeginLine + "1",
		m + "=== RUN   TestA", m + "--- PASS: TestA (0.00s)", "leak: something", EndLine + "1 99",
		BeginLine + "2",
		m + "=== RUN   TestB", m + "=== RUN   TestB/part", m + "--- PASS: TestB/part (0.00s)", m + "--- FAIL: TestB (0.00s)",
		m + "=== RUN   TestC", "panic: x", EndLine + "2 2",
		NoSysctlLine + "3", TroubleLine + "of some kind", DoneLine,
	}, "\n")
	got, err := ReadOutput(part, strings.NewReader(said), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := Outcome{
		Probe: &Probe{Kernel: "6.1.0", Found: []string{"napi"}, Lacks: map[string]string{"send_zc": "why"}},
		Rows: []Row{
			{Name: "net", Passed: 1, Failed: []string{"TestConformance/net/tcp4/Read"}, Skipped: []string{"TestConformance/net/tcp4/Write"}},
			{Name: "package uring", Passed: 1, Failed: []string{"uring: ran 1 tests, exit status 99"}},
			{Name: "package fd", Passed: 1, Failed: []string{"TestB", "TestC (did not end)"}},
		},
		NoSysctl: true, Troubles: []string{"of some kind"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A kernel that dies takes the tests with it that it ran, and no others.
func TestReadOutputOfADeadKernel(t *testing.T) {
	part := Part{Runs: []Run{{Row: "a", Binary: "a"}}}
	said := BeginLine + "0\n" + m + "=== RUN   TestA\n" + m + "--- PASS: TestA (0.00s)\n" + m + "=== RUN   TestB\n"
	got, err := ReadOutput(part, strings.NewReader(said), io.Discard)
	want := Outcome{
		Rows:     []Row{{Name: "a", Passed: 1, Failed: []string{"TestB (did not end)"}}},
		Troubles: []string{"the guest did not come to its end"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTroubles(t *testing.T) {
	console := `[    0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on
[    1.0] Linux version 5.10
[    2.0] WARNING: CPU: 0 PID: 1 at fs/io_uring.c:1
[    3.0] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    4.0] WARNING: possible circular locking dependency detected
[    5.0] Kernel panic - not syncing: Fatal exception
[    6.0] reboot: Power down
`
	if got := Troubles(console); len(got) != 4 {
		t.Errorf("found %q, want the lines of 2.0 to 5.0", got)
	}
}

func TestMissing(t *testing.T) {
	p := &Probe{Kernel: "6.9.1-cloud", Lacks: map[string]string{"napi": "refused"}}
	for _, f := range uring.FeatureTable {
		if f.Name != "napi" && version(f.Since) <= version("6.9") {
			p.Found = append(p.Found, f.Name)
		}
	}
	if got := Missing(p, "CONFIG_NET_RX_BUSY_POLL=y\n"); len(got) != 1 || !strings.Contains(got[0], "napi (Linux 6.9): refused") {
		t.Errorf("missing: %q, want napi", got)
	}
	if got := Missing(p, "# CONFIG_NET_RX_BUSY_POLL is not set\n"); len(got) != 0 {
		t.Errorf("missing: %q where the option is not set", got)
	}
	if got := Missing(&Probe{Kernel: "6.9", Err: "no"}, ""); len(got) != 1 {
		t.Errorf("without io_uring: %q", got)
	}
	for option := range leftOut {
		if _, err := uring.ParseFeatures(option); err != nil {
			t.Error(err)
		}
	}
}

func TestArchive(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("needs the cpio command to read an archive back")
	}
	var b bytes.Buffer
	a := NewArchive(&b)
	a.Dir("etc")
	a.File("etc/hosts", []byte("127.0.0.1 localhost\n"))
	a.File("init", bytes.Repeat([]byte{1}, 1001))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(cpio, "-id", "--quiet")
	c.Dir, c.Stdin, c.Stderr = t.TempDir(), &b, os.Stderr
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int64{"etc/hosts": 20, "init": 1001} {
		if info, err := os.Stat(c.Dir + "/" + path); err != nil || info.Size() != size || info.Mode()&0o100 == 0 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
