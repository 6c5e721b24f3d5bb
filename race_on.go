//go:build race

package ringfd

import (
	"runtime"
	"unsafe"
)

// raceSync adds to net's connections what they lack for the race detector: package
// syscall orders a Write and the Read that gets it, but writev(2) is not called there.
var raceSync int64

func raceAcquire() { runtime.RaceAcquire(unsafe.Pointer(&raceSync)) }
func raceRelease() { runtime.RaceReleaseMerge(unsafe.Pointer(&raceSync)) }
