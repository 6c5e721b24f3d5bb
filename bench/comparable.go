package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// incomparable says why two cells cannot be compared, or "".
func incomparable(a, b *CellReport) string {
	if b == nil {
		return "only in the report before"
	}
	x, y := a.Cell.Traffic(), b.Cell.Traffic()
	if !reflect.DeepEqual(x, y) {
		return fmt.Sprintf("not the same workload: %s", strings.Join(differences("", x, y), "; "))
	}
	common := slices.ContainsFunc(a.Rounds, func(r Round) bool {
		return slices.ContainsFunc(b.Rounds, func(s Round) bool { return s.Target == r.Target })
	})
	switch {
	case !common:
		return "no target has rounds in both reports"
	case math.Abs(a.Rate-b.Rate) > 0.1*a.Rate: // which decides how large batches are
		return fmt.Sprintf("the open loop ran at %.0f messages per second before, at %.0f after: what the baseline carries was not the same", a.Rate, b.Rate)
	}
	return ""
}

// warnings says in what else two runs differ.
func warnings(a, b *Report) []string {
	list := differences("machine: ", a.Machine, b.Machine, "load_average", "memory_kib")
	list = append(list, differences("settings: ", a.Settings, b.Settings, "args", "syscalls", "cross_check")...)
	if a.Go != b.Go {
		list = append(list, fmt.Sprintf("go: %s before, %s after", a.Go, b.Go))
	}
	for i, r := range []*Report{a, b} {
		when := []string{"before", "after"}[i]
		if others, disturbed := r.Disturbed(); disturbed {
			list = append(list, fmt.Sprintf("disturbed %s: other work took %s of the machine's CPUs in the median round", when, percent(others.Median)))
		}
		if r.Interrupted {
			list = append(list, "interrupted "+when+": the rounds are not complete")
		}
	}
	if min(a.Settings.Rounds, b.Settings.Rounds) < enoughRounds {
		list = append(list, fmt.Sprintf("rounds: with fewer than %d no difference can be told from chance; only exact counts are judged", enoughRounds))
	}
	return list
}

// differences lists the fields in which two structs differ, as their JSON names
// them.
func differences(prefix string, a, b any, but ...string) []string {
	before, after := fields(a), fields(b)
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	var list []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(but, key) && !reflect.DeepEqual(before[key], after[key]) {
			list = append(list, fmt.Sprintf("%s%s: %s before, %s after", prefix, key, fieldText(before[key]), fieldText(after[key])))
		}
	}
	return list
}

func fields(of any) map[string]any {
	encoded, err := json.Marshal(of)
	if err != nil {
		panic(err) // these are our own structs
	}
	var m map[string]any
	if err := json.Unmarshal(encoded, &m); err != nil {
		panic(err)
	}
	return m
}

func fieldText(value any) string {
	if value == nil {
		return "none"
	}
	return fmt.Sprint(value)
}
