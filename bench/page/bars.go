package page

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// bars plots a metric of one cell, a bar for each target from the top down, as
// long as the median, with the least and the greatest round; nil if no target
// has it.
func bars(c *bench.CellReport, m bench.Metric, targets []targetView, styles map[string]look, size vg.Length) (*plot.Plot, error) {
	p := newPlot(size)
	most := 0.0
	var ticks plot.ConstantTicks
	for i, t := range targets {
		row := float64(len(targets) - 1 - i)
		spread, ok := figure(c, t.Name, m)
		if !ok {
			continue
		}
		most = max(most, spread.Max)
		ticks = append(ticks, plot.Tick{Value: row, Label: t.Name})
		const half = 0.35
		bar, err := plotter.NewPolygon(plotter.XYs{
			{X: 0, Y: row - half}, {X: spread.Median, Y: row - half}, {X: spread.Median, Y: row + half}, {X: 0, Y: row + half},
		})
		if err != nil {
			return nil, err
		}
		bar.Color, bar.LineStyle.Width = styles[t.Name].line.Color, 0
		whiskers, err := plotter.NewXErrorBars(struct {
			plotter.XYs
			plotter.XErrors
		}{plotter.XYs{{X: spread.Median, Y: row}}, plotter.XErrors{{Low: spread.Median - spread.Min, High: spread.Max - spread.Median}}})
		if err != nil {
			return nil, err
		}
		whiskers.LineStyle = draw.LineStyle{Color: ink, Width: 0.8}
		p.Add(bar, whiskers)
	}
	if most == 0 {
		return nil, nil
	}
	p.Y.Min, p.Y.Max = -0.5, float64(len(targets))-0.5
	p.Y.Tick.Marker, p.Y.Tick.Length = ticks, 0
	p.X.Min, p.X.Max = 0, most*1.05
	p.X.Tick.Marker = shortTicks(m)
	return p, nil
}
