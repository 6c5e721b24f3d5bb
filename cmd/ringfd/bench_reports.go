package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/errors"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/page"
)

type benchCompareCommand struct {
	Before string `arg:"" help:"A report, as bench --json writes it." type:"existingfile"`
	After  string `arg:"" help:"Another one." type:"existingfile"`
}

func (c *benchCompareCommand) Run(stdio stdio) error {
	before, err := readReport(c.Before)
	if err != nil {
		return usageError{err}
	}
	after, err := readReport(c.After)
	if err != nil {
		return usageError{err}
	}
	changes, err := bench.Compare(before, after)
	if err != nil {
		return usageError{err}
	}
	if err := changes.WriteText(stdio.out); err != nil {
		return err
	}
	if changes.Worse() {
		return errors.New("something got worse")
	}
	return nil
}

type benchRenderCommand struct {
	Report   string `arg:"" help:"A report, as bench --json writes it." type:"existingfile"`
	HTML     string `name:"html" help:"Write a page with plots to this file." placeholder:"FILE"`
	Pictures string `help:"Write the main plots to this folder, as SVG and PNG." placeholder:"FOLDER"`
	Readme   string `help:"Write the figures into this file, into the section of this report." placeholder:"FILE"`
}

// Run prints the table where nothing else is asked for.
func (c *benchRenderCommand) Run(stdio stdio) error {
	report, err := readReport(c.Report)
	if err != nil {
		return usageError{err}
	}
	if c.HTML == "" && c.Pictures == "" && c.Readme == "" {
		return report.WriteText(stdio.out)
	}
	var errs []error
	if c.HTML != "" {
		errs = append(errs, writeFile(c.HTML, func(w io.Writer) error { return page.Write(w, report) }))
	}
	if c.Pictures != "" {
		_, err := page.Pictures(c.Pictures, report)
		errs = append(errs, err)
	}
	if c.Readme != "" {
		errs = append(errs, updateReadme(c.Readme, c.source(), report))
	}
	return errors.Join(errs...)
}

// source names the report as the README does: by its path from the README on.
func (c *benchRenderCommand) source() string {
	readme, err := filepath.Abs(c.Readme)
	if err != nil {
		return c.Report
	}
	path, err := filepath.Rel(filepath.Dir(readme), c.Report) // an absolute path
	if err != nil {
		return c.Report
	}
	return filepath.ToSlash(path)
}

func updateReadme(path, source string, report *bench.Report) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	updated, err := report.UpdateReadme(string(text), source)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(updated), 0o644)
}

func readReport(path string) (*bench.Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	report := new(bench.Report)
	if err := json.Unmarshal(text, report); err != nil {
		return nil, fmt.Errorf("%s is not a report that bench --json wrote: %w", path, err)
	}
	if len(report.Cells) == 0 || len(report.Targets) == 0 {
		return nil, fmt.Errorf("%s holds no cells: bench --json writes reports", path)
	}
	return report, nil
}
