package uring

import (
	"strings"
	"testing"

	"github.com/ringfd/ringfd/internal/child"
)

func TestDisabledBySysctl(t *testing.T) {
	child.NeedFilters(t)
	for _, c := range []struct{ value, why, cure string }{
		{
			"1", "the sysctl kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN and the group kernel.io_uring_group may use io_uring",
			"add this user to the group of kernel.io_uring_group, or sysctl -w kernel.io_uring_disabled=0",
		},
		{
			"2", "the sysctl kernel.io_uring_disabled is 2: io_uring is off for everybody",
			"sysctl -w kernel.io_uring_disabled=0",
		},
	} {
		var got unavailable
		child.Run(t, "sysctl "+c.value, &got)
		text := "io_uring_setup: operation not permitted: " + c.why
		want := unavailable{New: text, Probe: text, Cure: c.cure, Sysctl: c.value, Seccomp: "true", Cached: true}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestProbeKeepsAnAnswer(t *testing.T) {
	needRing(t)
	var got again
	child.Run(t, "cached", &got)
	if got.First != "" || got.FirstFound == 0 || !got.FirstCached {
		t.Errorf("the first probe: %+v", got)
	}
	if got.Second != "" || got.SecondFound != got.FirstFound || !got.SecondCached {
		t.Errorf("the second probe asked the kernel again: %+v", got)
	}
}

// TestProbeKeepsNoGuess probes with too few descriptors. What that says of the
// features is true, and is forgotten.
func TestProbeKeepsNoGuess(t *testing.T) {
	needRing(t)
	var all []starved
	child.Run(t, "few files", &all)
	plenty := all[len(all)-1]
	if plenty.Err != "" || plenty.Found == 0 || plenty.Unknown != 0 || !plenty.Cached {
		t.Fatalf("with enough descriptors: %+v", plenty)
	}
	if !all[0].NoFile || !strings.Contains(all[0].Err, "no file descriptor is left for the ring") {
		t.Errorf("with no descriptor left: %+v", all[0])
	}
	partly := 0
	for _, s := range all {
		if s.Unknown != 0 {
			partly++
		}
		if complete := s.Err == "" && s.Unknown == 0; s.Cached != complete {
			t.Errorf("with %d descriptors left: cached is %v: %+v", s.Left, s.Cached, s)
		}
		if s.Err == "" && (s.Found&^plenty.Found != 0 || s.Found|s.Unknown != plenty.Found|s.Unknown) {
			t.Errorf("with %d descriptors left: found %s, unknown %s, truly there %s", s.Left, s.Found, s.Unknown, plenty.Found)
		}
		if s.Err != "" && !s.NoFile {
			t.Errorf("with %d descriptors left the reason is %q", s.Left, s.Err)
		}
	}
	if partly == 0 {
		t.Error("no number of descriptors was enough for the ring and too few for its trials")
	}
}

func TestSmallerRings(t *testing.T) {
	needRing(t)
	var got small
	child.Run(t, "some memory", &got)
	if got.Err != "" {
		t.Fatal(got.Err)
	}
	if got.First == manyEntries {
		t.Skip("needs a kernel that charges rings to RLIMIT_MEMLOCK: before 5.12, or from 6.14")
	}
	if got.First <= minEntries {
		t.Errorf("a ring of %d entries is made where a longer one fits", got.First)
	}
	if len(got.Rings) == 0 && Probe().Found.Has(FeatureSockNonempty) {
		t.Error("the engine has no ring")
	}
	for _, n := range got.Rings {
		if n < minEntries || n > got.First {
			t.Errorf("the engine has rings of %v entries, where %d fit", got.Rings, got.First)
		}
	}
}

// TestProbeFindings holds the report against itself.
func TestProbeFindings(t *testing.T) {
	needRing(t)
	r := Probe()
	if r.Found&r.Unknown != 0 {
		t.Errorf("both found and unknown: %s", r.Found&r.Unknown)
	}
	for _, info := range FeatureTable {
		why, missing := r.Details[info.Bit]
		if missing == r.Found.Has(info.Bit) || missing && why == "" {
			t.Errorf("%s: found is %v, and the details say %q", info.Name, r.Found.Has(info.Bit), why)
		}
	}
	if r.Kernel == "" || r.Memlock == "" || r.Seccomp == "" {
		t.Errorf("facts are missing: %+v", r)
	}
}
