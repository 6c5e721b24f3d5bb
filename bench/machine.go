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
	// Mitigations are the kernel's against flaws of the processor, by flaw: they
	// are part of what a system call costs.
	Mitigations map[string]string `json:"mitigations,omitempty"`
	// Congestion is the congestion control of TCP, loopback's too.
	Congestion string `json:"tcp_congestion_control,omitempty"`
	// Clock is the kernel's clock source, which every time stamp pays for.
	Clock string `json:"clock_source,omitempty"`
	// Load is the load average over the minute before the start: what else ran.
	Load float64 `json:"load_average"`
}

// ThisMachine describes the machine.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	m.detail()
	return m
}
