package chaos

import (
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/ringfd/ringfd/internal/child"
	"github.com/ringfd/ringfd/internal/leak"
)

// parts are what children of this test do.
var parts = map[string]func() any{"hog": hog}

func TestMain(m *testing.M) {
	child.Main(parts)
	leak.Main(m)
}

// hog keeps every core busy until its standard input ends.
func hog() any {
	for range runtime.NumCPU() {
		go func() {
			for {
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}
