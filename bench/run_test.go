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

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// small is a bench of moments.
func small(cells ...Cell) Config {
	return Config{
		Settings: Settings{Rounds: 2, Warmup: 5 * time.Millisecond, Window: 30 * time.Millisecond},
		Cells:    cells, Targets: Targets(), AllowMissing: true,
	}
}

// Run itself fails when the server and the generator do not agree to the byte;
// here it runs over both backends, both generators and all kinds of cells.
func TestRun(t *testing.T) {
	cells := []Cell{
		{Name: "one", Size: 64, Conns: 1, Procs: 1, Pinned: true, BusyPoll: 20 * time.Microsecond, Goals: []Goal{{MetricP50, 0.5}}},
		{Name: "many", Size: 64, Conns: 50, Procs: 2},
		{Name: "large", Size: 100_000, Conns: 3, Procs: 1, Pinned: true},
	}
	for _, portable := range []bool{false, true} {
		config := small(cells...)
		config.Portable = portable
		config.Syscalls = !portable
		report, err := Run(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		checkReport(t, report, config)
	}
}

func checkReport(t *testing.T, report *Report, config Config) {
	t.Helper()
	if report.Interrupted || len(report.Cells) != len(config.Cells) {
		t.Fatalf("interrupted: %v, %d cells", report.Interrupted, len(report.Cells))
	}
	if net := report.Choices[len(report.Choices)-1]; net.Target != "net" || net.Kind != string(ringfd.Net) {
		t.Errorf("the net target runs on %+v", net)
	}
	for _, c := range report.Cells {
		if len(c.Rounds) != config.Rounds*len(report.Targets) {
			t.Errorf("%s: %d rounds", c.Cell.Name, len(c.Rounds))
		}
		for i, r := range c.Rounds {
			if want := report.Targets[i%len(report.Targets)].Name; r.Target != want || r.Pair != i/len(report.Targets) {
				t.Errorf("%s: round %d is %s of pair %d, want them in turns", c.Cell.Name, i, r.Target, r.Pair)
			}
			if r.ServerRead != r.Load.Messages*uint64(c.Cell.Size) {
				t.Errorf("%s: the server read %d bytes of %d messages", c.Cell.Name, r.ServerRead, r.Load.Messages)
			}
			l := r.Load.Latency
			if l.Min <= 0 || l.Min > l.P50 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max ||
				runtime.GOOS != "windows" && r.ServerCPU.Total() <= 0 { // Windows counts in steps of 15 ms
				t.Errorf("%s: round %+v", c.Cell.Name, r)
			}
		}
		if len(c.Summaries) != len(report.Targets) || len(c.Comparisons) != len(report.Targets)-1 {
			t.Errorf("%s: %d summaries, %d comparisons", c.Cell.Name, len(c.Summaries), len(c.Comparisons))
		}
		for _, s := range c.Syscalls {
			// Each message takes at least a read and a write, unless a ring
			// takes many of them at once.
			if s.Error == "" && s.Target == string(ringfd.Net) && s.Calls < 2*s.Messages {
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

func TestServiceTimeIsSeen(t *testing.T) {
	const serviceTime = time.Millisecond
	config := small(Cell{Name: "slow", Size: 64, Conns: 4, Procs: 1})
	config.ServiceTime = serviceTime
	report, err := Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Cells[0].Rounds {
		if r.Load.Latency.Min < serviceTime*99/100 { // the histogram rounds to three digits
			t.Errorf("%s: a message that is held for %v took %v", r.Target, serviceTime, r.Load.Latency.Min)
		}
		if most := 4 * uint64(r.Load.Wall/serviceTime+1); r.Load.Messages > most {
			t.Errorf("%s: %d messages in %v", r.Target, r.Load.Messages, r.Load.Wall)
		}
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	config := small(Cell{Name: "one", Size: 64, Conns: 1, Procs: 1}, Cell{Name: "two", Size: 64, Conns: 1, Procs: 1})
	config.Targets = config.Targets[1:]
	config.Window = time.Minute // ended by the interrupt alone
	config.Progress = func(done, _ int, _ string) {
		if done == 0 {
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
	config := small(Cell{Name: "one", Size: 64, Conns: 1, Procs: 1})
	config.Targets = []Target{{Name: "absent", Command: fake(t, "unavailable")}, {Name: "net", Backend: ringfd.Net}}
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
	config := small(Cell{Name: "one", Size: 64, Conns: 1, Procs: 1})
	config.Targets = []Target{{Name: "dying", Command: fake(t, "dying")}}
	_, err := Run(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "the cause") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want its exit status and what it said", err)
	}
}

func TestTotalsThatDisagree(t *testing.T) {
	spec := loadSpec{Conns: 2, Size: 10}
	good := func() Totals {
		return Totals{Accepted: 2, Read: 50, Written: 50, Ends: map[string]uint64{fd.ClosedByPeer.String(): 2}}
	}
	if err := checkTotals(good(), spec, 5); err != nil {
		t.Error(err)
	}
	for i, spoil := range []func(*Totals){
		func(t *Totals) { t.Accepted = 3 },
		func(t *Totals) { t.Read-- },
		func(t *Totals) { t.Written++ },
		func(t *Totals) { t.Ends = map[string]uint64{fd.ClosedByPeer.String(): 1, fd.Lost.String(): 1} },
	} {
		totals := good()
		spoil(&totals)
		if checkTotals(totals, spec, 5) == nil {
			t.Errorf("case %d: %+v passes", i, totals)
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
		config := small(Cells()...)
		if err := config.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&config)
		if _, err := Run(t.Context(), config); err == nil {
			t.Errorf("case %d runs", i)
		}
	}
}

func ExampleCell_String() {
	fmt.Println(Cells()[7])
	// Output: 64 B × 1 conn, GOMAXPROCS=1 pinned, BusyPoll(50µs)
}
