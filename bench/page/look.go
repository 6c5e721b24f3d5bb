package page

import (
	"image/color"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// look is how a target is drawn everywhere. Colours alone do not tell: marks
// and dashes differ too.
type look struct {
	// class names its colour in page.css, which has another for dark pages.
	class string
	line  draw.LineStyle
	mark  draw.GlyphStyle
}

// Colours on white. Each stands for a variable of page.css, and for nothing
// else in a plot, so that page.css can give it another value.
var (
	ink  = color.NRGBA{0x1B, 0x1F, 0x24, 0xFF}
	grid = color.NRGBA{0xD8, 0xDD, 0xE3, 0xFF}
	// hues[0] is ours, hues[1] the baseline. They were chosen to differ for the
	// colour-blind too (after Okabe and Ito), and to have a contrast of 3 to 1
	// with white at least.
	hues = []color.NRGBA{
		{0x00, 0x5F, 0xB0, 0xFF}, // blue
		{0x4A, 0x50, 0x57, 0xFF}, // grey
		{0xC4, 0x4E, 0x00, 0xFF}, // vermillion
		{0x00, 0x80, 0x5F, 0xFF}, // green
		{0xA8, 0x48, 0x8C, 0xFF}, // purple
		{0x94, 0x6C, 0x00, 0xFF}, // ochre
		{0x1C, 0x86, 0xA6, 0xFF}, // cyan
	}
	marks = []draw.GlyphDrawer{
		draw.CircleGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{},
		draw.RingGlyph{}, draw.PlusGlyph{}, draw.SquareGlyph{}, draw.PyramidGlyph{},
	}
	dashes = [][]vg.Length{nil, nil, {6, 2}, {2, 2}, {8, 2, 2, 2}, {4, 3}, {1, 2}}
)

// looks gives every target of a report its look, by name.
func looks(r *bench.Report) map[string]look {
	all := make(map[string]look)
	next := 2
	for i, t := range r.Targets {
		n, width := next, vg.Length(1.2)
		switch {
		case i == 0:
			n, width = 0, 2.2
		case i == len(r.Targets)-1:
			n, width = 1, 1.6
		default:
			next++
		}
		hue := n
		if n >= len(hues) { // its mark tells it from the one with the same colour
			hue = 2 + n%(len(hues)-2)
		}
		all[t.Name] = look{
			class: hueClass(hue),
			line:  draw.LineStyle{Color: hues[hue], Width: width, Dashes: dashes[hue]},
			mark:  draw.GlyphStyle{Color: hues[hue], Radius: 3, Shape: marks[n%len(marks)]},
		}
	}
	return all
}
