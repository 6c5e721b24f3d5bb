//go:build !amd64 && !arm64

package uring

import "golang.org/x/sys/unix"

// getg tells a loop's thread from all others: the loop and its coroutines are
// locked to it, and of those one runs at a time.
func getg() uintptr { return uintptr(unix.Gettid()) }
