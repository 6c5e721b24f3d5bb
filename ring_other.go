//go:build !linux

package ringfd

import (
	"errors"
	"runtime"
)

func newRingBackend(Options) (backend, string, error) {
	return nil, "", errors.New("io_uring is a Linux interface, and this is " + runtime.GOOS)
}
