package kernels

import (
	"slices"
	"strings"
)

// Run is one test binary, run once in the guest.
type Run struct {
	// Row is where its tests count in the table. "" is for the suite, whose tests
	// carry the name of their row.
	Row    string
	Binary string // in /tests
	Args   []string
	// Disabled is the value of kernel.io_uring_disabled, "" for the kernel's own.
	Disabled string `json:",omitempty"`
}

// Part is what one boot runs. Parts keep a kernel that crashes from taking all
// tests with it.
type Part struct {
	Name string
	Runs []Run
}

// Binaries are the packages that the tests come from, by the name of their binary.
var Binaries = map[string]string{
	"ringfd":    ".",
	"uring":     "./uring",
	"selection": "./internal/selection",
	"live":      "./live",
	"fd":        "./fd",
	"accept":    "./accept",
	"chaos":     "./internal/chaos",
}

// suites are the tests of the root package that run over rows, and servedSuites those
// over rows that serve.
var (
	suites       = []string{"TestConformance", "TestNetTest"}
	servedSuites = []string{"TestServe", "TestServeNetTest"}
)

// leftOutTests are those that want the sources or the go command, which the guest has
// not, and two that measure processor time, of which an emulation takes many times as
// much.
const leftOutTests = "^(TestFloodWithoutDescriptors|TestNothingLogs|TestSecurityNamesTests|TestReadme|TestImports|TestGiouring|TestDependencies|TestSeccompProfile|TestIdleConnectionsUseNoCPU)"

// Parts returns all that a kernel is put through.
func Parts() []Part {
	row := func(name string) Part {
		tests, networks := suites, ""
		if strings.HasPrefix(name, "serve-") {
			tests, networks = servedSuites, "/^tcp4$" // each takes a minute or two
		}
		pattern := "^(" + strings.Join(tests, "|") + ")$/^" + name + "$" + networks
		return Part{Name: name, Runs: []Run{{Binary: "ringfd", Args: []string{"-test.run=" + pattern}}}}
	}
	packages := Part{Name: "packages", Runs: []Run{
		{Row: "package uring", Binary: "uring"},
		{Row: "package selection", Binary: "selection"},
		{Row: "packages fd, accept, live", Binary: "fd"},
		{Row: "packages fd, accept, live", Binary: "accept"},
		{Row: "packages fd, accept, live", Binary: "live"},
		{Row: "the rest of package ringfd", Binary: "ringfd", Args: []string{"-test.skip=" + leftOutTests + "|^(" + strings.Join(slices.Concat(suites, servedSuites), "|") + ")$"}},
	}}
	disabled := Part{Name: "disabled", Runs: []Run{
		{Row: "kernel.io_uring_disabled=1", Binary: "selection", Disabled: "1"},
		{Row: "kernel.io_uring_disabled=2", Binary: "selection", Disabled: "2"},
		{Row: "kernel.io_uring_disabled=2", Binary: "ringfd", Args: []string{"-test.run=^(TestConformance|TestServe)$/^(net|serve-net)$"}, Disabled: "2"},
	}}
	return []Part{
		row("net"), row("io_uring"), row("io_uring-bare"), row("io_uring-busy-poll"),
		row("serve-net"), row("serve-io_uring"), row("serve-io_uring-bare"),
		packages, {Name: "chaos", Runs: []Run{{Row: "package chaos", Binary: "chaos"}}}, disabled,
	}
}

// RowOf says where a test counts.
func (r Run) RowOf(test string) string {
	if r.Row != "" {
		return r.Row
	}
	path := strings.SplitN(test, "/", 3)
	if len(path) > 1 && slices.Contains(slices.Concat(suites, servedSuites), path[0]) {
		return path[1]
	}
	return path[0]
}
