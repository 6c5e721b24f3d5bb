//go:build race

package uring

import (
	"runtime"
	"unsafe"
)

// raceSync is what the race detector takes all sockets for, as package syscall does:
// what happened before a Write happened before what follows the Read that gets it.
var raceSync int64

func raceAcquire() { runtime.RaceAcquire(unsafe.Pointer(&raceSync)) }
func raceRelease() { runtime.RaceReleaseMerge(unsafe.Pointer(&raceSync)) }
