package server

import (
	"context"
	"crypto/sha256"
	"time"
)

// roundTime is about what a hash of 64 bytes takes.
const roundTime = 100 * time.Nanosecond

// Compute does as many hashes as take d, about: the same work wherever it runs.
func Compute(d time.Duration) {
	var block [64]byte
	for range d / roundTime {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
}

// computeOn takes a P until ctx ends, but for what the scheduler takes back.
func computeOn(ctx context.Context) {
	for ctx.Err() == nil {
		for range 1 << 20 {
		}
	}
}
