package page

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"io"
	"regexp"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// themed replaces the colours of a plot by variables of page.css.
var themed = func() *strings.Replacer {
	pairs := []string{hex(ink), "var(--ink)", hex(grid), "var(--grid)"}
	for i, hue := range hues {
		pairs = append(pairs, hex(hue), "var(--"+hueClass(i)+")")
	}
	return strings.NewReplacer(pairs...)
}()

func hueClass(n int) string { return fmt.Sprintf("hue%d", n) }

func hex(c color.NRGBA) string { return fmt.Sprintf("#%.2X%.2X%.2X", c.R, c.G, c.B) }

// fontStyle is what gonum says of a font, but its size: page.css knows better.
var fontStyle = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;font-weight:[^;"]*;font-style:[^;"]*;`)

// drawing returns the elements of what paint draws on a canvas of w by h units.
func drawing(w, h vg.Length, paint func(draw.Canvas)) (string, error) {
	canvas := vgsvg.New(w, h)
	paint(draw.New(canvas))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return "", err
	}
	_, inner, found := strings.Cut(out.String(), "<g ")
	inner, _, ended := strings.Cut(inner, "</svg>")
	if !found || !ended {
		return "", fmt.Errorf("the plot is not the SVG that was expected: %.200s", out.String())
	}
	inner = fontStyle.ReplaceAllString("<g "+inner, "")
	return strings.ReplaceAll(themed.Replace(inner), "\n\t", " "), nil
}

// inline returns a drawing to stand in a page: it takes the page's colours and
// font, and as much room as it is given.
func inline(w, h vg.Length, title string, paint func(draw.Canvas)) (template.HTML, error) {
	inner, err := drawing(w, h, paint)
	title = html.EscapeString(title)
	return template.HTML(fmt.Sprintf(`<svg class="plot" viewBox="0 0 %g %g" role="img" aria-label="%s"><title>%s</title>%s</svg>`,
		w.Points(), h.Points(), title, title, inner)), err
}

// symbol returns a drawing to be used in others by its id.
func symbol(w, h vg.Length, id string, paint func(draw.Canvas)) (template.HTML, error) {
	inner, err := drawing(w, h, paint)
	return template.HTML(fmt.Sprintf(`<symbol id="%s" viewBox="0 0 %g %g">%s</symbol>`, id, w.Points(), h.Points(), inner)), err
}

// fontFamily is the font that the plots are laid out for, and what is of the
// same widths.
var fontFamily = regexp.MustCompile(`font-family:[^;"]*`)

// standalone writes a drawing that is a file of its own, on white.
func standalone(w io.Writer, width, height vg.Length, paint func(draw.Canvas)) error {
	canvas := vgsvg.New(width, height)
	paint(draw.New(canvas))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return err
	}
	_, err := w.Write(fontFamily.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans, Arial, Helvetica, sans-serif")))
	return err
}
