//go:build !linux

package chaos

import "testing"

// kernelMemory cannot be had here, and there are no rings.
func kernelMemory(testing.TB) struct{} { return struct{}{} }
