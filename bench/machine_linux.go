package bench

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func (m *Machine) detail() {
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.CPU = procField("/proc/cpuinfo", "model name")
	_, _ = fmt.Sscan(procField("/proc/meminfo", "MemTotal"), &m.MemoryKiB)
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(load), &m.Load)
	}
}

// procField returns the value of the first "name : value" line, or "".
func procField(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
