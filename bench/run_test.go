package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
	"github.com/ringfd/ringfd/fd"
)

// small is a bench of moments, on the targets that need no other program.
func small(cells ...Cell) Config {
	targets, err := SelectTargets(Targets(""), []string{IOUring, Net, GoNet})
	if err != nil {
		panic(err)
	}
	return Config{
		Settings: Settings{Rounds: 2, Warmup: 5 * time.Millisecond, Window: 30 * time.Millisecond},
		Cells:    cells, Targets: targets, AllowMissing: true,
	}
}

// Run itself fails when the server and the generator do not agree to the byte;
// here it runs over the targets of this module, all drivers of the generator,
// and all kinds of cells.
func TestRun(t *testing.T) {
	busy := echo(64, 1)
	busy.BusyPoll, busy.Goals = 20*time.Microsecond, []Goal{{Metric: MetricP50, AtMost: 0.5}}
	heavy := unpinned(echo(64, 50))
	heavy.Weight = 2
	cells := []Cell{
		busy, heavy, echo(100_000, 3), open(echo(64, 10), 0.5), pipelined(64, 4, 8),
		upload(2), download(2), churn(8), fanout(1<<10, 20), idle(50), trace(32),
	}
	if runtime.GOOS != "windows" {
		cells = append(cells, overUnix(echo(64, 4)), overUnix(trace(32)))
	}
	for name, c := range map[string]struct {
		cells    []Cell
		driver   load.Driver
		syscalls bool
	}{
		"all cells":          {cells: cells},
		"counting syscalls":  {cells: cells[:3], syscalls: true},
		"portable generator": {cells: cells[2:8], driver: load.Portable},
	} {
		t.Run(name, func(t *testing.T) {
			config := small(c.cells...)
			config.Driver, config.Settings.Syscalls = c.driver, c.syscalls
			report, err := Run(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, report, config)
		})
	}
}

func checkReport(t *testing.T, report *Report, config Config) {
	t.Helper()
	if report.Interrupted || len(report.Cells) != len(config.Cells) {
		t.Fatalf("interrupted: %v, %d cells", report.Interrupted, len(report.Cells))
	}
	if net := report.Choices[1]; net.Target != Net || net.Kind != Net {
		t.Errorf("the net target runs on %+v", net)
	}
	for _, c := range report.Cells {
		if len(c.Rounds) != config.Rounds*c.Cell.weight()*len(report.Targets) {
			t.Errorf("%s: %d rounds", c.Cell.Name, len(c.Rounds))
		}
		turns := make(map[int]map[string]bool)
		for i, r := range c.Rounds {
			if turns[r.Pair] == nil {
				turns[r.Pair] = make(map[string]bool)
			}
			turns[r.Pair][r.Target] = true
			if r.Pair != i/len(report.Targets) {
				t.Errorf("%s: round %d is of pair %d, want them in turns", c.Cell.Name, i, r.Pair)
			}
			if c.Cell.Workload == load.Idle {
				if r.Memory.UserPerConn <= 0 && runtime.GOOS == "linux" {
					t.Errorf("%s: memory %+v", c.Cell.Name, r.Memory)
				}
				continue
			}
			if r.Go == nil || r.Read == 0 || r.Written == 0 {
				t.Errorf("%s: round %+v", c.Cell.Name, r)
			}
			l := r.Load.Latency
			if l.Min <= 0 || l.Min > l.P50 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max ||
				runtime.GOOS != "windows" && r.Server.CPU.Total() <= 0 { // Windows counts in steps of 15 ms
				t.Errorf("%s: round %+v", c.Cell.Name, r)
			}
		}
		for pair, targets := range turns {
			if len(targets) != len(report.Targets) {
				t.Errorf("%s: in pair %d ran only %v", c.Cell.Name, pair, targets)
			}
		}
		// Ours with each, and each other with the baseline.
		if n := len(report.Targets); len(c.Summaries) != n || len(c.Comparisons) != n-1+max(0, n-2) {
			t.Errorf("%s: %d summaries, %d comparisons", c.Cell.Name, len(c.Summaries), len(c.Comparisons))
		}
		for _, s := range c.Syscalls {
			// Each message takes at least a read and a write, unless a ring
			// takes many of them at once.
			if s.Error == "" && s.Target == Net && c.Cell.Workload == load.Echo && s.Calls < 2*s.Messages {
				t.Errorf("%s: %d system calls for %d messages on net", c.Cell.Name, s.Calls, s.Messages)
			}
		}
	}
	checkOutputs(t, report)
}

// checkOutputs reads the report back from JSON, and looks for every cell and
// target in the text.
func checkOutputs(t *testing.T, report *Report) {
	t.Helper()
	encoded, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(encoded, &again); err != nil {
		t.Fatal(err)
	}
	again.Started = report.Started // the monotonic reading is not in JSON
	if !reflect.DeepEqual(&again, report) {
		t.Errorf("through JSON the report became %+v, was %+v", again, *report)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Cells {
		if !strings.Contains(text.String(), c.Cell.Name) {
			t.Errorf("cell %s is not in the text:\n%s", c.Cell.Name, text.String())
		}
	}
	for _, c := range report.Choices {
		if !strings.Contains(text.String(), c.Target) || !strings.Contains(text.String(), c.Error) {
			t.Errorf("target %s (%s) is not in the text:\n%s", c.Target, c.Error, text.String())
		}
	}
}

// The first target and the last run next to each other, in either order.
func TestInTurn(t *testing.T) {
	for n := 2; n <= 7; n++ {
		var targets []Target
		for i := range n {
			targets = append(targets, Target{Name: fmt.Sprint(i)})
		}
		distances := make(map[int]int)
		for pair := range 2 * n {
			at := make(map[string]int)
			for i, target := range inTurn(targets, pair) {
				at[target.Name] = i
			}
			if len(at) != n {
				t.Errorf("pair %d: %v", pair, at)
			}
			distances[at[targets[0].Name]-at[targets[n-1].Name]]++
		}
		if distances[1] != n || distances[-1] != n {
			t.Errorf("%d targets: the last comes before the first by %v", n, distances)
		}
	}
	if one := []Target{{Name: "a"}}; len(inTurn(one, 3)) != 1 {
		t.Error("one target is not one")
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	config := small(echo(64, 1), echo(64, 2))
	config.Targets = config.Targets[1:]
	config.Window = time.Minute // ended by the interrupt alone
	config.Progress = func(p Progress) {
		if p.Done == 0 {
			time.AfterFunc(100*time.Millisecond, cancel)
		}
	}
	report, err := Run(ctx, config)
	if err != nil || !report.Interrupted {
		t.Fatalf("interrupted: got %v", err)
	}
	checkOutputs(t, report)
}

func TestMissingTarget(t *testing.T) {
	config := small(echo(64, 1))
	config.Targets = []Target{{Name: "absent", Command: fake(t, "unavailable")}, {Name: Net, Server: Net}}
	report, err := Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Targets) != 1 || !strings.Contains(report.Choices[0].Error, "not on this machine") {
		t.Errorf("targets %v, choices %v", report.Targets, report.Choices)
	}
	checkOutputs(t, report)
	config.AllowMissing = false
	if _, err := Run(t.Context(), config); !errors.Is(err, errUnavailable) {
		t.Errorf("a missing target that was asked for: got %v", err)
	}
}

func TestDyingChild(t *testing.T) {
	config := small(echo(64, 1))
	config.Targets = []Target{{Name: "dying", Command: fake(t, "dying")}}
	_, err := Run(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "the cause") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want its exit status and what it said", err)
	}
}

func TestTotalsThatDisagree(t *testing.T) {
	generator := traffic{conns: 2, sent: 50, received: 60}
	good := func() control.Totals {
		return control.Totals{Accepted: 2, Read: 50, Written: 60, Ends: map[string]uint64{fd.ClosedByPeer.String(): 2}}
	}
	if err := generator.check(good()); err != nil {
		t.Error(err)
	}
	for i, spoil := range []func(*control.Totals){
		func(t *control.Totals) { t.Accepted = 3 },
		func(t *control.Totals) { t.Read-- },
		func(t *control.Totals) { t.Written++ },
		func(t *control.Totals) { t.Live = 1 },
		func(t *control.Totals) { t.Ends = map[string]uint64{fd.ClosedByPeer.String(): 1, fd.Lost.String(): 1} },
	} {
		totals := good()
		spoil(&totals)
		if generator.check(totals) == nil {
			t.Errorf("case %d: %+v passes", i, totals)
		}
	}
}

func TestMessagesThatDisagree(t *testing.T) {
	generator := traffic{conns: 2, messages: 5}
	if err := generator.checkMessages(control.Totals{Accepted: 2, Messages: 5}); err != nil {
		t.Error(err)
	}
	for _, totals := range []control.Totals{{Accepted: 1, Messages: 5}, {Accepted: 2, Messages: 4}} {
		if generator.checkMessages(totals) == nil {
			t.Errorf("%+v passes", totals)
		}
	}
}

func TestCheck(t *testing.T) {
	for i, spoil := range []func(*Config){
		func(c *Config) { c.Cells = nil },
		func(c *Config) { c.Targets = nil },
		func(c *Config) { c.Rounds = 0 },
		func(c *Config) { c.Window = 0 },
		func(c *Config) { c.Warmup = -1 },
	} {
		config := small(Headline()...)
		if err := config.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&config)
		if _, err := Run(t.Context(), config); err == nil {
			t.Errorf("case %d runs", i)
		}
	}
}
