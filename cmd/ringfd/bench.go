package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/errors"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/load"
	"github.com/ringfd/ringfd/bench/page"
)

type benchCommand struct {
	Run     benchRunCommand     `cmd:"" default:"withargs" help:"Measure: the default."`
	Compare benchCompareCommand `cmd:"" help:"Tell what got better or worse from one report to another. Exit code 1: something got worse."`
	Render  benchRenderCommand  `cmd:"" help:"Make the table, the page, the pictures or the README section of a report."`
}

type benchRunCommand struct {
	Cells    []string          `name:"cell" help:"Run these cells only: names or regular expressions." placeholder:"NAME"`
	Full     bool              `help:"Choose from the full matrix, which takes hours, instead of the headline." xor:"cells"`
	Serve    bool              `help:"Choose from the cells that judge Backend.Serve, instead of the headline." xor:"cells"`
	Apps     bool              `help:"Choose from the cells of real programs, instead of the headline." xor:"cells"`
	Fair     bool              `help:"Choose from the cells that tell how evenly connections are served, instead of the headline." xor:"cells"`
	Targets  []string          `name:"target" help:"Run these targets only, see --list." placeholder:"NAME"`
	Also     map[string]string `help:"Run the io_uring of another build of this command too, such as one with -tags giouring; with --apps, of ringfd-apps." placeholder:"NAME=PATH"`
	Peers    string            `help:"The folder with the programs of the other targets. By default that of this command." placeholder:"FOLDER"`
	Rounds   int               `help:"Rounds of each target in each cell; those that vary much get twice as many." default:"9"`
	Window   time.Duration     `help:"Length of a round." default:"150ms"`
	Warmup   time.Duration     `help:"Time before each round that is not measured." default:"75ms"`
	Syscalls bool              `help:"Count system calls too, with perf or strace, in a round of its own." default:"true" negatable:""`
	Cross    bool              `name:"cross-check" help:"With --apps, let wrk, h2load and redis-benchmark check the generator, where they are." default:"true" negatable:""`
	Driver   string            `help:"How the generator drives its sockets: io_uring, epoll or portable. By default the cheapest that works." enum:",io_uring,epoll,portable" default:"" placeholder:"NAME"`
	JSON     string            `name:"json" help:"Write the machine, the settings and every round to this file; - is standard output, instead of the table." placeholder:"FILE"`
	HTML     string            `name:"html" help:"Write a page with plots to this file." placeholder:"FILE"`
	List     bool              `help:"List the cells with their goals, and the targets."`
}

func (c *benchRunCommand) Run(ctx context.Context, io stdio) error {
	config, err := c.config()
	if err != nil {
		return usageError{err}
	}
	if c.List {
		list(io.out, config)
		return nil
	}
	// After hours of measuring it would be too late to learn that they cannot be made.
	discard, err := claim(c.JSON, c.HTML)
	if err != nil {
		return usageError{err}
	}
	config.Progress = newProgressLine(io.err).show
	report, err := bench.Run(ctx, config)
	if err != nil {
		err = errors.WithHint(err, "`ringfd doctor` shows what this machine offers")
	}
	if report == nil || err != nil && len(report.Cells) == 0 {
		discard()
		return err
	}
	writeErr := c.write(report, io.out)
	if err == nil && report.Interrupted {
		err = errors.New("interrupted: the rounds are not complete")
	}
	return errors.CombineErrors(err, writeErr)
}

// write writes all that was asked for, as far as it can.
func (c *benchRunCommand) write(report *bench.Report, out io.Writer) error {
	var errs []error
	switch c.JSON {
	case "-":
		errs = append(errs, writeJSON(out, report))
	case "":
	default:
		errs = append(errs, writeFile(c.JSON, func(w io.Writer) error { return writeJSON(w, report) }))
	}
	if c.JSON != "-" {
		errs = append(errs, report.WriteText(out))
	}
	if c.HTML != "" {
		errs = append(errs, writeFile(c.HTML, func(w io.Writer) error { return page.Write(w, report) }))
	}
	return errors.Join(errs...)
}

func writeJSON(w io.Writer, report *bench.Report) error {
	return json.NewEncoder(w).Encode(report)
}

// claim makes sure that the files can be written, and leaves what is in them. discard
// removes those that were not there.
func claim(paths ...string) (discard func(), err error) {
	var made []string
	discard = func() {
		for _, path := range made {
			_ = os.Remove(path)
		}
	}
	for _, path := range paths {
		if path == "" || path == "-" {
			continue
		}
		_, missing := os.Stat(path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			discard()
			return nil, err
		}
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			discard()
			return nil, err
		}
		if missing != nil {
			made = append(made, path)
		}
		_ = file.Close()
	}
	return discard, nil
}

// writeFile makes a file, and its folder where there is none.
func writeFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// config turns the flags into what bench.Run takes.
func (c *benchRunCommand) config() (bench.Config, error) {
	config := bench.Config{
		Settings: bench.Settings{
			Rounds: c.Rounds, Warmup: c.Warmup, Window: c.Window, Syscalls: c.Syscalls, CrossCheck: c.Apps && c.Cross, Driver: load.Driver(c.Driver), Args: os.Args[1:],
		},
		// Asked for by name, a target must be there; by default the bench runs
		// what there is and says what is missing.
		AllowMissing: len(c.Targets) == 0,
	}
	cells := bench.Headline()
	switch {
	case c.Full:
		cells = bench.Full()
	case c.Serve:
		cells = bench.Serve()
	case c.Apps:
		cells = bench.Apps()
	case c.Fair:
		cells = bench.Fair()
	}
	var err error
	if config.Cells, err = bench.Select(cells, c.Cells); err != nil {
		return config, err
	}
	peers := c.Peers
	if peers == "" {
		self, err := os.Executable()
		if err != nil {
			return config, err
		}
		peers = filepath.Dir(self)
	}
	targets := bench.Targets(peers)
	if c.Apps {
		targets = bench.AppTargets(peers)
	}
	if config.Targets, err = bench.SelectTargets(targets, c.Targets); err != nil {
		return config, err
	}
	config.Targets = append(otherBuilds(c.Also), config.Targets...)
	return config, config.Check()
}

// otherBuilds returns targets that run another executable.
func otherBuilds(paths map[string]string) []bench.Target {
	var targets []bench.Target
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		targets = append(targets, bench.Target{
			Name: name, Server: bench.IOUring, About: "another build of ringfd, on io_uring", Command: []string{paths[name]},
		})
	}
	return targets
}

func list(w io.Writer, config bench.Config) {
	fmt.Fprintln(w, "cells:")
	for _, cell := range config.Cells {
		fmt.Fprintf(w, "  %-24s %s\n", cell.Name, cell)
		for _, goal := range cell.Goals {
			fmt.Fprintf(w, "  %-24s   goal: %s\n", "", goal)
		}
	}
	fmt.Fprintln(w, "targets:")
	for _, target := range config.Targets {
		fmt.Fprintf(w, "  %-24s %s\n", target.Name, target.About)
	}
}
