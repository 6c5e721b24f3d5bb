package fd

import "syscall"

// A write that races with the teardown of a connection returns EPROTOTYPE on
// macOS (libuv#3413, golang/go#51538).
var lostErrnosOfOS = []syscall.Errno{syscall.EPROTOTYPE}
