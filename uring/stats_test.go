package uring

import (
	"math"
	"reflect"
	"testing"
)

func TestHistogramBuckets(t *testing.T) {
	for _, c := range []struct {
		value uint64
		bound uint64 // of its bucket
	}{
		{0, 0}, {1, 1}, {2, 3}, {3, 3}, {4, 7}, {1023, 1023}, {1024, 2047},
		{1<<30 - 1, 1<<30 - 1}, {1 << 30, math.MaxUint64}, {math.MaxUint64, math.MaxUint64},
	} {
		var h Histogram
		h.Record(c.value)
		if got := h.Max(); got != c.bound || h.Count() != 1 {
			t.Errorf("with %d counted: Max %d, want %d; Count %d, want 1", c.value, got, c.bound, h.Count())
		}
	}
}

func TestHistogramQuantile(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 || h.Count() != 0 {
		t.Errorf("empty: median %d, Max %d, Count %d", h.Quantile(0.5), h.Max(), h.Count())
	}
	for v := uint64(1); v <= 100; v++ {
		h.Record(v)
	}
	for _, c := range []struct {
		q    float64
		want uint64
	}{
		{-1, 1}, {0, 1}, {0.01, 1}, {0.02, 3}, {0.03, 3}, {0.031, 7},
		{0.5, 63}, {0.63, 63}, {0.64, 127}, {1, 127}, {2, 127}, {math.NaN(), 1},
	} {
		if got := h.Quantile(c.q); got != c.want {
			t.Errorf("Quantile(%v) = %d, want %d", c.q, got, c.want)
		}
	}
}

// TestHistogramQuantileOfMany: a count that a float64 cannot hold is no rank
// beyond the last.
func TestHistogramQuantileOfMany(t *testing.T) {
	h := Histogram{3: math.MaxUint64}
	for _, q := range []float64{0, 0.5, 1} {
		if got := h.Quantile(q); got != 7 {
			t.Errorf("Quantile(%v) = %d, want 7", q, got)
		}
	}
}

func TestHistogramSub(t *testing.T) {
	earlier := Histogram{1: 5, 2: 7}
	now := Histogram{1: 8, 2: 6, 3: 2}
	if got, want := now.Sub(earlier), (Histogram{1: 3, 2: 6, 3: 2}); got != want {
		t.Errorf("Sub = %v, want %v", got, want)
	}
}

func TestHistogramString(t *testing.T) {
	for _, c := range []struct {
		h    Histogram
		want string
	}{
		{Histogram{}, "empty"},
		{Histogram{0: 1, 3: 2, 31: 4}, "0:1 7:2 more:4"},
	} {
		if got := c.h.String(); got != c.want {
			t.Errorf("String of %v = %q, want %q", [32]uint64(c.h), got, c.want)
		}
	}
}

// TestLoopStatsSub sets every field, those that are added later too.
func TestLoopStatsSub(t *testing.T) {
	var earlier, now, want LoopStats
	set := func(field int, earlierValue, nowValue, wantValue uint64) {
		for _, c := range []struct {
			s *LoopStats
			v uint64
		}{{&earlier, earlierValue}, {&now, nowValue}, {&want, wantValue}} {
			switch f := reflect.ValueOf(c.s).Elem().Field(field); f.Kind() {
			case reflect.Uint64:
				f.SetUint(c.v)
			case reflect.Array:
				f.Index(field % f.Len()).SetUint(c.v)
			case reflect.Int:
				f.SetInt(int64(nowValue))
			default:
				t.Fatalf("a field of kind %v: say here what Sub does with it", f.Kind())
			}
		}
	}
	for i := range reflect.TypeFor[LoopStats]().NumField() {
		set(i, uint64(100+i), uint64(1000+3*i), uint64(900+2*i))
	}
	if got := now.Sub(earlier); got != want {
		t.Errorf("Sub = %+v, want %+v", got, want)
	}
	// A loop that began anew is counted from its beginning.
	if got := earlier.Sub(now); got != earlier {
		t.Errorf("Sub of a later snapshot = %+v, want %+v", got, earlier)
	}
}
