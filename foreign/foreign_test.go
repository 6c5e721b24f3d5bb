package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLost: one name for each thing that is wrong.
func TestLost(t *testing.T) {
	plain := results{
		"TestA": passed, "TestA/x": passed, "TestA/y": passed,
		"TestB": passed, "TestB/x": passed,
		"TestC": failed, "TestC/x": passed, "TestC/y": failed,
		"TestD": passed, "TestE": skipped, "TestF": passed,
	}
	ours := results{
		"TestA": failed, "TestA/x": failed, "TestA/y": passed, // a subtest failed
		"TestB": crashed,                                      // before its subtest began
		"TestC": failed, "TestC/x": passed, "TestC/y": failed, // as on plain
		"TestD": skipped, "TestE": failed, "TestF": passed,
	}
	want := []string{"TestA/x", "TestB", "TestD"}
	if got := slices.Sorted(lost(plain, ours)); !slices.Equal(got, want) {
		t.Errorf("lost are %q, want %q", got, want)
	}
	if got := slices.Collect(lost(plain, maps.Clone(plain))); len(got) > 0 {
		t.Errorf("of what passes on both %q are lost", got)
	}
}

func TestKnown(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(rows string) {
		text := "| other | table |\n|---|---|\n| a | b |\n\n| project | tests | on | why | what a user does |\n|---|---|---|---|---|\n" + rows
		if err := os.WriteFile(page, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("| grpc | `TestA`, `TestB/(x\\|y)` | net | w | u |\n| ssh | `TestC.*` | both | w | u |\n")
	rows, err := readKnown(page)
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]bool{
		"grpc TestA net": true, "grpc TestA io_uring": false, "ssh TestA net": false, "grpc TestAB net": false,
		"grpc TestA/sub net": true, "grpc TestB net": false, "grpc TestB/y net": true, "grpc TestB/z net": false,
		"ssh TestCD net": true, "ssh TestCD io_uring": true,
	} {
		f := strings.Fields(what)
		if got := isKnown(rows, f[0], f[1], f[2]); got != want {
			t.Errorf("%s is known: %v", what, got)
		}
	}
	for _, bad := range []string{"| grpc | TestA | net | w | u |\n", "| grpc | `TestA` | here | w | u |\n", "| grpc | `TestA` | net | w |\n", "| grpc | `Test(` | net | w | u |\n"} {
		write(bad)
		if _, err := readKnown(page); err == nil {
			t.Errorf("no error for %s", bad)
		}
	}
}

// TestPage: the rows that make foreign goes by can be read, and are of projects that
// it runs.
func TestPage(t *testing.T) {
	rows, err := readKnown("../docs/foreign.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Error("there are no rows")
	}
	for _, row := range rows {
		if !slices.ContainsFunc(projects, func(p project) bool { return p.name == row.project }) {
			t.Errorf("line %d is of %s, which is not run", row.line, row.project)
		}
	}
}
