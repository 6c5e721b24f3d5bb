package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// known is a row of the table in docs/foreign.md: tests of a project that do not pass
// on our connections.
type known struct {
	project string
	tests   []*regexp.Regexp
	on      string // net, io_uring or both
	line    int
	found   bool // a test needs it
}

var quoted = regexp.MustCompile("`([^`]+)`")

// readKnown reads the rows of the table whose first column is "project".
func readKnown(path string) ([]*known, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var rows []*known
	in := false
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			in = false
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "| "), `\|`, "\x00"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(strings.ReplaceAll(cells[i], "\x00", "|"))
		}
		if cells[0] == "project" {
			in = true
			continue
		}
		if !in || strings.HasPrefix(cells[0], "--") {
			continue
		}
		if len(cells) != 5 {
			return nil, fmt.Errorf("%s:%d: %d columns instead of project, tests, on, why, cure", path, i+1, len(cells))
		}
		row := &known{project: cells[0], on: cells[2], line: i + 1}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			re, err := regexp.Compile("^(" + m[1] + ")(/.*)?$")
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
			row.tests = append(row.tests, re)
		}
		if len(row.tests) == 0 || row.on != "net" && row.on != "io_uring" && row.on != "both" {
			return nil, fmt.Errorf("%s:%d: the tests in backquotes, and on net, io_uring or both", path, i+1)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// isKnown reports whether a row tells of a test, and marks the row.
func isKnown(rows []*known, project, test, kind string) bool {
	is := false
	for _, row := range rows {
		if row.project != project || row.on != kind && row.on != "both" {
			continue
		}
		for _, re := range row.tests {
			if re.MatchString(test) {
				row.found, is = true, true
			}
		}
	}
	return is
}
