package bench

import (
	"slices"

	"golang.org/x/perf/benchmath"

	"github.com/ringfd/ringfd/bench/load"
)

// Spread is a median with the extremes around it.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the Spread of at least one value.
func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{Median: median(sorted), Min: sorted[0], Max: sorted[len(sorted)-1]}
}

func median(sorted []float64) float64 {
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratio compares a metric of two targets.
type Ratio struct {
	// Spread is of the ratios pair by pair: what the machine did meanwhile was
	// the same for both rounds of a pair, or nearly, for they ran one after the
	// other.
	Spread
	// Different says that the rounds of the two targets differ by more than
	// chance explains: by the Mann-Whitney U test, as benchstat does, which
	// knows nothing of pairs.
	Different bool `json:"different"`
	// P is the probability of such rounds from two equal targets. Exact counts
	// have 0.
	P float64 `json:"p"`
}

// enoughRounds is how many a target needs: of 4 rounds each, the extremest have p = 0.03.
const enoughRounds = 5

// alpha is the P below which a difference counts.
const alpha = 0.05

// differ applies benchstat's test.
func differ(a, b []float64) (p float64, different bool) {
	thresholds := benchmath.Thresholds{CompareAlpha: alpha}
	c := benchmath.AssumeNothing.Compare(
		benchmath.NewSample(slices.Clone(a), &thresholds), benchmath.NewSample(slices.Clone(b), &thresholds))
	return c.P, c.P < alpha
}

// ratioOf compares the rounds of two targets. Rounds without their other half
// are left out of the ratios.
func ratioOf(w load.Workload, rounds []Round, m Metric, target, against string) (Ratio, bool) {
	mine, base := make(map[int]float64), make(map[int]float64)
	for i := range rounds {
		value, ok := m.of(w, &rounds[i])
		if !ok {
			continue
		}
		switch rounds[i].Target {
		case target:
			mine[rounds[i].Pair] = value
		case against:
			base[rounds[i].Pair] = value
		}
	}
	var a, b, ratios []float64
	for pair, value := range mine {
		if other, ok := base[pair]; ok && other > 0 {
			a, b, ratios = append(a, value), append(b, other), append(ratios, value/other)
		}
	}
	if len(ratios) == 0 {
		return Ratio{}, false
	}
	r := Ratio{Spread: spreadOf(ratios)}
	r.P, r.Different = differ(a, b)
	return r, true
}
