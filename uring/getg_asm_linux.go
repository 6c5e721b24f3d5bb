//go:build amd64 || arm64

package uring

// getg tells goroutines apart: no two that live have the same. It is the address
// of the runtime's record of the calling goroutine, and is never followed.
func getg() uintptr
