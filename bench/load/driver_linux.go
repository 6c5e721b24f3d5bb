package load

import (
	"errors"
	"fmt"
	"time"
)

// openDriver opens the driver that is asked for, or the cheapest that works:
// on io_uring a message costs the generator less than with epoll, the more so
// the more connections there are.
func openDriver(kind Driver, s *script) (driver, Driver, error) {
	switch kind {
	case "":
		d, err := openThread(s, newRingMover)
		if errors.Is(err, errNoRing) {
			d, err = openThread(s, newEpollMover)
			return d, Epoll, err
		}
		return d, Ring, err
	case Ring:
		d, err := openThread(s, newRingMover)
		return d, Ring, err
	case Epoll:
		d, err := openThread(s, newEpollMover)
		return d, Epoll, err
	case Portable:
		d, err := openPortable(s)
		return d, Portable, err
	}
	return nil, "", fmt.Errorf("there is no driver %q: choose %s, %s or %s", kind, Ring, Epoll, Portable)
}

// mover moves bytes without waiting for more than it is told to. It is used on
// one thread, which made it too.
type mover interface {
	// do does what connection i is ready for: it closes it, opens it, sends.
	do(i int) error
	// wait gives the script what came, and does what the script then is ready
	// for. If nothing came yet it waits, for at most d. It reports whether
	// anything came.
	wait(d time.Duration) (bool, error)
	close() error
}
