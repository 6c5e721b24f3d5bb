package page

import (
	"fmt"
	"math"

	"github.com/ringfd/ringfd/bench"
)

// outcome is how our first target compares with another.
type outcome int

// The outcomes.
const (
	unknown outcome = iota
	won
	lost
	undecided // the difference may be chance
)

func judge(m bench.Metric, r bench.Ratio) outcome {
	switch {
	case !r.Different || r.Median == 1:
		return undecided
	case m.Worse(r.Median):
		return lost
	}
	return won
}

// heat is a ratio as it is shown.
type heat struct {
	Class string
	// Mark tells what the colour tells, Said what a screen reader says.
	Mark, Said string
	Ratio      string
	Spread     string
	// Title is the whole of it in words.
	Title string
}

func heatOf(m bench.Metric, k *bench.Comparison) heat {
	if k == nil {
		return heat{Class: "none", Said: "not measured"}
	}
	r, ok := k.Ratios[m]
	if !ok {
		return heat{Class: "none", Said: "not measured"}
	}
	h := heat{Ratio: fmt.Sprintf("%.2f", r.Median)}
	h.Title = fmt.Sprintf("%s of %s over %s: %.3f", plain(m), k.Target, k.Against, r.Median)
	if r.Min != r.Max {
		h.Spread = fmt.Sprintf("%.2f–%.2f", r.Min, r.Max)
		h.Title += fmt.Sprintf(", from %.3f to %.3f, p = %.3f", r.Min, r.Max, r.P)
	}
	switch judge(m, r) {
	case won:
		h.Class, h.Said = fmt.Sprintf("won%d", strength(r.Median)), "better"
	case lost:
		h.Class, h.Said, h.Mark = fmt.Sprintf("lost%d", strength(r.Median)), "worse", "!"
	default:
		h.Class, h.Said, h.Mark = "undecided", "may be chance", "~"
	}
	h.Title += " (" + h.Said + ")"
	return h
}

// strength is 1 for a ratio near 1, and at most 3.
func strength(ratio float64) int {
	switch far := math.Abs(math.Log(ratio)); {
	case far > math.Log(1.5):
		return 3
	case far > math.Log(1.1):
		return 2
	}
	return 1
}

// heatMap holds the ratios of a metric, a row for each cell that has one.
type heatMap struct {
	ID    string
	Name  string
	Less  bool // is better
	Ours  string
	Heads []targetView
	Rows  []heatRow
}

type heatRow struct {
	Cell  cellName
	Heats []heat
}

// heatMetrics have maps, where they were measured.
var heatMetrics = []bench.Metric{
	bench.MetricCPU, bench.MetricP99, bench.MetricThroughput, bench.MetricP50, bench.MetricUserPerConn,
}

// heatMaps compares our first target with the others.
func heatMaps(r *bench.Report, others []targetView) []heatMap {
	var maps []heatMap
	for _, m := range heatMetrics {
		h := heatMap{ID: fmt.Sprintf("map%d", len(maps)), Name: capital(plain(m)), Less: m.Worse(2), Ours: r.Targets[0].Name, Heads: others}
		for i := range r.Cells {
			c := &r.Cells[i]
			row, some := heatRow{Cell: nameOf(i, c)}, false
			for _, other := range others {
				k := c.Comparison(h.Ours, other.Name)
				if !shown(c, m) {
					k = nil
				}
				cell := heatOf(m, k)
				some = some || cell.Ratio != ""
				row.Heats = append(row.Heats, cell)
			}
			if some {
				h.Rows = append(h.Rows, row)
			}
		}
		if len(h.Rows) > 0 {
			maps = append(maps, h)
		}
	}
	return maps
}

// shown reports whether a metric of a cell was measured, not given.
func shown(c *bench.CellReport, m bench.Metric) bool {
	return m != bench.MetricThroughput || c.Cell.Share == 0
}
