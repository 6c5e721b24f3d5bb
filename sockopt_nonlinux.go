//go:build !linux

package ringfd

import "time"

func setUserTimeout(uintptr, time.Duration) error { return nil }
