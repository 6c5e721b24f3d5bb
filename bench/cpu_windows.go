package bench

import (
	"syscall"
	"time"
)

func processCPU() CPU {
	var created, exited, kernel, user syscall.Filetime
	self, _ := syscall.GetCurrentProcess()
	_ = syscall.GetProcessTimes(self, &created, &exited, &kernel, &user) // cannot fail for oneself
	return CPU{User: ticks(user), System: ticks(kernel)}
}

// ticks are of 100 ns.
func ticks(t syscall.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
