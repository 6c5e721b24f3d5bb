package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench/server"
)

// moment is a soak that proves little, quickly: it is too short for memory to
// settle. It takes some 12 intervals.
func moment(backend, flaw string) SoakConfig {
	return SoakConfig{Time: 1500 * time.Millisecond, Interval: 100 * time.Millisecond, Backend: backend, Conns: 48, Growth: 1, Seed: 1, Flaw: flaw}
}

// A short soak passes, having done all that it should; and each flaw fails one.
func TestSoak(t *testing.T) {
	backends := []string{IOUring, Net}
	if b, err := ringfd.Open(ringfd.Options{Backend: ringfd.IOUring}); err != nil {
		t.Logf("without io_uring: %v", err)
		backends = backends[1:]
	} else if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			report, err := Soak(t.Context(), moment(backend, ""))
			if err != nil {
				t.Fatal(err)
			}
			if !report.OK() || report.Kind != backend || report.Interrupted {
				t.Errorf("on %s: %s", report.Kind, report.WhyNot())
			}
			sum := report.sum()
			if sum.Messages == 0 || sum.Churned == 0 || sum.Told == 0 || sum.Checked == 0 || len(report.Samples) < 2*leastIntervals || len(report.Faults) < 5 {
				t.Errorf("%d samples, faults %v, in all %+v", len(report.Samples), report.Faults, sum)
			}
			for _, s := range report.Samples {
				if s.Resting && (s.Connections != 48+3*soakMembers || s.Latency.P50 <= 0 || s.Latency.P50 > s.Latency.P999) {
					t.Errorf("sample %+v", s)
				}
			}
			const onLoops = (48 + 3*soakMembers) * 2 / 3 // two styles of three
			if backend == IOUring && report.Checks[4].From < onLoops {
				t.Errorf("there is a request for each connection of a loop, at least: %+v", report.Checks[4])
			}
		})
	}
	for flaw, want := range map[string]string{
		server.LeakGoroutine: "goroutines: it grew",
		server.WrongByte:     "a reply is not what its message asks for|what came is not what it should be",
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			report, err := Soak(t.Context(), moment(backends[0], flaw))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, text := range strings.Split(want, "|") {
				found = found || strings.Contains(report.WhyNot(), text)
			}
			if report.OK() || !found {
				t.Errorf("why not: %q, want %q; %+v", report.WhyNot(), want, report.Checks)
			}
		})
	}
}

// An interrupt ends a soak at the end of its interval, with what there is.
func TestSoakInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	config := moment(Net, "")
	config.Time = time.Hour
	config.Progress = func(s SoakSample) {
		if s.Resting {
			cancel()
		}
	}
	report, err := Soak(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Interrupted || report.Failure != "" || len(report.Samples) != 2 || report.OK() {
		t.Errorf("interrupted: %v, %d samples, %s", report.Interrupted, len(report.Samples), report.WhyNot())
	}
}

func TestSoakConfigCheck(t *testing.T) {
	for i, spoil := range []func(*SoakConfig){
		func(c *SoakConfig) { c.Time = 0 },
		func(c *SoakConfig) { c.Interval = -1 },
		func(c *SoakConfig) { c.Interval = c.Time },
		func(c *SoakConfig) { c.Backend = GoNet },
		func(c *SoakConfig) { c.Conns = 0 },
		func(c *SoakConfig) { c.Growth = 0 },
	} {
		config := moment(Net, "")
		spoil(&config)
		if _, err := Soak(t.Context(), config); err == nil {
			t.Errorf("case %d runs", i)
		}
	}
	config := moment(Net, "nonsense")
	if _, err := Soak(t.Context(), config); err == nil || !strings.Contains(err.Error(), `no flaw "nonsense"`) {
		t.Errorf("an unknown flaw: %v", err)
	}
	for length, interval := range map[time.Duration]time.Duration{
		20 * time.Second: time.Second, 4 * time.Minute: 4 * time.Second, 30 * time.Minute: 5 * time.Second,
	} {
		c := SoakConfig{Time: length, Backend: Net, Conns: 1, Growth: 1}
		if err := c.Check(); err != nil || c.Interval != interval {
			t.Errorf("%v: samples every %v, %v; want %v", length, c.Interval, err, interval)
		}
	}
}
