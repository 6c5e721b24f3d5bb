package page

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// entry is a target in the legend of a picture.
type entry struct {
	name   string
	width  vg.Length // of the thumbnail
	thumbs []plot.Thumbnailer
}

// lineEntries are for plots of lines, of the targets that have one.
func lineEntries(targets []bench.Target, styles map[string]look, has func(target string) bool) []entry {
	var list []entry
	for _, t := range targets {
		if has(t.Name) {
			l := styles[t.Name]
			list = append(list, entry{t.Name, 3 * pictureText, []plot.Thumbnailer{
				&plotter.Line{LineStyle: l.line}, &plotter.Scatter{GlyphStyle: l.mark},
			}})
		}
	}
	return list
}

// The measures of a legend.
const (
	legendRow = pictureText * 1.6
	legendGap = pictureText / 2
)

// legendRows breaks the entries into rows of at most this width.
func legendRows(width vg.Length, style text.Style, entries []entry) [][]entry {
	var rows [][]entry
	x := width
	for _, e := range entries {
		w := e.width + style.Width(e.name) + 4*legendGap
		if x+w > width {
			rows, x = append(rows, nil), 0
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], e)
		x += w
	}
	return rows
}

// paintLegend writes the rows at the bottom, where no line can be in their way.
func paintLegend(c draw.Canvas, style text.Style, rows [][]entry) {
	for i, row := range rows {
		x, y := c.Min.X, c.Min.Y+legendRow*vg.Length(len(rows)-1-i)
		for _, e := range row {
			thumb := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
				Min: vg.Point{X: x, Y: y}, Max: vg.Point{X: x + e.width, Y: y + pictureText},
			}}
			for _, t := range e.thumbs {
				t.Thumbnail(&thumb)
			}
			x += e.width + legendGap
			c.FillText(style, vg.Point{X: x, Y: y + pictureText/6}, e.name)
			x += style.Width(e.name) + 3*legendGap
		}
	}
}

// swatch is the color of bars in a legend.
type swatch struct{ color color.Color }

// Thumbnail draws the swatch.
func (s swatch) Thumbnail(c *draw.Canvas) { c.FillPolygon(s.color, corners(*c)) }

func corners(c draw.Canvas) []vg.Point {
	return []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}}
}
