//go:build !linux

package selection

import (
	"testing"

	"github.com/ringfd/ringfd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
