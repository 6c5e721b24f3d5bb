package page

import (
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/ringfd/ringfd/bench"
)

// merged returns the latencies of all rounds of a target together, in
// nanoseconds; nil if there are none.
func merged(c *bench.CellReport, target string) (*hdrhistogram.Histogram, error) {
	var all *hdrhistogram.Histogram
	for _, r := range c.Rounds {
		if r.Target != target || r.Load.Histogram == "" {
			continue
		}
		one, err := hdrhistogram.Decode([]byte(r.Load.Histogram))
		if err != nil {
			return nil, fmt.Errorf("cell %s, target %s: the histogram of pair %d: %w", c.Cell.Name, target, r.Pair, err)
		}
		if all == nil {
			all = one
		} else if lost := all.Merge(one); lost > 0 {
			return nil, fmt.Errorf("cell %s, target %s: the histogram of pair %d has %d latencies out of the range of the others", c.Cell.Name, target, r.Pair, lost)
		}
	}
	if all == nil || all.TotalCount() < leastBeyond*2 {
		return nil, nil
	}
	return all, nil
}

const (
	// leastBeyond is how many messages must have been slower than a point of a
	// line: where there are fewer, a line would show chance.
	leastBeyond = 10
	// steps is how many points a line has.
	steps = 60
	// nearest is where the lines begin, at 10 %: the very fastest message tells
	// nothing.
	nearest = 1 / 0.9
	// farthest is where the longest line ends: 1 message of so many.
	farthest = 1e5
)

// nines are the percentiles with a tick and a mark: 1 message of so many is
// slower.
var nines = []float64{2, 10, 100, 1e3, 1e4, 1e5}

// line returns points of a distribution. X is n where one message of n is
// slower than Y.
func line(h *hdrhistogram.Histogram) (points, marked plotter.XYs) {
	at := func(n float64) plotter.XY {
		return plotter.XY{X: n, Y: float64(h.ValueAtPercentile(100 * (1 - 1/n)))}
	}
	end := min(float64(h.TotalCount())/leastBeyond, farthest)
	for i := range steps {
		points = append(points, at(nearest*math.Pow(end/nearest, float64(i)/(steps-1))))
	}
	for _, n := range nines {
		if n <= end {
			marked = append(marked, at(n))
		}
	}
	return points, marked
}

// distribution plots the latencies of a cell by percentile, as HdrHistogram's
// own plots do; nil if there are none.
func distribution(c *bench.CellReport, looks map[string]look, size vg.Length) (*plot.Plot, error) {
	p := newPlot(size)
	least, most, end := math.Inf(1), 0.0, 0.0
	for i := len(c.Summaries) - 1; i >= 0; i-- { // ours is drawn last, above the others
		target := c.Summaries[i].Target
		h, err := merged(c, target)
		if err != nil {
			return nil, err
		}
		if h == nil {
			continue
		}
		points, marked := line(h)
		if err := addLine(p, looks[target], points, marked); err != nil {
			return nil, err
		}
		least, most = min(least, points[0].Y), max(most, points[steps-1].Y)
		end = max(end, points[steps-1].X)
	}
	if most == 0 {
		return nil, nil
	}
	scaleY(p, bench.MetricP99, least, most)
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max = nearest, end
	p.X.Label.Text = "percentile of the messages"
	var ticks plot.ConstantTicks
	for _, n := range nines {
		if n <= end {
			ticks = append(ticks, plot.Tick{Value: n, Label: number(100*(1-1/n)) + " %"})
		}
	}
	p.X.Tick.Marker = ticks
	return p, nil
}

// addLine draws a line, with marks at some points.
func addLine(p *plot.Plot, l look, points, marked plotter.XYs) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.LineStyle = l.line
	p.Add(line)
	if len(marked) == 0 {
		return nil
	}
	scatter, err := plotter.NewScatter(marked)
	if err != nil {
		return err
	}
	scatter.GlyphStyle = l.mark
	p.Add(scatter)
	return nil
}
