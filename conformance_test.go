package ringfd_test

import (
	"testing"

	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestConformance runs the suite over every row of the table in
// internal/conformance, e.g. -run 'TestConformance/io_uring$/tcp4/EventOrder'.
func TestConformance(t *testing.T) {
	for _, row := range conformance.Rows() {
		t.Run(row.Name, func(t *testing.T) { conformance.Run(t, row) })
	}
}
