package bench

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
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

// Disturbed returns what share of all the machine's CPUs other work took in the
// rounds, and whether that is enough to doubt the figures.
func (r *Report) Disturbed() (others Spread, disturbed bool) {
	var all []float64
	for _, c := range r.Cells {
		for _, round := range c.Rounds {
			all = append(all, round.Others)
		}
	}
	if len(all) == 0 {
		return Spread{}, false
	}
	others = spreadOf(all)
	return others, others.Median > disturbance
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

// incomparable says why two cells cannot be compared, or "".
func incomparable(a, b *CellReport) string {
	if b == nil {
		return "only in the report before"
	}
	x, y := a.Cell, b.Cell
	x.Goals, y.Goals, x.Targets, y.Targets = nil, nil, nil, nil
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
	list = append(list, differences("settings: ", a.Settings, b.Settings, "args", "syscalls")...)
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
	const enough = 5 // of 4 rounds each, the extremest have p = 0.03
	if min(a.Settings.Rounds, b.Settings.Rounds) < enough {
		list = append(list, fmt.Sprintf("rounds: with fewer than %d no difference can be told from chance; only exact counts are judged", enough))
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

// WriteText prints the changes for people, the worst first, and what was not
// compared.
func (c *Changes) WriteText(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "before   %s\nafter    %s\n", c.Before, c.After)
	for _, warning := range c.Warnings {
		fmt.Fprintf(&out, "WARNING  %s\n", warning)
	}
	for _, s := range c.Skipped {
		fmt.Fprintf(&out, "left out %s: %s\n", s.Cell, s.Why)
	}
	worse := 0
	t := table.NewWriter()
	t.SetOutputMirror(&out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"", "cell", "target", "metric", "before", "after", "change", "p"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight}, {Number: 7, Align: text.AlignRight},
	})
	for _, change := range c.List {
		if change.Worse {
			worse++
		}
		t.AppendRow(change.row())
	}
	if len(c.List) > 0 {
		t.Render()
	}
	fmt.Fprintf(&out, "%d of %d figures got worse, %d better. The others did not change, or by no more than chance or a few percent.\n"+
		"Of %.0f figures that did not change one passes the test by chance: run again before you believe a single one.\n",
		worse, c.Compared, len(c.List)-worse, 1/strict)
	_, err := io.WriteString(w, out.String())
	return err
}

func (c Change) row() table.Row {
	verdict, metric, p := "better", string(c.Metric), "exact"
	if c.Worse {
		verdict = "WORSE"
	}
	if c.Against != "" {
		metric += " / " + c.Against
	}
	if c.P > 0 {
		p = fmt.Sprintf("%.3f", c.P)
	}
	factor := "from 0"
	if c.Factor > 0 {
		factor = fmt.Sprintf("%+.1f%%", 100*(c.Factor-1))
	}
	return table.Row{verdict, c.Cell, c.Target, metric, c.spreadText(c.Before), c.spreadText(c.After), factor, p}
}

func (c Change) spreadText(s Spread) string {
	write := c.Metric.Text
	if c.Against != "" {
		write = func(ratio float64) string { return fmt.Sprintf("%.3f", ratio) }
	}
	if s.Min == s.Max {
		return write(s.Median)
	}
	return fmt.Sprintf("%s (%s – %s)", write(s.Median), write(s.Min), write(s.Max))
}
