package bench

import "runtime"

// Machine is what the figures were measured on.
type Machine struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel,omitempty"`
	CPU    string `json:"cpu,omitempty"`
	CPUs   int    `json:"cpus"`
	// MemoryKiB is the main memory.
	MemoryKiB uint64 `json:"memory_kib,omitempty"`
	// Load is the load average over the minute before the start: what else ran.
	Load float64 `json:"load_average"`
}

// ThisMachine describes the machine.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	m.detail()
	return m
}
