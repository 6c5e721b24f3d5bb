// Package soak holds the peers of a soak, all in one process: generators with the
// trace of a p2p node, with connections that come and go and with broadcasts; and
// peers that misbehave. Whatever comes back is checked to the last byte.
package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
)

// Spec is what the peers of a soak do.
type Spec struct {
	// Groups are the addresses of the server, as control.Ready has them.
	Groups [][]string `json:"groups"`
	// Conns is how many connections have the trace, and Members how many each
	// group of broadcasts has.
	Conns   int `json:"conns"`
	Members int `json:"members"`
	// Churn is how many connections are made per second for one message each.
	Churn float64 `json:"churn_per_second"`
	// Message is the size of those messages and of broadcasts, in bytes.
	Message int `json:"message_bytes"`
	// Faulty is how many peers misbehave at a time.
	Faulty int    `json:"faulty"`
	Seed   uint64 `json:"seed"`
}

// Standing is how many connections there are while nothing happens.
func (s Spec) Standing() int { return s.Conns + s.Members*(len(s.Groups)-1) }

// Result is of one run. When it ends, all that was sent has been answered, and but
// for the standing connections all are closed.
type Result struct {
	Trace  load.Result   `json:"trace"`
	Churn  load.Result   `json:"churn"`
	Fanout []load.Result `json:"fanout"`
	// Faults counts what was done, by name; Checked the bytes that those peers
	// received and checked.
	Faults  map[string]uint64 `json:"faults"`
	Checked uint64            `json:"checked_bytes"`
}

// Received is how many bytes came back, and were as they should be.
func (r Result) Received() uint64 {
	sum := r.Trace.Received + r.Churn.Received + r.Checked
	for _, f := range r.Fanout {
		sum += f.Received
	}
	return sum
}

// How many messages are in flight: of each busy connection of the trace, and of
// each group of broadcasts.
const (
	traceDepth  = 2
	fanoutDepth = 2
	// churning is how many connections of the churn there are at a time.
	churning = 12
)

// peers are all of them.
type peers struct {
	generators []*load.Generator // the trace, the churn, and the fan-outs
	names      []string          // of them
	faults     *faults
}

func open(spec Spec) (*peers, error) {
	if len(spec.Groups) == 0 {
		return nil, errors.New("a soak needs a server")
	}
	p := &peers{faults: newFaults(spec)}
	echo := spec.Groups[0]
	specs := []load.Spec{
		{Workload: load.Trace, Conns: spec.Conns, Depth: traceDepth},
		{Workload: load.Churn, Conns: churning, Depth: 1, Rate: spec.Churn},
	}
	addresses := [][]string{echo, echo}
	fanouts := len(specs)
	for i, group := range spec.Groups[1:] {
		// The first connection sends: in each group it is of another style.
		n := i % len(group)
		specs = append(specs, load.Spec{Workload: load.Fanout, Conns: spec.Members, Depth: fanoutDepth})
		addresses = append(addresses, append(append([]string(nil), group[n:]...), group[:n]...))
	}
	for i, s := range specs {
		s.Network, s.Address, s.More = "tcp", addresses[i][0], addresses[i][1:]
		s.Request, s.Reply, s.Seed, s.Whole = spec.Message, spec.Message, spec.Seed, true
		g, err := load.Open(s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", s.Workload, err), p.close())
		}
		p.generators = append(p.generators, g)
		p.names = append(p.names, string(s.Workload))
		if i >= fanouts {
			p.names[i] += fmt.Sprintf(" of group %d", i-fanouts+1)
		}
	}
	return p, nil
}

// run has all of them at work for d.
func (p *peers) run(d time.Duration) (*Result, error) {
	results := make([]*load.Result, len(p.generators))
	errs := make([]error, len(p.generators)+1)
	var all sync.WaitGroup
	for i, g := range p.generators {
		all.Go(func() {
			var err error
			if results[i], err = g.Run(d); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p.names[i], err)
			}
		})
	}
	r := new(Result)
	all.Go(func() { r.Faults, r.Checked, errs[len(p.generators)] = p.faults.run(d) })
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r.Trace, r.Churn = *results[0], *results[1]
	for _, f := range results[2:] {
		r.Fanout = append(r.Fanout, *f)
	}
	return r, nil
}

func (p *peers) close() error {
	var errs []error
	for _, g := range p.generators {
		errs = append(errs, g.Close())
	}
	return errors.Join(errs...)
}

// Child is the process of the peers.
func Child(in io.Reader, out io.Writer) error {
	var p *peers
	return control.Child(in, out, func(r control.Request) (control.Reply, error) {
		switch {
		case r.Do == control.DoStart && p == nil:
			var spec Spec
			if err := json.Unmarshal(r.Load, &spec); err != nil {
				return control.Reply{}, err
			}
			var err error
			p, err = open(spec)
			return control.Reply{}, err
		case r.Do == control.DoRun && p != nil:
			result, err := p.run(r.Duration)
			if err != nil {
				return control.Reply{}, err
			}
			encoded, err := json.Marshal(result)
			return control.Reply{Load: encoded}, err
		case r.Do == control.DoStop && p == nil:
			return control.Reply{}, nil
		case r.Do == control.DoStop:
			return control.Reply{}, p.close()
		}
		return control.Reply{}, fmt.Errorf("the peers of a soak cannot %q now", r.Do)
	})
}
