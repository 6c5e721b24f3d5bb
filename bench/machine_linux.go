package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (m *Machine) detail() {
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.CPU = procField("/proc/cpuinfo", "model name")
	_, _ = fmt.Sscan(procField("/proc/meminfo", "MemTotal"), &m.MemoryKiB)
	m.Clock = firstLine(fileText("/sys/devices/system/clocksource/clocksource0/current_clocksource"), "")
	m.Congestion = firstLine(fileText("/proc/sys/net/ipv4/tcp_congestion_control"), "")
	flaws, _ := filepath.Glob("/sys/devices/system/cpu/vulnerabilities/*")
	for _, path := range flaws {
		if state := firstLine(fileText(path), ""); state != "" && state != "Not affected" {
			if m.Mitigations == nil {
				m.Mitigations = make(map[string]string)
			}
			m.Mitigations[filepath.Base(path)] = state
		}
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(load), &m.Load)
	}
}

// machineCPU returns what all CPUs together spent on all processes, since boot.
// Reference: proc_stat(5): user, nice, system, idle, iowait, irq, softirq,
// steal, in ticks of 10 ms.
func machineCPU() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d",
		&user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0, false
	}
	const tick = 10 * time.Millisecond
	return time.Duration(user+nice+system+irq+softirq+steal) * tick, true
}

// procField returns the value of the first "name : value" line, or "".
func procField(path, name string) string {
	for line := range strings.Lines(fileText(path)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileText returns what is in a file, or "".
func fileText(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}
