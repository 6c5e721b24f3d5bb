package load

import (
	"errors"
	"testing"
)

func nativeDrivers(t *testing.T) []Driver {
	t.Helper()
	r, err := newRing(8, 8)
	if errors.Is(err, errNoRing) {
		t.Logf("without %s: %v", Ring, err)
		return []Driver{Epoll}
	}
	if err == nil {
		err = r.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return []Driver{Ring, Epoll}
}
