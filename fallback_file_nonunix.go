//go:build !unix

package ringfd

import (
	"os"
	"syscall"
)

// duplicate is net's: Windows cannot.
func duplicate(c interface {
	syscall.Conn
	File() (*os.File, error)
}, _ string) (*os.File, error) {
	return c.File()
}

func unblock(uintptr) error { return nil }
