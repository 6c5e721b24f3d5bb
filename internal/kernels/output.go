package kernels

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Outcome is what came of one boot.
type Outcome struct {
	Probe    *Probe
	Rows     []Row
	NoSysctl bool // the kernel has no kernel.io_uring_disabled
	Troubles []string
}

// Row counts tests. Those that have others below them do not count.
type Row struct {
	Name    string
	Passed  int
	Failed  []string `json:",omitempty"`
	Skipped []string `json:",omitempty"`
}

// run follows the output of one test binary.
type run struct {
	plan    Run
	begun   []string
	outcome map[string]string
}

var testLine = regexp.MustCompile(`^\s*(=== RUN  |--- (PASS|FAIL|SKIP):) +(\S+)`)

// ReadOutput reads what the guest wrote while it ran part. Each line goes to echo,
// too.
func ReadOutput(part Part, guest io.Reader, echo io.Writer) (Outcome, error) {
	var o Outcome
	var now *run
	done := false
	lines := bufio.NewScanner(guest)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		fmt.Fprintln(echo, line)
		if i := strings.LastIndexByte(line, 0x16); i >= 0 {
			line = line[i+1:] // -test.v=test2json marks its lines so, wherever they begin
		}
		var err error
		switch {
		case strings.HasPrefix(line, ProbeLine):
			o.Probe = new(Probe)
			err = json.Unmarshal([]byte(line[len(ProbeLine):]), o.Probe)
		case strings.HasPrefix(line, BeginLine):
			now, err = begin(part, line[len(BeginLine):])
		case strings.HasPrefix(line, EndLine) && now != nil:
			o.end(now, line[len(EndLine):])
			now = nil
		case strings.HasPrefix(line, NoSysctlLine):
			o.NoSysctl = true
		case strings.HasPrefix(line, TroubleLine):
			o.Troubles = append(o.Troubles, line[len(TroubleLine):])
		case line == DoneLine:
			done = true
		case now != nil:
			now.line(line)
		}
		if err != nil {
			return o, fmt.Errorf("%q: %w", line, err)
		}
	}
	if now != nil {
		o.end(now, "the kernel ended first")
	}
	if !done {
		o.Troubles = append(o.Troubles, "the guest did not come to its end")
	}
	return o, lines.Err()
}

func begin(part Part, number string) (*run, error) {
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(part.Runs) {
		return nil, fmt.Errorf("no such run of %d", len(part.Runs))
	}
	return &run{plan: part.Runs[i], outcome: make(map[string]string)}, nil
}

func (r *run) line(line string) {
	match := testLine.FindStringSubmatch(line)
	switch {
	case match == nil:
	case match[2] == "" && slices.Contains(r.begun, match[3]): // -test.count
	case match[2] == "":
		r.begun = append(r.begun, match[3])
	default:
		r.outcome[match[3]] = match[2]
	}
}

// end counts the tests of r, which exited with status.
func (o *Outcome) end(r *run, status string) {
	_, status, _ = strings.Cut(status, " ")
	failures := 0
	for _, test := range r.begun {
		outcome := r.outcome[test]
		isParent := slices.ContainsFunc(r.begun, func(other string) bool { return strings.HasPrefix(other, test+"/") })
		if isParent && (outcome != "FAIL" || r.failsBelow(test)) {
			continue
		}
		row := o.row(r.plan.RowOf(test))
		switch outcome {
		case "PASS":
			row.Passed++
		case "SKIP":
			row.Skipped = append(row.Skipped, test)
		case "FAIL":
			failures++
			row.Failed = append(row.Failed, test)
		default:
			failures++
			row.Failed = append(row.Failed, test+" (did not end)")
		}
	}
	if len(r.begun) == 0 || status != "0" && failures == 0 {
		row := o.row(r.plan.RowOf(r.plan.Binary))
		row.Failed = append(row.Failed, fmt.Sprintf("%s: ran %d tests, exit status %s", r.plan.Binary, len(r.begun), status))
	}
}

// failsBelow reports that a test below test failed, or did not end.
func (r *run) failsBelow(test string) bool {
	return slices.ContainsFunc(r.begun, func(other string) bool {
		outcome := r.outcome[other]
		return strings.HasPrefix(other, test+"/") && outcome != "PASS" && outcome != "SKIP"
	})
}

func (o *Outcome) row(name string) *Row {
	for i := range o.Rows {
		if o.Rows[i].Name == name {
			return &o.Rows[i]
		}
	}
	o.Rows = append(o.Rows, Row{Name: name})
	return &o.Rows[len(o.Rows)-1]
}
