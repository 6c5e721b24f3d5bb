package accept_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/accept"
)

// wrapped puts err into the wrappers that how names, one after the other.
func wrapped(err error, how string) error {
	for _, h := range how {
		switch h % 5 {
		case 0:
			err = os.NewSyscallError("accept", err)
		case 1:
			err = &net.OpError{Op: "accept", Net: "tcp", Err: err}
		case 2:
			err = fmt.Errorf("wrapped: %w", err)
		case 3:
			err = errors.Join(errors.New("another"), err)
		case 4:
			err = errors.Join(err)
		}
	}
	return err
}

// FuzzClassify: every errno has one class, that of the table, whatever it is
// wrapped in, and a Listener says so.
func FuzzClassify(f *testing.F) {
	for _, errnos := range classes {
		for _, errno := range errnos {
			f.Add(uint32(errno), "\x00\x01")
			f.Add(uint32(errno), "\x04\x03\x02")
		}
	}
	f.Add(uint32(0), "")
	f.Add(uint32(1<<29+3), "\x03") // the invented numbers of Windows
	f.Fuzz(func(t *testing.T, number uint32, how string) {
		errno, how := syscall.Errno(number), how[:min(len(how), 20)]
		want := accept.Unexpected
		for class, errnos := range classes {
			if slices.Contains(errnos, errno) {
				want = class
			}
		}
		err := wrapped(errno, how)
		if got := accept.Classify(err); got != want {
			t.Errorf("errno %d is %v, as %v it is %v", number, want, err, got)
		}
		_, _, got := accept.New(newFake(err), nil).Accept(t.Context())
		e, ok := got.(*accept.Error)
		if !ok || e.Class != want || e.Temporary() != (want != accept.Unexpected) || e.Timeout() || !errors.Is(e, errno) {
			t.Fatalf("Accept: %v (%T), want an error of class %v", got, got, want)
		}
		if text := "accept: " + want.String() + " error: " + err.Error(); e.Error() != text {
			t.Errorf("the text is %q, want %q", e, text)
		}
	})
}
