//go:build !linux

package bench

import (
	"context"
	"errors"
	"runtime"
)

type syscallCounter interface {
	name() string
	end() (uint64, error)
}

func countSyscalls(context.Context, int) (syscallCounter, error) {
	return nil, errors.New("system calls are not counted on " + runtime.GOOS)
}
