package bench

import (
	"strings"
	"testing"
	"time"
)

// What the tools print, by their versions in Debian 13.
func TestCrossTools(t *testing.T) {
	for _, c := range []struct {
		tool         crossTool
		said, failed string
		rate         string
	}{
		{wrk, "  1 threads and 64 connections\nRequests/sec:  43671.91\nTransfer/sec:      7.50MB\n", "", "43671.91"},
		{wrk, "  Non-2xx or 3xx responses: 17\nRequests/sec:  43671.91\n", "Non-2xx or 3xx responses: 17", "43671.91"},
		{wrk, "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec:  3.50\n", "read 3", "3.50"},
		{wrk, "  100 requests in 1.00s, 7.50MB read\n  Socket errors: connect 0, read 0, write 0, timeout 64\nRequests/sec:  3.50\n", "", "3.50"},
		{h2load, "finished in 1.00s, 13248.00 req/s, 1.09MB/s\nrequests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout\n", "", "13248.00"},
		{h2load, "finished in 998.10ms, 8.00 req/s, 1.09MB/s\nrequests: 10 total, 10 started, 10 done, 8 succeeded, 2 failed, 0 errored, 0 timeout\n", "2 failed", "8.00"},
		{redisBenchmark, "WARNING: Could not fetch server CONFIG\nECHO abc: rps=0.0\rECHO abc: 68728.52 requests per second, p50=0.135 msec\n", "", "68728.52"},
		{redisBenchmark, "Error from server: ERR unknown command\n", "Error from server: ERR unknown command", ""},
	} {
		found := append(c.tool.rate.FindStringSubmatch(c.said), "", "")[1]
		if failed := c.tool.failed.FindString(c.said); found != c.rate || failed != c.failed {
			t.Errorf("%s: %q gives the rate %q, want %q, and the failure %q, want %q", c.tool.name, c.said, found, c.rate, failed, c.failed)
		}
	}
}

// Ours is the first target, and the baseline the last.
func TestProgramsInReadme(t *testing.T) {
	report := &Report{Targets: []Target{{Name: "ring"}, {Name: "net"}}}
	for i, ratio := range []uint64{80, 120, 95} {
		cell := CellReport{Cell: judged(program("http", "http", 64, 64, i+1))}
		cell.Cell.Goals = []Goal{
			{Metric: MetricCPU, AtMost: 0.9}, {Metric: MetricCPU, AtMost: 0.9, OrChance: true},
			{Metric: MetricP99, AtMost: 1}, {Metric: MetricP99, AtMost: 1, OrChance: true},
		}
		for pair := range 6 {
			p99 := []time.Duration{100, 120}[pair%2] // around that of the other
			ours := roundOf("ring", pair, 1000, p99*time.Microsecond, time.Duration(ratio)*time.Millisecond)
			theirs := roundOf("net", pair, 1000, 105*time.Microsecond, 100*time.Millisecond)
			cell.Rounds = append(cell.Rounds, ours, theirs)
		}
		if cell.CrossCheck = (&CrossCheck{Tool: "wrk", Ratio: Spread{0.5, 0.4, 0.6}, Rate: Spread{900, 800, 950}}); i > 0 {
			cell.CrossCheck = &CrossCheck{Tool: "wrk", Error: "it is not here"}
		}
		cell.summarize(report.Targets)
		report.Cells = append(report.Cells, cell)
	}
	const text = "<!-- figures of a.json, which `make readme` writes -->\n<!-- end of figures -->"
	got, err := report.UpdateReadme(text, "a.json")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := report.WriteText(&table); err != nil {
		t.Fatal(err)
	}
	for where, wants := range map[string][]string{
		got: {
			"| net/http, 64 B, 2 connections | **1.20 (", "the median of these 3 cells: **0.95**",
			"| net/http, 64 B, 1 connection | wrk | 0.50 (0.40–0.60) | 1.00 (1.00–1.00) | 900/s | 1000/s |",
		},
		table.String(): {
			"the median of 3 cells: 0.950 (goal: ≤ 0.92, MISSED)", "no cross-check: it is not here",
			"the throughput's ratio is 0.50 (0.40–0.60) by wrk, 1.00 (1.00–1.00) by the lab's generator",
		},
	} {
		for _, want := range wants {
			if !strings.Contains(where, want) {
				t.Errorf("%q is not in\n%s", want, where)
			}
		}
	}
	// A ratio that may be chance reaches some goals; one that was measured does not.
	for i, want := range []bool{false, false, false, true} {
		if v := report.Cells[2].Verdicts[i]; v.Reached != want {
			t.Errorf("%v: %+v", v.Goal, v)
		}
	}
}
