package page

import (
	"fmt"
	"html/template"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// targetView is a target, or what was to be one.
type targetView struct {
	// Key is the id of its symbol; "" if it did not run.
	Key         string
	Name, About string
	// Role is what it is in the comparison.
	Role string
	// State is what it ran on, or why it did not.
	State string
}

// targetsOf lists the targets that ran, and then those that could not.
func targetsOf(r *bench.Report) []targetView {
	states := make(map[string]string)
	ran := make(map[string]bool)
	for _, c := range r.Choices {
		states[c.Target] = c.Kind
		if c.Why != "" {
			// A list of features can be broken into lines at its commas.
			states[c.Target] += ": " + strings.ReplaceAll(c.Why, ",", ", ")
		}
	}
	var list []targetView
	for i, t := range r.Targets {
		v := targetView{Key: fmt.Sprintf("key%d", i), Name: t.Name, About: t.About, State: states[t.Name]}
		switch {
		case i == 0:
			v.Role = "compared"
		case i == len(r.Targets)-1:
			v.Role = "baseline"
		}
		list = append(list, v)
		ran[t.Name] = true
	}
	for _, c := range r.Choices {
		if !ran[c.Target] {
			list = append(list, targetView{Name: c.Target, State: "left out: " + c.Error})
		}
	}
	return list
}

// ranOf returns those that ran.
func ranOf(all []targetView) []targetView {
	for i, t := range all {
		if t.Key == "" {
			return all[:i:i]
		}
	}
	return all
}

// keySymbol draws the line and the mark of a target, for legends.
func keySymbol(id string, l look) (template.HTML, error) {
	const w, h = 30, 12
	return symbol(w, h, id, func(c draw.Canvas) {
		c.StrokeLine2(l.line, 1, h/2, w-1, h/2)
		c.DrawGlyph(l.mark, vg.Point{X: w / 2, Y: h / 2})
	})
}
