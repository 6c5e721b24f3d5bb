//go:build race

package uring

import (
	"runtime"
	"unsafe"
)

// raceSync is what the race detector takes all sockets for, as package syscall does:
// what happened before a Write, or a Connect, happened before what follows the Read that
// gets it, or the Accept. Writes release before the kernel can see them, and readers
// acquire on their own goroutine, or on the loop's before it calls a handler.
var raceSync int64

func raceAcquire() { runtime.RaceAcquire(unsafe.Pointer(&raceSync)) }
func raceRelease() { runtime.RaceReleaseMerge(unsafe.Pointer(&raceSync)) }
