//go:build !linux

package load

import "testing"

func nativeDrivers(*testing.T) []Driver { return nil }
