package page

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/control"
)

// TestMain makes the test binary the child processes of a run.
func TestMain(m *testing.M) {
	if args := os.Args[1:]; len(args) == 2 && args[0] == control.Command {
		if err := bench.Child(args[1], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// What a run measured is shown.
func TestRun(t *testing.T) {
	cells, err := bench.Select(bench.Full(), []string{"echo-64B-1", "echo-64B-16", "echo-1KiB-16"})
	if err != nil {
		t.Fatal(err)
	}
	targets, err := bench.SelectTargets(bench.Targets(""), []string{bench.IOUring, bench.Net, bench.GoNet})
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.Run(t.Context(), bench.Config{
		Settings: bench.Settings{Rounds: 2, Warmup: 5 * time.Millisecond, Window: 30 * time.Millisecond},
		Cells:    cells, Targets: targets, AllowMissing: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	text := write(t, r)
	words := parse(t, text)
	for _, want := range []string{r.Machine.OS + "/" + r.Machine.Arch, r.Go, r.Targets[0].About, "With fewer than 4 rounds", "wins 0 against", "may be chance"} {
		if !strings.Contains(words, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	// Latency and CPU of each cell; CPU, throughput and p99 against connections
	// and against size.
	if got := strings.Count(text, `class="plot"`); got != 2*len(cells)+6 {
		t.Errorf("%d plots", got)
	}
	if paths, err := Pictures(t.TempDir(), r); err != nil || len(paths) != 2*(1+2+1+6) {
		t.Errorf("pictures %v: %v", paths, err)
	}
}
