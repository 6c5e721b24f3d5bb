//go:build unix

package bench

import (
	"syscall"
	"time"
)

func processCPU() CPU {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // cannot fail with these arguments
	return CPU{User: time.Duration(usage.Utime.Nano()), System: time.Duration(usage.Stime.Nano())}
}
