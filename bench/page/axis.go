package page

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// newPlot returns an empty plot with text of this size.
func newPlot(size vg.Length) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	sans := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	p.Title.TextStyle.Font, p.Title.TextStyle.Color = sans, ink
	p.Title.TextStyle.Font.Size = size * 1.25
	p.Title.Padding = size
	p.Legend.TextStyle.Font, p.Legend.TextStyle.Color = sans, ink
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = sans, ink
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans, ink
		axis.Color, axis.Tick.Color = ink, ink
		axis.Width, axis.Tick.Width = 0.5, 0.5
		axis.Tick.Length = 4
	}
	lines := plotter.NewGrid()
	lines.Horizontal.Color, lines.Vertical.Color = grid, grid
	p.Add(lines)
	return p
}

// drawPlot draws a plot, and the label of its X axis below it. gonum would leave
// room at the right for the label of a logarithmic axis, as if it stood there.
func drawPlot(c draw.Canvas, p *plot.Plot) {
	label, style := p.X.Label.Text, p.X.Label.TextStyle
	if label == "" {
		p.Draw(c)
		return
	}
	style.XAlign, style.YAlign = text.XCenter, text.YBottom
	c.FillText(style, vg.Point{X: c.Center().X, Y: c.Min.Y + style.Font.Size/4}, label)
	p.X.Label.Text = ""
	p.Draw(draw.Crop(c, 0, 0, style.Font.Size*1.6, 0))
	p.X.Label.Text = label
}

// logFrom is how many times the least figure the greatest must be for a
// logarithmic axis; below that the axis begins at 0.
const logFrom = 8

// scaleY makes the axis of a metric fit for figures from least to most.
func scaleY(p *plot.Plot, m bench.Metric, least, most float64) {
	if least > 0 && most > logFrom*least {
		p.Y.Scale = plot.LogScale{}
		p.Y.Min, p.Y.Max = least/1.15, most*1.15
		p.Y.Tick.Marker = logTicks(m)
		return
	}
	p.Y.Min, p.Y.Max = 0, most*1.08
	if p.Y.Max == 0 {
		p.Y.Max = 1
	}
	p.Y.Tick.Marker = shortTicks(m)
}

// shortTicks are gonum's, with the unit of the metric.
func shortTicks(m bench.Metric) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		ticks := plot.DefaultTicks{}.Ticks(lo, hi)
		for i := range ticks {
			if !ticks[i].IsMinor() {
				ticks[i].Label = short(m, ticks[i].Value)
			}
		}
		return ticks
	})
}

// logTicks marks 1, 2 and 5 of each decade, and only 1 where there are many.
func logTicks(m bench.Metric) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		many := math.Log10(hi/lo) > 3.5
		var ticks []plot.Tick
		for decade := math.Floor(math.Log10(lo)); decade <= math.Log10(hi); decade++ {
			for _, digit := range []float64{1, 2, 5} {
				value := digit * math.Pow(10, decade)
				if value < lo || value > hi {
					continue
				}
				tick := plot.Tick{Value: value}
				if digit == 1 || !many {
					tick.Label = short(m, value)
				}
				ticks = append(ticks, tick)
			}
		}
		return ticks
	})
}

// valueTicks marks the values, which rise, with a label where there is room.
func valueTicks(values []float64, label func(float64) string) plot.Ticker {
	var ticks plot.ConstantTicks
	span := math.Log(values[len(values)-1] / values[0])
	last := math.Inf(-1)
	for _, value := range values {
		tick := plot.Tick{Value: value}
		if at := math.Log(value/values[0]) / span; at-last > 0.11 {
			tick.Label, last = label(value), at
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// short writes a value for an axis.
func short(m bench.Metric, value float64) string {
	if value == 0 {
		return "0"
	}
	switch unit(m) {
	case inNanoseconds:
		for _, u := range []struct {
			size float64
			name string
		}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
			if value >= u.size {
				return number(value/u.size) + " " + u.name
			}
		}
		return number(value) + " ns"
	case inBytes:
		return sizeText(value)
	case perSecond:
		if value >= 1e6 {
			return number(value/1e6) + " M/s"
		}
		if value >= 1e3 {
			return number(value/1e3) + " k/s"
		}
		return number(value) + " /s"
	}
	return number(value)
}

// long writes a value for a table.
func long(m bench.Metric, value float64) string {
	if unit(m) == inCounts {
		return m.Text(value)
	}
	return short(m, value)
}

// number writes four digits, or all before the point.
func number(value float64) string {
	if value >= 1000 {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}

// sizeText writes a number of bytes: few ones that are no whole KiB as they are.
func sizeText(value float64) string {
	switch {
	case value >= 1<<20:
		return number(value/(1<<20)) + " MiB"
	case value >= 10<<10 || value >= 1<<10 && math.Mod(value, 1<<10) == 0:
		return number(value/(1<<10)) + " KiB"
	}
	return number(value) + " B"
}

// The units of metrics.
const (
	inCounts = iota
	inNanoseconds
	inBytes
	perSecond
)

func unit(m bench.Metric) int {
	switch m {
	case bench.MetricThroughput:
		return perSecond
	case bench.MetricP50, bench.MetricP90, bench.MetricP99, bench.MetricP999,
		bench.MetricCPU, bench.MetricUserCPU, bench.MetricSystemCPU:
		return inNanoseconds
	case bench.MetricResident, bench.MetricUserPerConn, bench.MetricKernelConn, bench.MetricAllocated:
		return inBytes
	}
	return inCounts
}
