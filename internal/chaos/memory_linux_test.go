package chaos

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// seen is memory of this process that has to do with the kernel, in KiB.
type seen struct {
	rings  int // mapped rings, and the buffers that the kernel picks from
	locked int // VmLck
	pinned int // VmPin
}

func (s seen) String() string {
	return fmt.Sprintf("%d KiB of rings and buffers, %d locked, %d pinned", s.rings, s.locked, s.pinned)
}

// kernelMemory adds up the mappings that a forked child does not get ("dc" in
// smaps): that is what package uring does with all memory that the kernel writes
// to on its own, and nothing else in this process. Reference: proc_pid_smaps(5).
func kernelMemory(t testing.TB) (s seen) {
	t.Helper()
	eachLine(t, "/proc/self/status", func(line string) {
		_, _ = fmt.Sscanf(line, "VmLck: %d kB", &s.locked)
		_, _ = fmt.Sscanf(line, "VmPin: %d kB", &s.pinned)
	})
	size := 0
	eachLine(t, "/proc/self/smaps", func(line string) {
		_, _ = fmt.Sscanf(line, "Size: %d kB", &size)
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && strings.Contains(flags+" ", " dc ") {
			s.rings += size
		}
	})
	return s
}

func eachLine(t testing.TB, path string, f func(line string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f(lines.Text())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
