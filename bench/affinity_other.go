//go:build !linux

package bench

import (
	"errors"
	"os/exec"
	"runtime"
)

func startOn(cmd *exec.Cmd, _ int) error { return cmd.Start() }

func pinCPUs() (server, load int, err error) {
	return 0, 0, errors.New("processes are not pinned on " + runtime.GOOS)
}
