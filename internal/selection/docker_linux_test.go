package selection

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/child"
	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/uring"
)

// amd64 skips a test of Docker's profile elsewhere.
func amd64(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: the list of system calls in internal/child is of that architecture")
	}
}

// suiteFilter says which filter the process puts itself under before it runs
// tests: "kill", or what to allow besides Docker's profile.
const suiteFilter = "RINGFD_TEST_FILTER"

func filterForSuite() {
	switch filter, ok := os.LookupEnv(suiteFilter); {
	case !ok:
	case filter == "kill":
		child.KillIOUring()
	default:
		child.FilterAsDocker(strings.Split(filter, ",")...)
	}
}

// TestSuiteUnderFilters runs the core of the suite, in processes of their own, on
// io_uring under Docker's profile with the rule of SECURITY.md, and on net under a
// filter that kills who makes a system call of io_uring.
func TestSuiteUnderFilters(t *testing.T) {
	if _, ok := os.LookupEnv(suiteFilter); ok {
		coreSuite(t)
		return
	}
	child.NeedFilters(t)
	t.Run("docker", func(t *testing.T) {
		amd64(t)
		needRing(t)
		underFilter(t, strings.Join(ruleOfSecurity(t), ","), "io_uring", "", "tcp4", "unix")
	})
	t.Run("kill", func(t *testing.T) { underFilter(t, "kill", "net", "net", "unix") })
}

// coreSuite runs in the child.
func coreSuite(t *testing.T) {
	if os.Getenv(suiteFilter) != "kill" {
		if err := uring.Probe().Err; err != nil { // the suite would skip
			t.Fatal(err)
		}
		// The filter is there, and is Docker's.
		if _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false); err != unix.EPERM {
			t.Fatalf("keyctl: %v, want %v", err, unix.EPERM)
		}
	}
	for _, row := range slices.Concat(conformance.Rows(), conformance.ServeRows()) {
		switch row.Name {
		case "net", "serve-net", "io_uring", "serve-io_uring":
			row.Core = true
			t.Run(row.Name, func(t *testing.T) { conformance.Run(t, row) })
		}
	}
}

// slowCases repeat what others do, thousands of times or with megabytes, or count
// allocations: they make no other system calls.
const slowCases = "BackPressure|MessageSizes|SimultaneousLargeMessages|LargeWriteSlowReader|WritevMany|DeadlinesLose.*|" +
	".*Races.*|.*AllocateNothing|EverythingAtOnce|DuplexEcho|BroadcastContext.*|ServeChurn|ServeSlowReader|ServeOtherConnections"

// underFilter runs the suite on a backend, accepting and serving.
func underFilter(t *testing.T, filter, backend, environment string, networks ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=100s", "-test.skip=///^("+slowCases+")$",
		"-test.run=^TestSuiteUnderFilters$/^(serve-)?"+backend+"$/^("+strings.Join(networks, "|")+")$")
	c.Env = append(os.Environ(), suiteFilter+"="+filter, "RINGFD_BACKEND="+environment, "RINGFD_WITHOUT=")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []string{backend, "serve-" + backend} {
		for _, network := range networks {
			passed := regexp.MustCompile(`(?m)^ *--- PASS: TestSuiteUnderFilters/` + row + `/` + network + `/\w+ `)
			const most = 20 // a little less than the core has
			if n := len(passed.FindAll(out, -1)); n < most {
				t.Errorf("%s: %d cases passed over %s, want %d at least\n%s", row, n, network, most, out)
			}
		}
	}
}

// ruleOfSecurity returns the system calls that SECURITY.md says to allow.
func ruleOfSecurity(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../SECURITY.md")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the sources are not here: go test in the folder of the package would make this run")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n```json\n")
	code, _, _ := strings.Cut(rest, "\n```\n")
	var rule struct{ Names []string }
	if err := json.Unmarshal([]byte(code), &rule); err != nil {
		t.Fatal(err)
	}
	return rule.Names
}
