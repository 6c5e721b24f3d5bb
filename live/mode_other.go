//go:build !unix

package live

import "syscall"

// Here files have no modes.

func private(_, _ string, _ syscall.RawConn) error { return nil }

func restrict(string) error { return nil }
