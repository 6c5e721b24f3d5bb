//go:build !unix

package conformance

import (
	"testing"

	"github.com/ringfd/ringfd/accept"
)

func shutdown(t testing.TB, _ *accept.Listener) { t.Fatal("only cases for Linux call this") }
