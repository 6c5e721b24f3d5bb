package control

import (
	"syscall"
	"time"
)

// ThisProcess reads what this process used so far.
func ThisProcess() Usage {
	var created, exited, kernel, user syscall.Filetime
	self, _ := syscall.GetCurrentProcess()
	_ = syscall.GetProcessTimes(self, &created, &exited, &kernel, &user) // cannot fail for oneself
	return Usage{CPU: CPU{User: ticks(user), System: ticks(kernel)}}
}

// ticks are of 100 ns.
func ticks(t syscall.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
