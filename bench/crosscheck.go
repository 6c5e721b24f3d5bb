package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// CrossCheck is what another generator than the lab's own finds, in closed loop too.
type CrossCheck struct {
	Tool string `json:"tool"`
	// Ratio is that of throughputs: ours over the baseline's, as a median of pairs.
	Ratio Spread `json:"ratio"`
	// Rate is the baseline's, in messages per second.
	Rate Spread `json:"rate"`
	// Error says why there is none.
	Error string `json:"error,omitempty"`
}

// crossPairs is how many pairs of rounds it is made of, each of a second or so.
const crossPairs = 3

// crossTool is another generator.
type crossTool struct {
	name, debian string
	arguments    func(c Cell, address string, messages int) []string
	// rate finds the messages per second in what it says, and failed that some were
	// not answered as they should.
	rate, failed *regexp.Regexp
}

var (
	wrk = crossTool{
		name: "wrk", debian: "wrk",
		arguments: func(c Cell, address string, _ int) []string {
			return []string{"-t1", "-d1s", fmt.Sprintf("-c%d", c.Conns), "http://" + address + crossPath}
		},
		rate: regexp.MustCompile(`Requests/sec: +([\d.]+)`),
		// Not its timeouts: those are latencies, of which it is not asked.
		failed: regexp.MustCompile(`Non-2xx or 3xx responses: .*|(?:connect|read|write) [1-9]\d*`),
	}
	h2load = crossTool{
		name: "h2load", debian: "nghttp2-client",
		arguments: func(c Cell, address string, _ int) []string {
			return []string{"-t1", "-D1", "-m1", fmt.Sprintf("-c%d", c.Conns), "https://" + address + crossPath}
		},
		rate:   regexp.MustCompile(`finished in .*, ([\d.]+) req/s`),
		failed: regexp.MustCompile(`[1-9]\d* (?:failed|errored|timeout)`),
	}
	redisBenchmark = crossTool{
		name: "redis-benchmark", debian: "redis-tools",
		arguments: func(c Cell, address string, messages int) []string {
			host, port, _ := net.SplitHostPort(address)
			return []string{"-h", host, "-p", port, "-c", strconv.Itoa(c.Conns), "-P", strconv.Itoa(c.Depth),
				"-n", strconv.Itoa(messages), "-q", "ECHO", strings.Repeat("x", c.Request)}
		},
		rate:   regexp.MustCompile(`([\d.]+) requests per second`),
		failed: regexp.MustCompile(`Error from server.*`),
	}
)

// crossPath is as the lab's generator asks for.
const crossPath = "/0123456789abcdef"

// crossTools are by the programs whose protocol they speak.
var crossTools = map[string]crossTool{"http": wrk, "fasthttp": wrk, "h2": h2load, "resp": redisBenchmark}

// tool returns the other generator for a cell that is to be checked: those of each
// program that are usual.
func (c Cell) tool() (crossTool, bool) {
	tool, ok := crossTools[c.Program]
	return tool, ok && c.Procs == 1 && c.Conns == 64 && c.Work == 0 && c.Share == 0
}

// crossCheck runs another generator against ours and the baseline, in turns.
func (r *runner) crossCheck(ctx context.Context, report *CellReport) error {
	tool, ok := report.Cell.tool()
	targets := r.targetsOf(report.Cell)
	if !ok || len(targets) < 2 {
		return nil
	}
	check := &CrossCheck{Tool: tool.name}
	report.CrossCheck = check
	path, err := exec.LookPath(tool.name)
	if err != nil {
		check.Error = fmt.Sprintf("%s is not here: it is in Debian's %s", tool.name, tool.debian)
		return nil
	}
	var ratios, ofBase []float64
	for range crossPairs {
		var rates []float64
		for _, t := range []Target{targets[0], targets[len(targets)-1]} {
			r.progress(fmt.Sprintf("%s, %s, %s", report.Cell.Name, tool.name, t.Name))
			rate, err := r.crossRate(ctx, report, t, tool, path)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				check.Error = err.Error()
				return nil
			}
			rates = append(rates, rate)
		}
		ratios, ofBase = append(ratios, rates[0]/rates[1]), append(ofBase, rates[1])
	}
	check.Ratio, check.Rate = spreadOf(ratios), spreadOf(ofBase)
	return nil
}

// crossRate runs the tool once, for a second or for as many messages as the lab's
// generator had answered in one.
func (r *runner) crossRate(ctx context.Context, report *CellReport, t Target, tool crossTool, path string) (float64, error) {
	serverAt, cpu := placement{anyCPU, report.Cell.Procs}, anyCPU
	if report.Cell.Pinned && r.cannotPin == nil {
		serverAt.cpu, cpu = r.serverCPU, r.loadCPU
	}
	s, err := startServer(ctx, r.command(t), r.serverSpec(report.Cell, t), serverAt)
	if err != nil {
		return 0, err
	}
	defer s.process.end()
	messages := 1000
	if own := report.values(MetricThroughput, t.Name); len(own) > 0 {
		messages = max(messages, int(spreadOf(own).Median))
	}
	cmd := exec.CommandContext(ctx, path, tool.arguments(report.Cell, s.ready.Address, messages)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := startOn(cmd, cpu); err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", tool.name, err, tail(said.String()))
	}
	if failed := tool.failed.FindString(said.String()); failed != "" {
		return 0, fmt.Errorf("%s: %s", tool.name, failed)
	}
	found := tool.rate.FindStringSubmatch(said.String())
	if found == nil {
		return 0, fmt.Errorf("%s says no rate: %s", tool.name, tail(said.String()))
	}
	rate, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return 0, err
	}
	_, err = s.stop()
	return rate, err
}

// tail is the end of what a tool said.
func tail(said string) string {
	const enough = 200
	said = strings.TrimSpace(said)
	return said[max(0, len(said)-enough):]
}

// crossRatios gives each cell that was checked to do, with the ratio of throughputs and
// the baseline's rate that the lab's generator finds.
func (r *Report) crossRatios(do func(c *CellReport, own Ratio, rate Spread)) {
	for i := range r.Cells {
		c := &r.Cells[i]
		if n := len(c.Summaries); n > 0 && c.CrossCheck != nil && c.CrossCheck.Error == "" {
			base := c.Summaries[n-1]
			if k := c.Comparison(c.Summaries[0].Target, base.Target); k != nil {
				do(c, k.Ratios[MetricThroughput], base.Metrics[MetricThroughput])
			}
		}
	}
}

// text is "0.97 (0.95–0.99)".
func (s Spread) text() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max) }
