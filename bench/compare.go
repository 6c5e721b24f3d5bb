package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Changes is what differs between two reports by more than chance and habit.
type Changes struct {
	// Before and After name the two runs: commit, Go, date.
	Before string `json:"before"`
	After  string `json:"after"`
	// Warnings say what else differs and may be the cause, and what makes the
	// reports hard to compare.
	Warnings []string `json:"warnings,omitempty"`
	// Skipped are the cells that could not be compared.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Compared is how many pairs of figures were looked at.
	Compared int `json:"compared"`
	// List has what changed, the worst first, the best last.
	List []Change `json:"changes"`
}

// Skipped is a cell that could not be compared, and why.
type Skipped struct {
	Cell string `json:"cell"`
	Why  string `json:"why"`
}

// Change is a figure that got better or worse.
type Change struct {
	Cell   string `json:"cell"`
	Target string `json:"target"`
	Metric Metric `json:"metric"`
	// Against is the baseline if the figures are ratios to it, pair by pair;
	// without it they are plain values.
	Against string `json:"against,omitempty"`
	Before  Spread `json:"before"`
	After   Spread `json:"after"`
	// Factor is the median after over the median before, 0 if that was 0.
	Factor float64 `json:"factor"`
	// P is the probability of such rounds if nothing had changed; exact counts
	// have 0.
	P     float64 `json:"p"`
	Worse bool    `json:"worse"`
}

// Worse reports whether any figure got worse.
func (c *Changes) Worse() bool {
	return slices.ContainsFunc(c.List, func(change Change) bool { return change.Worse })
}

// Compare tells what got better or worse from before to after, cell by cell of
// the same name and definition, and target by target. Where both reports have
// the same baseline, the ratios to it are compared: what the machine did to all
// targets alike cancels out. Reports without a cell in common are an error.
func Compare(before, after *Report) (*Changes, error) {
	changes := &Changes{Before: before.title(), After: after.title(), Warnings: warnings(before, after)}
	baseline := before.baseline()
	if baseline != after.baseline() {
		changes.Warnings = append(changes.Warnings, fmt.Sprintf(
			"the baselines are %s and %s: plain figures are compared, with all that the machine did to them", baseline, after.baseline()))
		baseline = ""
	}
	cells := 0
	for i := range before.Cells {
		a := &before.Cells[i]
		b := after.cell(a.Cell.Name)
		if why := incomparable(a, b); why != "" {
			changes.Skipped = append(changes.Skipped, Skipped{a.Cell.Name, why})
			continue
		}
		cells++
		changes.cell(a, b, baseline)
	}
	for i := range after.Cells {
		if name := after.Cells[i].Cell.Name; before.cell(name) == nil {
			changes.Skipped = append(changes.Skipped, Skipped{name, "only in the report after"})
		}
	}
	if cells == 0 {
		return nil, errors.Join(errors.New("the reports have no cell in common: run both with the same cells and targets"), changes.skipped())
	}
	slices.SortStableFunc(changes.List, func(x, y Change) int { return cmp.Compare(y.badness(), x.badness()) })
	return changes, nil
}

func (c *Changes) skipped() error {
	var all []error
	for _, s := range c.Skipped {
		all = append(all, fmt.Errorf("cell %s: %s", s.Cell, s.Why))
	}
	return errors.Join(all...)
}
func (r *Report) title() string {
	return fmt.Sprintf("commit %s, %s, %s", r.Commit, r.Go, r.Started.Format(time.DateTime))
}

// baseline is the last target, or "" if there is nothing else.
func (r *Report) baseline() string {
	if len(r.Targets) < 2 {
		return ""
	}
	return r.Targets[len(r.Targets)-1].Name
}

func (r *Report) cell(name string) *CellReport {
	for i := range r.Cells {
		if r.Cells[i].Cell.Name == name {
			return &r.Cells[i]
		}
	}
	return nil
}

// rule says when a metric has changed.
type rule struct {
	metric Metric
	// least is the smallest change that counts, as a share. The test sees only
	// how rounds of one run differ; what differs from run to run besides (where
	// the linker put the code, which pages the kernel gave) it takes for a
	// change. Two runs of one commit agree within 5 % in what is a mean over
	// many messages, and less well in a percentile, the further out it is.
	least float64
	// exact is for counts, which need no test: a difference of more than exact
	// and of more than least is one, unless the rounds overlap.
	exact float64
}

var rules = []rule{
	{metric: MetricThroughput, least: 0.05},
	{metric: MetricP50, least: 0.10},
	{metric: MetricP99, least: 0.15},
	{metric: MetricP999, least: 0.30},
	{metric: MetricCPU, least: 0.05},
	// How many messages share a call depends on the timing, so that runs of one
	// commit differ by some tenths. Who loses the sharing makes whole calls more.
	{metric: MetricSyscalls, least: 0.20, exact: 0.5},
	// The runtime allocates by itself, the same in each round: in a slow one that
	// is some hundredths per message.
	{metric: MetricAllocs, least: 0.02, exact: 0.2},
	{metric: MetricUserPerConn, least: 0.05},
	{metric: MetricKernelConn, least: 0.05},
}

// cell compares the targets that both cells have rounds of.
func (c *Changes) cell(a, b *CellReport, baseline string) {
	for _, s := range a.Summaries {
		for _, rule := range rules {
			change := Change{Cell: a.Cell.Name, Target: s.Target, Metric: rule.metric}
			if rule.exact > 0 {
				before, ok := a.plain(rule.metric, s.Target)
				after, ok2 := b.plain(rule.metric, s.Target)
				if ok && ok2 {
					c.Compared++
					c.exact(change, rule, before, after)
				}
				continue
			}
			var before, after []float64
			if s.Target != baseline { // which is 1 of itself
				change.Against = baseline
				before, after = a.relative(rule.metric, s.Target, baseline), b.relative(rule.metric, s.Target, baseline)
			}
			if baseline == "" {
				before, after = a.values(rule.metric, s.Target), b.values(rule.metric, s.Target)
			}
			if len(before) > 0 && len(after) > 0 {
				c.Compared++
				c.tested(change, rule, before, after)
			}
		}
	}
}

// exact notes a change of a count.
func (c *Changes) exact(change Change, rule rule, before, after Spread) {
	difference := math.Abs(after.Median - before.Median)
	apart := before.Max < after.Min || after.Max < before.Min
	if difference <= max(rule.exact, rule.least*before.Median) || !apart {
		return
	}
	change.Before, change.After = before, after
	c.note(change)
}

// strict is the P below which a change counts. It is lower than within a report
// because hundreds of figures are compared at once, and one in a hundred that
// did not change still passes. Of five rounds each, all must be apart.
const strict = 0.01

// tested notes a change that the rounds prove.
func (c *Changes) tested(change Change, rule rule, before, after []float64) {
	change.Before, change.After = spreadOf(before), spreadOf(after)
	if change.P, _ = differ(before, after); change.P >= strict {
		return
	}
	if share := change.After.Median / change.Before.Median; max(share, 1/share) <= 1+rule.least {
		return
	}
	c.note(change)
}

func (c *Changes) note(change Change) {
	change.Worse = change.Metric.Worse(2) == (change.After.Median > change.Before.Median)
	if change.Before.Median > 0 {
		change.Factor = change.After.Median / change.Before.Median
	}
	c.List = append(c.List, change)
}

// badness orders changes: positive is worse, and 0 no change.
func (c Change) badness() float64 {
	const little = 0.001 // what has become 0, or was it, is far, but not infinitely
	size := math.Abs(math.Log((c.After.Median + little) / (c.Before.Median + little)))
	if c.Worse {
		return size
	}
	return -size
}

// plain returns what the rounds of a target come to.
func (c *CellReport) plain(m Metric, target string) (Spread, bool) {
	for _, s := range c.Summaries {
		if spread, ok := s.Metrics[m]; ok && s.Target == target {
			return spread, true
		}
	}
	return Spread{}, false
}

// values returns a metric of all the rounds of a target.
func (c *CellReport) values(m Metric, target string) []float64 {
	var list []float64
	for i := range c.Rounds {
		if value, ok := m.of(c.Cell.Workload, &c.Rounds[i]); ok && c.Rounds[i].Target == target {
			list = append(list, value)
		}
	}
	return list
}

// relative returns the ratios of a target's rounds to the baseline's, pair by
// pair; none without rounds of the baseline.
func (c *CellReport) relative(m Metric, target, baseline string) []float64 {
	base := make(map[int]float64)
	for i := range c.Rounds {
		if value, ok := m.of(c.Cell.Workload, &c.Rounds[i]); ok && c.Rounds[i].Target == baseline {
			base[c.Rounds[i].Pair] = value
		}
	}
	var ratios []float64
	for i := range c.Rounds {
		value, ok := m.of(c.Cell.Workload, &c.Rounds[i])
		if other := base[c.Rounds[i].Pair]; ok && other > 0 && c.Rounds[i].Target == target {
			ratios = append(ratios, value/other)
		}
	}
	return ratios
}
