package kernels

import (
	"regexp"
	"strings"
)

// troubles are what a kernel says on its console when it has come to harm. The
// first is of panic, oops and WARN; lockdep begins with "possible" or "inconsistent".
var troubles = regexp.MustCompile(`Kernel panic|\bBUG\b|WARNING: |Oops|general protection|` +
	`possible (recursive|circular|irq lock)|inconsistent lock state|bad unlock balance|held lock freed|` +
	`INFO: task .* blocked|detected stall|soft lockup|refcount_t: |list_(add|del) corruption|Out of memory`)

// harmless are lines that troubles match at every boot of some kernel.
var harmless = regexp.MustCompile(`WARNING: Unprivileged eBPF is enabled`) // a note on Spectre, by 5.10

// Troubles returns the lines of a console that tell of harm.
func Troubles(console string) (found []string) {
	for line := range strings.Lines(console) {
		line = strings.TrimSpace(line)
		if troubles.MatchString(line) && !harmless.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}
