package conformance

import (
	"fmt"
	"maps"
	"testing"

	"github.com/ringfd/ringfd/fd"
	"golang.org/x/sys/unix"
)

// wantOptions checks options of the OS socket by their names.
func wantOptions(t testing.TB, f *fd.FD, want map[string]int) {
	t.Helper()
	if err := checkOptions(f, want); err != nil {
		t.Error(err)
	}
}

func checkOptions(f *fd.FD, want map[string]int) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	got := make(map[string]int)
	err = rc.Control(func(h uintptr) {
		for name := range want {
			if name == "FD_CLOEXEC" {
				got[name], _ = unix.FcntlInt(h, unix.F_GETFD, 0)
				continue
			}
			o := sockopts[name]
			got[name], _ = unix.GetsockoptInt(int(h), o.level, o.name)
		}
	})
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("socket options\n got  %v\n want %v", got, want)
	}
	return nil
}

var sockopts = map[string]struct{ level, name int }{
	"SO_RCVBUF":        {unix.SOL_SOCKET, unix.SO_RCVBUF},
	"SO_SNDBUF":        {unix.SOL_SOCKET, unix.SO_SNDBUF},
	"SO_LINGER":        {unix.SOL_SOCKET, unix.SO_LINGER}, // its first word: on or off
	"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	"TCP_NODELAY":      {unix.IPPROTO_TCP, unix.TCP_NODELAY},
	"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	"TCP_KEEPINTVL":    {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	"TCP_KEEPCNT":      {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
}
