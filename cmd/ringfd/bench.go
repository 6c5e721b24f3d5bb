package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/errors"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench"
)

type benchCommand struct {
	Cells    []string          `name:"cell" help:"Run these cells only: names or regular expressions." placeholder:"NAME"`
	Backends []string          `name:"backend" help:"Run these backends only: io_uring, net." placeholder:"KIND"`
	Also     map[string]string `help:"Run the io_uring of another build of this command too, such as one with -tags giouring." placeholder:"NAME=PATH"`
	Rounds   int               `help:"Rounds of each backend in each cell." default:"5"`
	Window   time.Duration     `help:"Length of a round." default:"750ms"`
	Warmup   time.Duration     `help:"Time before each round that is not measured." default:"250ms"`
	Syscalls bool              `help:"Count system calls too, with perf or strace, in a round of its own." default:"true" negatable:""`
	JSON     bool              `name:"json" help:"Print the machine, the settings and every round, as JSON."`
	List     bool              `help:"List the cells and their goals."`
}

func (c *benchCommand) Run(ctx context.Context, io stdio) error {
	config, err := c.config()
	if err != nil {
		return usageError{err}
	}
	if c.List {
		listCells(io.out, config.Cells)
		return nil
	}
	config.Progress = func(done, all int, what string) {
		fmt.Fprintf(io.err, "[%d/%d] %s\n", done+1, all, what)
	}
	report, err := bench.Run(ctx, config)
	if err != nil {
		err = errors.WithHint(err, "`ringfd doctor` shows what this machine offers")
	}
	if report == nil || err != nil && len(report.Cells) == 0 {
		return err
	}
	var printErr error
	if c.JSON {
		encoder := json.NewEncoder(io.out)
		encoder.SetIndent("", "  ")
		printErr = encoder.Encode(report)
	} else {
		printErr = report.WriteText(io.out)
	}
	if err == nil && report.Interrupted {
		err = errors.New("interrupted: the rounds are not complete")
	}
	return errors.CombineErrors(err, printErr)
}

// config turns the flags into what bench.Run takes.
func (c *benchCommand) config() (bench.Config, error) {
	config := bench.Config{
		Settings: bench.Settings{
			Rounds: c.Rounds, Warmup: c.Warmup, Window: c.Window, Syscalls: c.Syscalls, Args: os.Args[1:],
		},
		// Asked for by name, a backend must be there; by default the bench runs
		// what there is and says what is missing.
		AllowMissing: len(c.Backends) == 0,
	}
	var err error
	if config.Cells, err = bench.Select(bench.Cells(), c.Cells); err != nil {
		return config, err
	}
	if config.Targets, err = selectTargets(c.Backends); err != nil {
		return config, err
	}
	config.Targets = append(otherBuilds(c.Also), config.Targets...)
	return config, config.Check()
}

// otherBuilds returns targets that run another executable.
func otherBuilds(paths map[string]string) []bench.Target {
	var targets []bench.Target
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		targets = append(targets, bench.Target{Name: name, Backend: ringfd.IOUring, Command: []string{paths[name]}})
	}
	return targets
}

func selectTargets(names []string) ([]bench.Target, error) {
	targets := bench.Targets()
	if len(names) == 0 {
		return targets, nil
	}
	var known []string
	for _, t := range targets {
		known = append(known, t.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown backend %q: choose from %v", name, known)
		}
	}
	return slices.DeleteFunc(targets, func(t bench.Target) bool { return !slices.Contains(names, t.Name) }), nil
}

func listCells(w io.Writer, cells []bench.Cell) {
	for _, cell := range cells {
		fmt.Fprintf(w, "%-16s %s\n", cell.Name, cell)
		for _, goal := range cell.Goals {
			fmt.Fprintf(w, "%-16s   goal: %s\n", "", goal)
		}
	}
}
