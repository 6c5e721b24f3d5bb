package accept

import "syscall"

// accept(2) on Linux passes on pending network errors of the new connection,
// this one among them.
var errnoClassesOfOS = map[syscall.Errno]Class{
	syscall.ENONET: Socket,
}
