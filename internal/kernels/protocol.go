package kernels

// What the guest writes to its second serial port, a line each, beside the output
// of the tests.
const (
	// ProbeLine is followed by a Probe, as JSON.
	ProbeLine = "@@ probe "
	// BeginLine and EndLine are followed by the number of a run in its part; EndLine
	// by its exit status, too.
	BeginLine = "@@ begin "
	EndLine   = "@@ end "
	// NoSysctlLine is followed by the number of a run that was left out, since this
	// kernel does not have kernel.io_uring_disabled.
	NoSysctlLine = "@@ no sysctl "
	// TroubleLine is followed by what the guest could not do.
	TroubleLine = "@@ trouble "
	// DoneLine ends the part.
	DoneLine = "@@ done"
)

// PlanPath is where the guest finds its Part, as JSON, and TestsPath the binaries.
const (
	PlanPath  = "/plan.json"
	TestsPath = "/tests"
)

// Probe is what the probe of package uring said.
type Probe struct {
	Kernel string
	Err    string            `json:",omitempty"`
	Found  []string          // features
	Lacks  map[string]string // the others, and why
}
