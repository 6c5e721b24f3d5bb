//go:build !linux

package conformance

import (
	"testing"

	"github.com/ringfd/ringfd/fd"
)

func wantOptions(t testing.TB, _ *fd.FD, _ map[string]int) { t.Fatal("only cases for Linux call this") }

func checkOptions(*fd.FD, map[string]int) error { return nil }
