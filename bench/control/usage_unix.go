//go:build unix

package control

import (
	"syscall"
	"time"
)

// ThisProcess reads what this process used so far.
func ThisProcess() Usage {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // cannot fail with these arguments
	return Usage{
		CPU:         CPU{User: time.Duration(usage.Utime.Nano()), System: time.Duration(usage.Stime.Nano())},
		Voluntary:   int64(usage.Nvcsw),
		Involuntary: int64(usage.Nivcsw),
	}
}
