package selection

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/internal/child"
	"github.com/ringfd/ringfd/internal/leak"
)

// result is what the parts report: the same choice made twice.
type result struct{ Auto, Forced outcome }

// choose opens what the probe finds, then io_uring by force.
func choose() any {
	return result{open(ringfd.Options{}), open(ringfd.Options{Backend: ringfd.IOUring})}
}

// What a machine may have against io_uring.
func TestMain(m *testing.M) {
	child.Main(map[string]func() any{
		"EPERM":  func() any { child.RefuseIOUring(syscall.EPERM); return choose() },
		"ENOSYS": func() any { child.RefuseIOUring(syscall.ENOSYS); return choose() },
		"killed, net": func() any {
			child.KillIOUring()
			return result{Forced: open(ringfd.Options{Backend: ringfd.Net})}
		},
		"killed, auto": func() any { child.KillIOUring(); return choose() },
		"as it is":     choose,
		"not root":     func() any { child.LimitMemlock(unix.RLIM_INFINITY); return choose() },
		"environment":  func() any { child.KillIOUring(); return result{Auto: open(ringfd.Options{})} },
		"docker":       func() any { child.FilterAsDocker(); return choose() },
		"root dropped": rootDropped,
		"no memory":    func() any { child.LimitMemlock(0); return choose() },
		"some memory":  func() any { child.LimitMemlock(64 << 10); return choose() },
	})
	filterForSuite()
	leak.Main(m)
}
