//go:build linux && sim

package sim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ringfd/ringfd/internal/simkernel"
)

// TestMutants shows that the checks can fail: a kernel that breaks a rule is found
// out.
func TestMutants(t *testing.T) {
	for _, m := range simkernel.Mutants {
		t.Run(strings.ReplaceAll(string(m), " ", "-"), func(t *testing.T) {
			t.Parallel()
			out, err := process("-mutant="+string(m), "-seeds=2000")
			if err == nil {
				t.Fatalf("a kernel that does this is not found out: %s\n%s", m, out)
			}
			var seed uint64
			if _, err := fmt.Sscanf(out[strings.LastIndex(out, "\nseed ")+1:], "seed %d", &seed); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if out, err := process("-seeds=1", fmt.Sprint("-first=", seed)); err != nil {
				t.Fatalf("it is found out without being one: %v\n%s", err, out)
			}
			for line := range strings.Lines(out) {
				t.Log(strings.TrimSpace(line))
				if strings.HasPrefix(line, "  ") {
					break
				}
			}
		})
	}
}

// TestReplays runs seeds in two processes, and compares what happened, event by
// event. Some differ: Engine.Close and contexts go through maps, and select chooses
// among what is ready, in an order of the runtime's own.
func TestReplays(t *testing.T) {
	const n = 60
	first, second := hashes(t, n), hashes(t, n)
	same := 0
	for seed, hash := range first {
		if second[seed] == hash {
			same++
		}
	}
	t.Logf("%d of %d seeds had the same trace twice", same, n)
	if same < n/2 {
		t.Error("that is too few: a seed that fails could not be played again")
	}
}

// hashes returns those of the traces of the first n seeds.
func hashes(t *testing.T, n int) map[string]string {
	out, err := process(fmt.Sprint("-seeds=", n), "-hashes")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := make(map[string]string)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "hash" {
			found[f[1]] = f[2]
		}
	}
	if len(found) != n {
		t.Fatalf("%d hashes of %d", len(found), n)
	}
	return found
}
