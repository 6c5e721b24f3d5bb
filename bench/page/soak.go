package page

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// panel is a plot over time, of figures that have the unit of a metric.
type panel struct {
	title string
	unit  bench.Metric
	lines []panelLine
	zero  bool // the axis begins at 0, and is never logarithmic
}

// panelLine is a figure of the samples.
type panelLine struct {
	name string
	of   func(s *bench.SoakSample) float64
	// busy draws the samples under load too, thin.
	busy bool
}

var panels = []panel{
	{"Memory of the server, at rest", bench.MetricResident, []panelLine{
		{"resident", func(s *bench.SoakSample) float64 { return float64(s.Resident) }, false},
		{"heap in use", func(s *bench.SoakSample) float64 { return float64(s.Heap) }, false},
	}, true},
	{"At rest (thick), and under load", bench.MetricSyscalls, []panelLine{
		{"connections", func(s *bench.SoakSample) float64 { return float64(s.Connections) }, true},
		{"descriptors", func(s *bench.SoakSample) float64 { return float64(s.Files) }, true},
		{"goroutines", func(s *bench.SoakSample) float64 { return float64(s.Goroutines) }, true},
	}, true},
	{"At rest (thick), and under load", bench.MetricSyscalls, []panelLine{
		{"requests in flight", func(s *bench.SoakSample) float64 { return float64(s.InFlight) }, true},
		{"provided buffers", func(s *bench.SoakSample) float64 { return float64(s.Buffers) }, false},
	}, true},
	{"Latency of the trace, in each interval", bench.MetricP99, []panelLine{
		{"p99.9", func(s *bench.SoakSample) float64 { return float64(s.Latency.P999) }, false},
		{"p99", func(s *bench.SoakSample) float64 { return float64(s.Latency.P99) }, false},
		{"p50", func(s *bench.SoakSample) float64 { return float64(s.Latency.P50) }, false},
	}, false},
	{"Work done, per second", bench.MetricThroughput, []panelLine{
		{"messages of the trace", func(s *bench.SoakSample) float64 { return perWall(s, s.Messages) }, false},
		{"broadcasts received", func(s *bench.SoakSample) float64 { return perWall(s, s.Told) }, false},
	}, false},
}

func perWall(s *bench.SoakSample, n uint64) float64 {
	if s.Wall == 0 {
		return 0
	}
	return float64(n) / s.Wall.Seconds()
}

const panelHeight vg.Length = 230

// Soak draws the samples of a soak over time and writes the picture to the folder
// dir, as SVG and as PNG. It returns the paths.
func Soak(dir string, r *bench.SoakReport) ([]string, error) {
	if len(r.Samples) == 0 {
		return nil, errors.New("there is nothing to plot: the soak has no sample")
	}
	var plots []*plot.Plot
	var legends [][]entry
	for i := range panels {
		p, legend, err := panels[i].plot(r)
		if err != nil {
			return nil, err
		}
		plots, legends = append(plots, p), append(legends, legend)
	}
	plots[len(plots)-1].X.Label.Text = "time"
	height := panelHeight*vg.Length(len(plots)) + 2*pictureText
	return writePicture(dir, "soak", pictureWidth, height, func(c draw.Canvas) {
		c.FillPolygon(color.White, corners(c))
		const margin = 14
		c = draw.Crop(c, margin, -2*margin, margin, -margin)
		step := (c.Max.Y - c.Min.Y) / vg.Length(len(plots))
		// The plots share the axis of time: they are as wide as the narrowest.
		left := vg.Length(0)
		for _, p := range plots {
			left = max(left, p.Y.Tick.Label.Width(widest(p)))
		}
		for i, p := range plots {
			part := c
			part.Max.Y = c.Max.Y - step*vg.Length(i)
			part.Min.Y = part.Max.Y - step + pictureText/2
			rows := legendRows(part.Max.X-part.Min.X, p.Legend.TextStyle, legends[i])
			own := p.Y.Tick.Label.Width(widest(p))
			drawPlot(draw.Crop(part, left-own, 0, legendRow*vg.Length(len(rows)), 0), p)
			paintLegend(part, p.Legend.TextStyle, rows)
		}
	})
}

// widest returns the widest label of the Y axis.
func widest(p *plot.Plot) (label string) {
	for _, tick := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if p.Y.Tick.Label.Width(tick.Label) > p.Y.Tick.Label.Width(label) {
			label = tick.Label
		}
	}
	return label
}

func (panel *panel) plot(r *bench.SoakReport) (*plot.Plot, []entry, error) {
	p := newPlot(pictureText)
	p.Title.Text = panel.title
	p.Title.Padding = pictureText / 2
	p.Title.TextStyle.Font.Size = pictureText
	least, most := math.Inf(1), 0.0
	var legend []entry
	for i := len(panel.lines) - 1; i >= 0; i-- {
		l := panel.lines[i]
		hue := (2*i + i/2) % len(hues) // not the grey of the baseline
		style := look{line: draw.LineStyle{Color: hues[hue], Width: 1.8}}
		thin := look{line: draw.LineStyle{Color: hues[hue], Width: 0.5}}
		for _, resting := range []bool{false, true} {
			if !resting && !l.busy {
				continue
			}
			var points plotter.XYs
			for k := range r.Samples {
				if s := &r.Samples[k]; s.Resting == resting {
					value := l.of(s)
					points = append(points, plotter.XY{X: s.At.Seconds(), Y: value})
					most = max(most, value)
					if value > 0 {
						least = min(least, value)
					}
				}
			}
			if len(points) < 2 {
				continue
			}
			drawn := style
			if !resting {
				drawn = thin
			}
			if err := addLine(p, drawn, above(points, panel.zero, least), nil); err != nil {
				return nil, nil, err
			}
		}
		legend = append([]entry{{l.name, 3 * pictureText, []plot.Thumbnailer{&plotter.Line{LineStyle: style.line}}}}, legend...)
	}
	if panel.zero {
		least = 0
	}
	scaleY(p, panel.unit, least, most)
	p.X.Min, p.X.Max = 0, max(1, r.Samples[len(r.Samples)-1].At.Seconds())
	p.X.Tick.Marker = timeTicks(p.X.Max)
	warm := r.WarmedUp().Seconds()
	err := addLine(p, look{line: draw.LineStyle{Color: ink, Width: 0.5, Dashes: []vg.Length{3, 3}}},
		plotter.XYs{{X: warm, Y: p.Y.Min}, {X: warm, Y: p.Y.Max}}, nil)
	return p, legend, err
}

// above lifts what is 0 to where a logarithmic axis can show it.
func above(points plotter.XYs, zero bool, least float64) plotter.XYs {
	if zero || math.IsInf(least, 1) {
		return points
	}
	for i := range points {
		points[i].Y = max(points[i].Y, least)
	}
	return points
}

// timeTicks marks up to about ten times in round steps.
func timeTicks(seconds float64) plot.Ticker {
	steps := []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 24 * time.Hour,
	}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if seconds/s.Seconds() <= 10 {
			step = s
			break
		}
	}
	var ticks plot.ConstantTicks
	for at := time.Duration(0); at.Seconds() <= seconds; at += step {
		ticks = append(ticks, plot.Tick{Value: at.Seconds(), Label: clockText(at)})
	}
	return ticks
}

func clockText(d time.Duration) string {
	if d < time.Hour {
		return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}
