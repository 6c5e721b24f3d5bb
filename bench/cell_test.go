package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestSelect(t *testing.T) {
	all := Cells()
	for _, c := range []struct {
		patterns []string
		want     []string
	}{
		{nil, names(all)},
		{[]string{"64B-1"}, []string{"64B-1"}}, // and not the others that begin so
		{[]string{"64KiB-16", "64B-1"}, []string{"64B-1", "64KiB-16"}},
		{[]string{".*-procs2", "64B-64-.*"}, []string{"64B-64-pinned", "64B-64-procs2", "64B-1000-procs2"}},
	} {
		got, err := Select(all, c.patterns)
		if err != nil || !slices.Equal(names(got), c.want) {
			t.Errorf("%v: got %v, %v; want %v", c.patterns, names(got), err, c.want)
		}
	}
	for _, pattern := range []string{"64B", "(", "nothing|"} {
		if got, err := Select(all, []string{"64B-1", pattern}); err == nil || !strings.Contains(err.Error(), pattern) {
			t.Errorf("%q: got %v, %v; want an error that names it", pattern, names(got), err)
		}
	}
}

func TestCellsCanRun(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range Cells() {
		if seen[c.Name] || c.Size < minSize || c.Conns < 1 || c.Procs < 1 || len(c.Goals) == 0 {
			t.Errorf("cell %+v", c)
		}
		seen[c.Name] = true
	}
}
