package child

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// LimitMemlock lowers RLIMIT_MEMLOCK to bytes and gives up root, which the
// limit does not bind. The new user has no other process that counts.
func LimitMemlock(bytes uint64) {
	must("setrlimit", unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: bytes, Max: bytes}))
	if os.Getuid() == 0 {
		DropRoot()
	}
}

// DropRoot has all threads of this process, which is root, become an ordinary user
// that nobody else is, and returns its id.
func DropRoot() int {
	id := 1<<20 + os.Getpid()
	must("setgroups", syscall.Setgroups(nil))
	must("setgid", syscall.Setgid(id))
	must("setuid", syscall.Setuid(id))
	return id
}

// LimitFiles sets RLIMIT_NOFILE: the first descriptor that cannot be had.
func LimitFiles(n uint64) {
	var l unix.Rlimit
	must("getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
	l.Cur = min(n, l.Max)
	must("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &l))
}

func must(call string, err error) {
	if err != nil {
		panic(fmt.Sprint(call, ": ", err))
	}
}
