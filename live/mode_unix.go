//go:build unix

package live

import (
	"os"
	"syscall"
)

// mode lets the owner in, and root.
const mode = 0o600

// private gives the mode to the socket before it has a name. On Linux bind(2)
// makes the file with it, so that there is no moment at which others may open it.
// Where the system does not allow that, restrict follows.
func private(_, _ string, c syscall.RawConn) error {
	return c.Control(func(h uintptr) { _ = syscall.Fchmod(int(h), mode) })
}

func restrict(path string) error { return os.Chmod(path, mode) }
