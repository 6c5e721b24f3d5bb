package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The figures in the README are those of the reports that are kept.
func TestReadmeFigures(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob("results/*.json")
	if err != nil || len(kept) == 0 {
		t.Fatalf("no reports are kept: %v", err)
	}
	for _, path := range kept {
		encoded, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		report := new(Report)
		if err := json.Unmarshal(encoded, report); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if updated, err := report.UpdateReadme(string(text), "bench/"+filepath.ToSlash(path)); err != nil || updated != string(text) {
			t.Errorf("README.md does not have the figures of %s: `make readme` writes them (%v)", path, err)
		}
	}
}

func TestUpdateReadme(t *testing.T) {
	report := &Report{Targets: []Target{{Name: "ring"}, {Name: "net"}}, Cells: []CellReport{{Cell: echo(64, 2)}}}
	cell := &report.Cells[0]
	for pair := range 6 {
		cell.Rounds = append(cell.Rounds,
			roundOf("ring", pair, 1000+uint64(pair), 110, 120*time.Microsecond), roundOf("net", pair, 900+uint64(pair), 100, 90*time.Microsecond))
	}
	cell.summarize(report.Targets)
	const text = "before\n<!-- figures of a.json, which `make readme` writes -->\nold figures\n<!-- end of figures -->\nafter\n"
	got, err := report.UpdateReadme(text, "a.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "\nafter\n", "| echo 64 B, 2 connections | **1.20 (", "n/a / n/a"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "old figures") {
		t.Errorf("the old figures are still in\n%s", got)
	}
	for _, bad := range []string{"", "<!-- figures of b.json, which `make readme` writes -->\n<!-- end of figures -->", strings.TrimSuffix(text, "<!-- end of figures -->\nafter\n")} {
		if _, err := report.UpdateReadme(bad, "a.json"); err == nil || !strings.Contains(err.Error(), "figures of a.json") {
			t.Errorf("%q: %v, want an error that shows the section", bad, err)
		}
	}
}
