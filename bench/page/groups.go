package page

import (
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// mostCells is how many cells a picture has room for.
const mostCells = 8

// mainCells are those with goals, and without goals all, as many as there is
// room for.
func mainCells(r *bench.Report, m bench.Metric) []*bench.CellReport {
	var all, withGoals []*bench.CellReport
	for i := range r.Cells {
		c := &r.Cells[i]
		if _, ok := figure(c, r.Targets[0].Name, m); !ok {
			continue
		}
		all = append(all, c)
		if len(c.Cell.Goals) > 0 {
			withGoals = append(withGoals, c)
		}
	}
	if len(withGoals) > 0 {
		all = withGoals
	}
	return all[:min(len(all), mostCells)]
}

// groups labels the X axis with cells, in lines of their parts.
func groups(p *plot.Plot, cells []*bench.CellReport) {
	var ticks plot.ConstantTicks
	lines := 0
	for _, c := range cells {
		lines = max(lines, strings.Count(c.Cell.String(), ", "))
	}
	for i, c := range cells {
		label := strings.ReplaceAll(c.Cell.String(), ", ", ",\n")
		// gonum centers labels; the same number of lines puts all on one height.
		label += strings.Repeat("\n ", lines-strings.Count(label, "\n"))
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: label})
	}
	p.X.Tick.Marker = ticks
	p.X.Tick.Length = 0
	p.X.Tick.Label.Font.Size = pictureText * 0.8
	p.X.Min, p.X.Max = -0.5, float64(len(cells))-0.5
}

// slot returns where in a group the n-th of all bars is, and its half width.
func slot(group, n, all int) (center, half float64) {
	const room = 0.8 // of the distance between groups
	width := room / float64(all)
	return float64(group) - room/2 + width*(float64(n)+0.5), width * 0.45
}

// cpuBars groups CPU per message by cell, a bar for each target.
func cpuBars(r *bench.Report, styles map[string]look) (*plot.Plot, []entry, error) {
	cells := mainCells(r, bench.MetricCPU)
	if len(cells) == 0 {
		return nil, nil, nil
	}
	p := newPlot(pictureText)
	groups(p, cells)
	most := 0.0
	for i, c := range cells {
		for n, s := range c.Summaries {
			spread, ok := s.Metrics[bench.MetricCPU]
			if !ok {
				continue
			}
			most = max(most, spread.Max)
			center, half := slot(i, n, len(c.Summaries))
			bar, err := plotter.NewPolygon(plotter.XYs{{X: center - half}, {X: center + half}, {X: center + half, Y: spread.Median}, {X: center - half, Y: spread.Median}})
			if err != nil {
				return nil, nil, err
			}
			bar.Color, bar.LineStyle.Width = styles[s.Target].line.Color, 0
			p.Add(bar)
			if err := whisker(p, center, spread, ink); err != nil {
				return nil, nil, err
			}
		}
	}
	var legend []entry
	for _, t := range r.Targets {
		legend = append(legend, entry{t.Name, pictureText, []plot.Thumbnailer{swatch{styles[t.Name].line.Color}}})
	}
	scaleY(p, bench.MetricCPU, 0, most)
	return p, legend, nil
}

func whisker(p *plot.Plot, x float64, s bench.Spread, c color.Color) error {
	bars, err := plotter.NewYErrorBars(struct {
		plotter.XYs
		plotter.YErrors
	}{plotter.XYs{{X: x, Y: s.Median}}, plotter.YErrors{{Low: s.Median - s.Min, High: s.Max - s.Median}}})
	if err != nil {
		return err
	}
	bars.LineStyle.Color, bars.LineStyle.Width, bars.CapWidth = c, 1, 5
	p.Add(bars)
	return nil
}

// ratioDots shows by cell how each target compares with the baseline.
func ratioDots(r *bench.Report, m bench.Metric, styles map[string]look) (*plot.Plot, []entry, error) {
	base := r.Targets[len(r.Targets)-1].Name
	cells := mainCells(r, m)
	p := newPlot(pictureText)
	least, most := 1.0, 1.0
	drawn := make(map[string]bool)
	for i, c := range cells {
		for n, s := range c.Summaries {
			k := c.Comparison(s.Target, base)
			if k == nil {
				continue
			}
			ratio, ok := k.Ratios[m]
			if !ok || ratio.Min <= 0 {
				continue
			}
			drawn[s.Target] = true
			least, most = min(least, ratio.Min), max(most, ratio.Max)
			center, _ := slot(i, n, len(c.Summaries)-1)
			if err := whisker(p, center, ratio.Spread, styles[s.Target].line.Color); err != nil {
				return nil, nil, err
			}
			dot, err := plotter.NewScatter(plotter.XYs{{X: center, Y: ratio.Median}})
			if err != nil {
				return nil, nil, err
			}
			dot.GlyphStyle = styles[s.Target].mark
			dot.GlyphStyle.Radius = 4.5
			p.Add(dot)
		}
	}
	if len(drawn) == 0 {
		return nil, nil, nil
	}
	one := plotter.NewFunction(func(float64) float64 { return 1 })
	one.LineStyle = draw.LineStyle{Color: ink, Width: 1.2}
	p.Add(one)
	groups(p, cells)
	p.Y.Scale = plot.LogScale{}
	p.Y.Min, p.Y.Max = least/1.1, most*1.1
	p.Y.Tick.Marker = ratioTicks{}
	var legend []entry
	for _, t := range r.Targets {
		if drawn[t.Name] {
			legend = append(legend, entry{t.Name, pictureText, []plot.Thumbnailer{&plotter.Scatter{GlyphStyle: styles[t.Name].mark}}})
		}
	}
	return p, legend, nil
}

// ratioTicks marks ratios around 1.
type ratioTicks struct{}

// Ticks returns those in a range: finer ones where it is narrow.
func (ratioTicks) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for _, ratio := range []float64{0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20} {
		near := math.Abs(math.Log(ratio)) < math.Log(1.3) && ratio != 1
		if ratio >= lo && ratio <= hi && !(near && hi/lo > 6) {
			ticks = append(ticks, plot.Tick{Value: ratio, Label: number(ratio)})
		}
	}
	return ticks
}
