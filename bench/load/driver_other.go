//go:build !linux

package load

import "fmt"

func openDriver(kind Driver, s *script) (driver, Driver, error) {
	switch kind {
	case "", Portable:
		d, err := openPortable(s)
		return d, Portable, err
	}
	return nil, "", fmt.Errorf("the driver %s is for Linux: choose %s", kind, Portable)
}
