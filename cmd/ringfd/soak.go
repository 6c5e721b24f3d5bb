package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/cockroachdb/errors"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/page"
)

type soakCommand struct {
	Time     time.Duration `help:"How long." default:"30m"`
	Interval time.Duration `help:"Time under load before each sample at rest. By default a sixtieth of the time, but between 1 s and 5 s." placeholder:"DURATION"`
	Backend  string        `help:"The backend of the server: io_uring or net." enum:"io_uring,net" default:"io_uring" placeholder:"NAME"`
	Conns    int           `help:"Connections with the trace of a p2p node, of all styles." default:"192"`
	Growth   float64       `help:"The share by which the server's memory may grow after the warm-up." default:"0.05"`
	Seed     uint64        `help:"Decides the random choices." default:"1"`
	Out      string        `help:"The folder for the pictures, the JSON and the CSV." default:"dist/soak" placeholder:"FOLDER"`
	Flaw     string        `hidden:"" help:"Have the server do something wrong, for tests."`
}

func (c *soakCommand) Run(ctx context.Context, streams stdio) error {
	config := bench.SoakConfig{
		Time: c.Time, Interval: c.Interval, Backend: c.Backend, Conns: c.Conns, Growth: c.Growth, Seed: c.Seed, Flaw: c.Flaw,
	}
	if err := config.Check(); err != nil {
		return usageError{err}
	}
	config.Progress = func(s bench.SoakSample) {
		if s.Resting {
			fmt.Fprintln(streams.err, s)
		}
	}
	report, err := bench.Soak(ctx, config)
	if err != nil {
		return errors.WithHint(err, "`ringfd doctor` shows what this machine offers")
	}
	if err := c.write(report, streams.out); err != nil {
		return err
	}
	switch {
	case report.Interrupted:
		return errors.Newf("interrupted after %v of %v", report.Took.Round(time.Second), c.Time)
	case !report.OK():
		return errors.Newf("the soak failed: %s", report.WhyNot())
	}
	return nil
}

// write writes all, as far as it can.
func (c *soakCommand) write(report *bench.SoakReport, out io.Writer) error {
	errs := []error{
		report.WriteText(out),
		writeFile(filepath.Join(c.Out, "soak.json"), func(w io.Writer) error { return json.NewEncoder(w).Encode(report) }),
		writeFile(filepath.Join(c.Out, "soak.csv"), report.WriteCSV),
	}
	if len(report.Samples) > 0 {
		_, err := page.Soak(c.Out, report)
		errs = append(errs, err)
		fmt.Fprintf(out, "picture  %s\n", filepath.Join(c.Out, "soak.svg"))
	}
	return errors.Join(errs...)
}
