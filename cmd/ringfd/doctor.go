package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/uring"
)

type doctorCommand struct {
	JSON     bool          `name:"json" help:"Print the findings as JSON: with --live an object per line."`
	Live     string        `help:"Show instead what the process does that serves this unix socket (package live, or ringfd echo --live): first since its start, then at each interval." placeholder:"PATH"`
	Interval time.Duration `help:"With --live: the time from one report to the next. 1s by default." placeholder:"1s"`
	Count    int           `help:"With --live: how many reports to print. By default until interrupted." placeholder:"N"`
}

// diagnosis is what doctor found.
type diagnosis struct {
	Machine bench.Machine `json:"machine"`
	// Backend is what a program gets that forces nothing, and Why the reason;
	// Error says that it gets none.
	Backend ringfd.Kind `json:"backend,omitempty"`
	Why     string      `json:"why,omitempty"`
	Error   string      `json:"error,omitempty"`
	// Batched says which calls of goroutines share system calls; "" on net.
	Batched string `json:"batched,omitempty"`
	// Probed is false where RINGFD_BACKEND=net forbids every io_uring call.
	Probed bool `json:"probed"`
	// IOUring says whether io_uring works, Refused why it does not.
	IOUring  bool      `json:"io_uring"`
	Refused  string    `json:"refused,omitempty"`
	Facts    facts     `json:"facts"`
	Features []finding `json:"features,omitempty"`
	Advice   []string  `json:"advice,omitempty"`
}

// facts bear on io_uring; "" where this system does not have them.
type facts struct {
	Sysctl  string `json:"kernel.io_uring_disabled"`
	Seccomp string `json:"seccomp_filter"`
	Memlock string `json:"rlimit_memlock"`
}

// finding is the state of one feature.
type finding struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Since   string `json:"since"`
	For     string `json:"for"`
	Without string `json:"without"`
	Detail  string `json:"detail,omitempty"`
}

// The states of a feature.
const (
	stateUsed    = "used"
	stateThere   = "there" // but this version takes no advantage of it
	stateMasked  = "masked"
	stateMissing = "missing"
	stateUnknown = "unknown" // the probe itself failed
)

func (c *doctorCommand) Run(ctx context.Context, io stdio) error {
	if c.Live != "" {
		return c.watch(ctx, io.out)
	}
	if c.Interval != 0 || c.Count != 0 {
		return usageError{errors.New("--interval and --count are for --live: give it the path of a process's socket")}
	}
	d, err := diagnose()
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(io.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(d)
	}
	d.write(io.out)
	return nil
}

// diagnose opens a backend as a program does that forces nothing, and probes.
func diagnose() (*diagnosis, error) {
	d := &diagnosis{Machine: bench.ThisMachine()}
	var used ringfd.Features
	backend, err := open(ringfd.Options{})
	var unavailable *ringfd.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		d.Error = err.Error()
	case err != nil:
		return nil, err
	default:
		d.Backend, d.Why, used = backend.Kind(), backend.Why(), backend.Features()
		d.Batched = batched(d.Backend, used)
		if err := backend.Close(); err != nil {
			return nil, err
		}
	}
	if os.Getenv("RINGFD_BACKEND") == string(ringfd.Net) {
		d.Advice = append(d.Advice, "to see what io_uring offers here, run this without RINGFD_BACKEND=net: then it makes io_uring system calls")
		return d, nil
	}
	masked, err := uring.ParseFeatures(os.Getenv("RINGFD_WITHOUT"))
	if err != nil {
		return nil, usageError{err}
	}
	d.examine(uring.Probe(), used, masked)
	return d, nil
}

// batched says which calls of goroutines are made together, with these features.
func batched(kind ringfd.Kind, used ringfd.Features) string {
	switch {
	case kind != ringfd.IOUring:
		return ""
	case !used.Has(uring.FeatureSockNonempty):
		return "nothing of goroutines, for want of sock_nonempty; on loops (Serve) all but connects"
	case !used.Has(uring.FeatureAcceptDontwait):
		return "receives of goroutines that wait; on loops (Serve) all but connects"
	}
	return "receives and accepts of goroutines that wait; on loops (Serve) all but connects"
}

// examine files the report of the probe.
func (d *diagnosis) examine(r uring.Report, used, masked ringfd.Features) {
	d.Probed, d.IOUring = true, r.Err == nil
	d.Facts = facts{Sysctl: r.Sysctl, Seccomp: r.Seccomp, Memlock: r.Memlock}
	if r.Err != nil {
		d.Refused = r.Err.Error()
		if cure := uring.Cure(r.Err); cure != "" {
			d.Advice = append(d.Advice, cure)
		}
		return
	}
	var newest string
	for _, info := range uring.FeatureTable {
		f := finding{Name: info.Name, Since: info.Since, For: info.For, Without: info.Without, Detail: r.Details[info.Bit]}
		switch {
		case used.Has(info.Bit):
			f.State = stateUsed
		case masked.Has(info.Bit):
			f.State = stateMasked
		case r.Found.Has(info.Bit):
			f.State = stateThere
		case r.Unknown.Has(info.Bit):
			f.State = stateUnknown
		default:
			f.State = stateMissing
			if info.Used {
				newest = later(newest, info.Since)
			}
		}
		d.Features = append(d.Features, f)
	}
	if newest != "" {
		d.Advice = append(d.Advice, "a kernel of "+newest+" or later has every feature that this version uses")
	}
	if masked != 0 {
		d.Advice = append(d.Advice, "RINGFD_WITHOUT masks features: unset it to use them")
	}
	if r.Unknown != 0 {
		d.Advice = append(d.Advice, "some features could not be probed: see the details, and run this again with more memory or descriptors")
	}
}

// later returns the later of two kernel versions, "" being the earliest.
func later(a, b string) string {
	var aMajor, aMinor, bMajor, bMinor int
	_, _ = fmt.Sscanf(a, "%d.%d", &aMajor, &aMinor)
	_, _ = fmt.Sscanf(b, "%d.%d", &bMajor, &bMinor)
	if aMajor > bMajor || aMajor == bMajor && aMinor > bMinor {
		return a
	}
	return b
}

func (d *diagnosis) write(w io.Writer) {
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-24s  %s\n", name, value)
		}
	}
	fact("system", d.Machine.OS+"/"+d.Machine.Arch)
	fact("kernel", d.Machine.Kernel)
	fact("backend", string(d.Backend))
	fact("why", d.Why)
	fact("batched", d.Batched)
	fact("no backend", d.Error)
	switch {
	case !d.Probed:
		fact("io_uring", "not probed: RINGFD_BACKEND=net forbids it")
	case d.IOUring:
		fact("io_uring", "works")
	default:
		fact("io_uring", "does not work: "+d.Refused)
	}
	fact("kernel.io_uring_disabled", d.Facts.Sysctl)
	fact("seccomp filter", d.Facts.Seccomp)
	fact("RLIMIT_MEMLOCK", d.Facts.Memlock)
	if len(d.Features) > 0 {
		t := table.NewWriter()
		t.SetOutputMirror(w)
		t.SetStyle(table.StyleLight)
		t.Style().Format.Header = text.FormatDefault
		t.AppendHeader(table.Row{"feature", "state", "since", "for", "without it"})
		for _, f := range d.Features {
			state := f.State
			if f.Detail != "" {
				state += ": " + f.Detail
			}
			t.AppendRow(table.Row{f.Name, state, f.Since, f.For, f.Without})
		}
		t.Render()
	}
	for _, advice := range d.Advice {
		fmt.Fprintln(w, "to change:", advice)
	}
}
