package bench

import (
	"fmt"
	"strconv"
)

// memoryOf reads the memory of a process. Reference: proc_pid_status(5).
func memoryOf(pid int) Memory {
	path := "/proc/" + strconv.Itoa(pid) + "/status"
	return Memory{Resident: kibibytes(path, "VmRSS"), Anonymous: kibibytes(path, "RssAnon")}
}

// kernelMemory is what the whole kernel holds for objects such as sockets, for
// thread stacks, and for page tables. Reference: proc_meminfo(5).
func kernelMemory() uint64 {
	const path = "/proc/meminfo"
	return kibibytes(path, "Slab") + kibibytes(path, "KernelStack") + kibibytes(path, "PageTables")
}

// kibibytes reads a field as "123 kB", and returns bytes.
func kibibytes(path, field string) uint64 {
	var n uint64
	_, _ = fmt.Sscan(procField(path, field), &n)
	return n << 10
}
