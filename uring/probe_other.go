//go:build !linux

package uring

import (
	"errors"
	"runtime"
)

// Probe reports that io_uring is a Linux interface.
func Probe() Report {
	return Report{Err: errors.New("io_uring is a Linux interface, and this is " + runtime.GOOS)}
}

// Cure says what to change so that io_uring becomes available.
func Cure(error) string { return "use the net backend" }
