// Package page shows a bench.Report beyond the terminal: as one HTML file, and
// as pictures for a README.
package page

import (
	_ "embed"
	"errors"
	"html/template"
	"io"

	"github.com/ringfd/ringfd/bench"
)

//go:embed page.css
var css string

//go:embed page.html
var source string

var page = template.Must(template.New("page").Parse(source))

// Write writes one HTML file with all of a Report: what was compared where, how
// our first target compares with the others, plots, and every figure. It has no
// script and loads nothing. A Report without targets is an error.
func Write(w io.Writer, r *bench.Report) error {
	if len(r.Targets) == 0 {
		return errors.New("the report has no targets, so there is nothing to show: run the bench again")
	}
	v, err := viewOf(r)
	if err != nil {
		return err
	}
	return page.Execute(w, v)
}

// view is what page.html shows.
type view struct {
	CSS       template.CSS
	Title     string
	Ours      string
	Base      string // "" if only one target ran
	Facts     []fact
	Notes     []note
	Targets   []targetView
	Symbols   []template.HTML
	Headlines []headline
	Goals     []goalRow
	Maps      []heatMap
	Series    []figureView
	Cells     []cellView
	Metrics   []meaning
}

// meaning is what a metric is called, and what it means.
type meaning struct{ Name, Text string }

func viewOf(r *bench.Report) (*view, error) {
	v := &view{
		CSS: template.CSS(css), Ours: r.Targets[0].Name,
		Facts: facts(r), Notes: notes(r), Targets: targetsOf(r), Headlines: headlines(r), Goals: goals(r),
	}
	v.Title = v.Ours
	if len(r.Targets) > 1 {
		v.Base = r.Targets[len(r.Targets)-1].Name
		v.Title += " against " + v.Base
	}
	styles := looks(r)
	others := ranOf(v.Targets)
	for _, t := range others {
		drawn, err := keySymbol(t.Key, styles[t.Name])
		if err != nil {
			return nil, err
		}
		v.Symbols = append(v.Symbols, drawn)
	}
	// The baseline comes first of the others, for it matters most and a phone
	// is narrow.
	ordered := append([]targetView{others[0]}, others[len(others)-1])
	ordered = append(ordered[:min(2, len(others))], others[1:max(1, len(others)-1)]...)
	v.Maps = heatMaps(r, ordered[1:])
	var err error
	if v.Series, err = seriesFigures(r, styles, others); err != nil {
		return nil, err
	}
	if v.Cells, err = cellViews(r, styles, ordered); err != nil {
		return nil, err
	}
	for _, m := range bench.Metrics {
		v.Metrics = append(v.Metrics, meaning{plain(m), explanations[m].meaning})
	}
	return v, nil
}
