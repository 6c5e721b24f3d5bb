//go:build unix && !linux

package accept

import "syscall"

var errnoClassesOfOS map[syscall.Errno]Class
