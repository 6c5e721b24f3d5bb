package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// memoryOf reads the memory of a process. Reference: proc_pid_status(5).
func memoryOf(pid int) Memory {
	path := "/proc/" + strconv.Itoa(pid) + "/status"
	return Memory{Resident: kibibytes(path, "VmRSS"), Anonymous: kibibytes(path, "RssAnon")}
}

// kernelMemory is what the whole kernel holds for objects such as sockets, for
// thread stacks, and for page tables. Objects in use are counted one by one where
// that may be read, as root; else with what their caches keep in reserve, which
// hides what a connection of before has left. Reference: slabinfo(5),
// proc_meminfo(5).
func kernelMemory() uint64 {
	const path = "/proc/meminfo"
	objects := objectsInUse(fileText("/proc/slabinfo"))
	if objects == 0 {
		objects = kibibytes(path, "Slab")
	}
	return objects + kibibytes(path, "KernelStack") + kibibytes(path, "PageTables")
}

// objectsInUse adds up the lines "name active_objs num_objs objsize …".
func objectsInUse(slabinfo string) (bytes uint64) {
	for line := range strings.Lines(slabinfo) {
		var name string
		var active, all, size uint64
		if n, _ := fmt.Sscan(line, &name, &active, &all, &size); n == 4 {
			bytes += active * size
		}
	}
	return bytes
}

// kibibytes reads a field as "123 kB", and returns bytes.
func kibibytes(path, field string) uint64 {
	var n uint64
	_, _ = fmt.Sscan(procField(path, field), &n)
	return n << 10
}
