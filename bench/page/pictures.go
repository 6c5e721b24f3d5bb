package page

import (
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/ringfd/ringfd/bench"
)

// Pictures are as wide as a README, with text of its size.
const (
	pictureWidth, pictureHeight vg.Length = 800, 420
	pictureText                 vg.Length = 13
)

// picture is a plot to be written to files of this name, with its legend.
type picture struct {
	name   string
	plot   *plot.Plot
	legend []entry
}

// Pictures writes the main plots of a Report to the folder dir, each as SVG and
// as PNG, and returns the paths: CPU per message, the ratios to the baseline,
// the latencies of the main cell, and the series against connections and size
// that the Report has. They are on white, so that they look right on dark pages
// too. A Report without anything to plot is an error.
func Pictures(dir string, r *bench.Report) ([]string, error) {
	list, err := pictures(r)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is nothing to plot: none of %d cells has a round of a workload that moves messages", len(r.Cells))
	}
	var paths []string
	for _, p := range list {
		written, err := writePicture(dir, p.name, pictureWidth, pictureHeight, p.paint)
		paths = append(paths, written...)
		if err != nil {
			return paths, err
		}
	}
	return paths, nil
}

// writePicture writes what paint draws to the folder dir, as SVG and as PNG.
func writePicture(dir, name string, width, height vg.Length, paint func(draw.Canvas)) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	for _, format := range []struct {
		suffix string
		write  func(io.Writer) error
	}{
		{".svg", func(w io.Writer) error { return standalone(w, width, height, paint) }},
		{".png", func(w io.Writer) error { return writePNG(w, width, height, paint) }},
	} {
		path := filepath.Join(dir, name+format.suffix)
		if err := writeFile(path, format.write); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

// writePNG draws with two pixels for each unit, for sharp screens.
func writePNG(w io.Writer, width, height vg.Length, paint func(draw.Canvas)) error {
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(144))
	paint(draw.New(canvas))
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

func (p picture) paint(c draw.Canvas) {
	c.FillPolygon(color.White, corners(c))
	const margin = 14
	c = draw.Crop(c, margin, -2*margin, margin, -margin)
	rows := legendRows(c.Max.X-c.Min.X, p.plot.Legend.TextStyle, p.legend)
	drawPlot(draw.Crop(c, 0, 0, legendRow*vg.Length(len(rows))+legendGap, 0), p.plot)
	paintLegend(c, p.plot.Legend.TextStyle, rows)
}

func pictures(r *bench.Report) ([]picture, error) {
	styles := looks(r)
	var list []picture
	add := func(name, title string, p *plot.Plot, legend []entry) {
		if p != nil {
			p.Title.Text = title
			list = append(list, picture{name, p, legend})
		}
	}
	bars, legend, err := cpuBars(r, styles)
	if err != nil {
		return nil, err
	}
	add("cpu", "Server CPU per message: medians, with the least and the greatest round", bars, legend)
	for _, m := range []bench.Metric{bench.MetricCPU, bench.MetricP99} {
		dots, legend, err := ratioDots(r, m, styles)
		if err != nil {
			return nil, err
		}
		add("ratio-"+fileName(m), fmt.Sprintf("%s over that of %s: below 1 is better", capital(plain(m)), r.Targets[len(r.Targets)-1].Name), dots, legend)
	}
	if c := mainCell(r); c != nil {
		p, err := distribution(c, styles, pictureText)
		if err != nil {
			return nil, err
		}
		add("latency", "Latency by percentile: "+c.Cell.String(), p, lineEntries(r.Targets, styles, func(target string) bool {
			h, err := merged(c, target)
			return err == nil && h != nil
		}))
	}
	for _, s := range mainSeries(r) {
		for _, m := range s.metrics() {
			p, err := s.plot(m, styles, r.Targets, pictureText)
			if err != nil {
				return nil, err
			}
			add(fileName(m)+"-"+s.axis.name, s.title(m)+": "+s.what, p, lineEntries(r.Targets, styles, func(target string) bool {
				points, _ := s.points(m, target)
				return len(points) > 1
			}))
		}
	}
	return list, nil
}

// mainSeries returns the longest series along each axis, the first of these.
func mainSeries(r *bench.Report) []series {
	var list []series
	for _, s := range allSeries(r) {
		n := slices.IndexFunc(list, func(o series) bool { return o.axis.name == s.axis.name })
		if n < 0 {
			list = append(list, s)
		} else if len(s.cells) > len(list[n].cells) {
			list[n] = s
		}
	}
	return list
}

func fileName(m bench.Metric) string {
	return strings.ToLower(strings.NewReplacer(" ", "-", ".", "-").Replace(plain(m)))
}

// mainCell is the first that most targets ran, and that has latencies.
func mainCell(r *bench.Report) *bench.CellReport {
	var found *bench.CellReport
	for i := range r.Cells {
		c := &r.Cells[i]
		if _, ok := figure(c, r.Targets[0].Name, bench.MetricP50); ok && (found == nil || len(c.Summaries) > len(found.Summaries)) {
			found = c
		}
	}
	return found
}
