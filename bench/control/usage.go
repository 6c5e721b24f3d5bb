package control

import (
	"runtime"
	"time"
)

// CPU is processor time of a process, all its threads together.
type CPU struct {
	User   time.Duration `json:"user_ns"`
	System time.Duration `json:"system_ns"`
}

// Total is user and system time.
func (c CPU) Total() time.Duration { return c.User + c.System }

// Sub returns what was used since an earlier reading.
func (c CPU) Sub(earlier CPU) CPU {
	return CPU{c.User - earlier.User, c.System - earlier.System}
}

// Usage is what a process used of the machine. Reference: getrusage(2).
type Usage struct {
	CPU CPU `json:"cpu"`
	// Voluntary and Involuntary are context switches: a thread had to wait, or
	// was made to. Zero on Windows, which does not tell.
	Voluntary   int64 `json:"voluntary_switches"`
	Involuntary int64 `json:"involuntary_switches"`
}

// Sub returns what was used since an earlier reading.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{u.CPU.Sub(earlier.CPU), u.Voluntary - earlier.Voluntary, u.Involuntary - earlier.Involuntary}
}

// GoUsage is what the Go runtime of a process did. Reference: runtime.MemStats.
type GoUsage struct {
	Mallocs    uint64        `json:"mallocs"`
	Allocated  uint64        `json:"allocated_bytes"`
	GCs        uint32        `json:"gc_cycles"`
	GCPause    time.Duration `json:"gc_pause_ns"`
	Goroutines int           `json:"goroutines"`
	// HeapInUse is what the spans of the heap that are in use hold.
	HeapInUse uint64 `json:"heap_in_use_bytes"`
}

// Sub returns what was done since an earlier reading, but the Goroutines and the
// heap of now.
func (g GoUsage) Sub(earlier GoUsage) GoUsage {
	return GoUsage{
		g.Mallocs - earlier.Mallocs, g.Allocated - earlier.Allocated, g.GCs - earlier.GCs,
		g.GCPause - earlier.GCPause, g.Goroutines, g.HeapInUse,
	}
}

// ThisGo reads the counters of this process's Go runtime. It stops the world.
func ThisGo() GoUsage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return GoUsage{m.Mallocs, m.TotalAlloc, m.NumGC, time.Duration(m.PauseTotalNs), runtime.NumGoroutine(), m.HeapInuse}
}
