//go:build amd64 || arm64

package uring

// prefetch has so many cache lines from p on loaded, without waiting for them. An
// address that means nothing does no harm.
func prefetch(p uintptr, lines int)
