//go:build !linux

package bench

import "time"

func (*Machine) detail() {}

func machineCPU() (time.Duration, bool) { return 0, false }
