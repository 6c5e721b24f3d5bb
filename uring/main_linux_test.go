package uring

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/ringfd/ringfd/internal/child"
)

func TestMain(m *testing.M) {
	child.Main(parts)
	goleak.VerifyTestMain(m)
}

// needRing skips a test where io_uring is not available.
func needRing(t testing.TB) {
	t.Helper()
	if err := Probe().Err; err != nil {
		t.Skip("needs a machine that allows io_uring; here: ", err)
	}
}
