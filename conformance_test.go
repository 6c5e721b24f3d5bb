package ringfd_test

import (
	"testing"

	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/internal/leak"
)

func TestMain(m *testing.M) {
	conformance.Child()
	leak.Main(m)
}

// TestConformance runs the suite over every row of the table in
// internal/conformance, e.g. -run 'TestConformance/io_uring$/tcp4/EventOrder'.
func TestConformance(t *testing.T) {
	eachRow(t, conformance.Run)
}

// TestServe runs the suite over connections that come through Serve, and the
// cases of Serve itself, e.g. -run 'TestServe/serve-net$/tcp4/Broadcast'.
func TestServe(t *testing.T) {
	eachServeRow(t, conformance.Run)
}

// TestServeNetTest is TestNetTest over connections that come through Serve.
func TestServeNetTest(t *testing.T) {
	eachServeRow(t, conformance.NetTest)
}

// TestNetTest runs the suite that package net's own connections must pass.
func TestNetTest(t *testing.T) {
	eachRow(t, conformance.NetTest)
}

// TestDescriptorsRunOut accepts with no descriptor left.
func TestDescriptorsRunOut(t *testing.T) {
	eachFullRow(t, conformance.DescriptorsRunOut)
}

// TestFloodWithoutDescriptors floods a server that has no descriptor left.
func TestFloodWithoutDescriptors(t *testing.T) {
	for _, row := range conformance.ServeRows() {
		if !row.Core {
			t.Run(row.Name, func(t *testing.T) { conformance.FloodWithoutDescriptors(t, row) })
		}
	}
}

func eachRow(t *testing.T, f func(*testing.T, conformance.Row)) {
	each(t, conformance.Rows(), f)
}

func eachServeRow(t *testing.T, f func(*testing.T, conformance.Row)) {
	each(t, conformance.ServeRows(), f)
}

// each leaves out, with -short, the rows that differ from others by a feature only.
// Those without any feature stay.
func each(t *testing.T, rows []conformance.Row, f func(*testing.T, conformance.Row)) {
	for _, row := range rows {
		if !row.Core || !testing.Short() {
			t.Run(row.Name, func(t *testing.T) { f(t, row) })
		}
	}
}

// eachFullRow leaves out the rows that differ from others by a feature only.
func eachFullRow(t *testing.T, f func(*testing.T, conformance.Row)) {
	for _, row := range conformance.Rows() {
		if !row.Core {
			t.Run(row.Name, func(t *testing.T) { f(t, row) })
		}
	}
}
