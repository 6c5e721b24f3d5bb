// Command foreign runs the tests of other projects on our connections: it builds them
// with a copy of Go whose net.Dial and net.Listen, and the like, return connections
// and listeners of ringfd, and compares what passes on Go's own, on our backend net,
// and on io_uring.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	short := flag.Bool("short", false, "only the projects that take seconds")
	only := flag.String("project", "", "only the projects that this `regexp` matches")
	root := flag.String("root", "..", "the root of this repository")
	retries := flag.Int("retries", 1, "how often a test that passes on plain and fails on ours is tried again, alone")
	flag.Parse()
	ok, err := foreign(*root, *only, *short, *retries)
	if err != nil {
		fmt.Fprintln(os.Stderr, "foreign:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// kinds are what RINGFD_FOREIGN may say.
var kinds = []string{"plain", "net", "io_uring"}

func foreign(root, only string, short bool, retries int) (ok bool, err error) {
	if root, err = filepath.Abs(root); err != nil {
		return false, err
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	rows, err := readKnown(filepath.Join(root, "docs", "foreign.md"))
	if err != nil {
		return false, err
	}
	work := filepath.Join(root, "dist", "foreign")
	for _, dir := range []string{"bin", "src", "log"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o777); err != nil {
			return false, err
		}
	}
	goroot := filepath.Join(work, "goroot")
	installed, err := output(root, nil, "go", "env", "GOROOT")
	if err != nil {
		return false, err
	}
	if err := copyGo(installed, goroot, root); err != nil {
		return false, err
	}
	test2json := filepath.Join(work, "bin", "test2json")
	if _, err := output(root, nil, "go", "build", "-o", test2json, "cmd/test2json"); err != nil {
		return false, err
	}

	ok = true
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "project\tplain\tnet\tio_uring\ttook")
	var notes []string
	for _, p := range projects {
		if short && !p.short || !wanted.MatchString(p.name) {
			continue
		}
		begun := time.Now()
		got, flaky, err := p.run(goroot, work, test2json, rows, retries)
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s: %v", p.name, err))
			ok = false
			continue
		}
		line := p.name
		for i, kind := range kinds {
			line += fmt.Sprintf("\t%d", got[i].count(passed))
			if i > 0 {
				for _, test := range slices.Sorted(lost(got[0], got[i])) {
					what := got[i][test]
					if what == "" {
						what = "did not run"
					}
					if isKnown(rows, p.name, test, kind) {
						notes = append(notes, fmt.Sprintf("known: %s %s on %s: %s", p.name, test, kind, what))
						continue
					}
					ok = false
					notes = append(notes, fmt.Sprintf("NEW: %s %s on %s: %s", p.name, test, kind, what))
				}
			}
		}
		for _, f := range flaky {
			notes = append(notes, fmt.Sprintf("flaky: %s %s", p.name, f))
		}
		fmt.Fprintf(table, "%s\t%s\n", line, time.Since(begun).Round(time.Second))
		fmt.Fprintf(os.Stderr, "%s\n", strings.ReplaceAll(line, "\t", " "))
	}
	_ = table.Flush()
	for _, n := range notes {
		fmt.Println(n)
	}
	return ok, nil
}
