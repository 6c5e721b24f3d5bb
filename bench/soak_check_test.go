package bench

import (
	"bytes"
	"encoding/csv"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// madeSoak is the report of a soak in which nothing grows; spoil changes each
// sample at rest. x is the share of the time that has gone.
func madeSoak(intervals int, spoil func(s *SoakSample, x float64)) *SoakReport {
	r := &SoakReport{Config: SoakConfig{Growth: 0.05, Interval: time.Second}}
	random := rand.New(rand.NewPCG(1, 1))
	around := func(value float64) float64 { return value * (1 + 0.02*random.NormFloat64()) }
	for i := range intervals {
		busy := SoakSample{At: time.Duration(i)*time.Second + time.Second/2, Resident: 70 << 20, Files: 400, Goroutines: 300, Connections: 350, InFlight: 900}
		rest := SoakSample{
			At: time.Duration(i+1) * time.Second, Resting: true, Wall: time.Second,
			Resident: uint64(around(60 << 20)), Heap: 20 << 20, Files: 380, Goroutines: 250 + random.IntN(10), Connections: 336, InFlight: 350,
			Messages: 1000, Checked: 1 << 20,
		}
		rest.Latency.P50, rest.Latency.P99 = time.Duration(around(1e6)), time.Duration(around(5e6))
		if i+1 < intervals/6 { // the warm-up is not judged
			rest.Resident, rest.Files, rest.Latency.P99 = 10<<20, 1, 1
		}
		spoil(&rest, float64(i)/float64(intervals))
		r.Samples = append(r.Samples, busy, rest)
	}
	r.judge(nil)
	return r
}

func TestSoakChecks(t *testing.T) {
	for what, c := range map[string]struct {
		intervals int
		spoil     func(s *SoakSample, x float64)
		failed    string // names of checks, with commas
	}{
		"nothing":                 {60, func(*SoakSample, float64) {}, ""},
		"memory within the limit": {60, func(s *SoakSample, x float64) { s.Resident += uint64(2e6 * x) }, ""},
		"memory that creeps":      {60, func(s *SoakSample, x float64) { s.Resident += uint64(8e6 * x) }, "resident memory"},
		"memory that falls":       {60, func(s *SoakSample, x float64) { s.Resident -= uint64(20e6 * x) }, ""},
		"one descriptor":          {60, func(s *SoakSample, x float64) { s.Files += int(x + 0.5) }, "descriptors"},
		"descriptors that return": {60, func(s *SoakSample, x float64) { s.Files += int(x*60) % 3 }, ""},
		"goroutines":              {60, func(s *SoakSample, x float64) { s.Goroutines += int(60 * x) }, "goroutines"},
		"connections":             {60, func(s *SoakSample, x float64) { s.Connections += int(3 * x) }, "connections"},
		"requests":                {60, func(s *SoakSample, x float64) { s.InFlight += int(3 * x) }, "requests in flight"},
		"latencies": {60, func(s *SoakSample, x float64) {
			s.Latency.P50, s.Latency.P99 = time.Duration(float64(s.Latency.P50)*(1+x)), time.Duration(float64(s.Latency.P99)*(1+x))
		}, "latency, p50,latency, p99"},
		"a little latency": {60, func(s *SoakSample, x float64) { s.Latency.P99 += time.Duration(0.2 * x * 5e6) }, ""},
		"noisy latencies": {60, func(s *SoakSample, x float64) {
			if int(x*60)%3 == 0 {
				s.Latency.P99 *= 4
			}
		}, ""},
		"latencies of few samples": {12, func(s *SoakSample, x float64) { s.Latency.P99 += time.Duration(x * 5e6) }, ""},
		"too few samples": {5, func(*SoakSample, float64) {},
			"resident memory,descriptors,goroutines,connections,requests in flight,latency, p50,latency, p99"},
	} {
		r := madeSoak(c.intervals, c.spoil)
		var failed []string
		for _, check := range r.Checks {
			if !check.OK {
				failed = append(failed, check.Name)
				if !strings.Contains(r.WhyNot(), check.Name) || check.Note == "" {
					t.Errorf("%s: %+v, and why not: %s", what, check, r.WhyNot())
				}
			}
		}
		if got := strings.Join(failed, ","); got != c.failed || r.OK() != (c.failed == "") {
			t.Errorf("%s: failed %q, want %q; OK is %v; %+v", what, got, c.failed, r.OK(), r.Checks)
		}
	}
	r := madeSoak(60, func(*SoakSample, float64) {})
	if r.Failure = "a byte was wrong"; r.OK() || !strings.Contains(r.WhyNot(), "a byte was wrong") {
		t.Errorf("a failure passes: %s", r.WhyNot())
	}
}

func TestSoakSlope(t *testing.T) {
	r := madeSoak(60, func(s *SoakSample, x float64) {
		s.InFlight = 100 + int(x*60)*2 // two more each second
		if s.At == 30*time.Second {
			s.InFlight = 1e6 // which a robust slope does not mind
		}
	})
	if got := r.Checks[4].Slope; got != 7200 {
		t.Errorf("the trend is %v per hour, want 7200", got)
	}
	if got := madeSoak(3000, func(s *SoakSample, x float64) { s.InFlight = int(x * 3000) }).Checks[4].Slope; got != 3600 {
		t.Errorf("the trend of many samples is %v per hour, want 3600", got)
	}
}

func TestSoakLatency(t *testing.T) {
	var intervals []*hdrhistogram.Histogram
	for _, value := range []int64{9e6, 1e6, 3e6} {
		h := hdrhistogram.New(1, 1e9, 3)
		_ = h.RecordValue(value)
		intervals = append(intervals, h)
	}
	if l := wholeLatency(intervals, 2); l.Max > 4e6 || l.Min > 2e6 || l.Max < 2e6 {
		t.Errorf("of the last two intervals: %+v", l)
	}
	if l := wholeLatency(nil, 3); l.Max != 0 {
		t.Errorf("of none: %+v", l)
	}
}

func TestSoakOutputs(t *testing.T) {
	r := madeSoak(20, func(s *SoakSample, x float64) { s.Files += int(10 * x) })
	r.Faults, r.Ends = map[string]uint64{"reset": 3}, map[string]uint64{"connection lost": 3}
	var text, table bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"resident memory", "FAILED: it grew", "3 reset", "3 connection lost", "20000 messages"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, &text)
		}
	}
	if err := r.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(lines) != 1+len(r.Samples) || lines[1][0] != "0.500" || lines[2][1] != "true" || lines[2][6] != "336" {
		t.Errorf("%v, the CSV is %v", err, lines)
	}
}
