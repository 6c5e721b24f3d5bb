package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// What the counting runs count to, over all styles.
const (
	bytesWanted       = 1_000_000_000
	connectionsWanted = 1_000_000
)

// counting skips the test unless the environment asks for it, and returns what says
// whether a style's share of the time is up.
func counting(t *testing.T, mode string) (timeIsUp func() bool) {
	t.Helper()
	if os.Getenv(modeVariable) != mode {
		t.Skipf("`make chaos-%s` would make this run", mode)
	}
	end := time.Now().Add(chaosTime / time.Duration(len(styles)))
	return func() bool { return time.Now().After(end) }
}

// TestBytes echoes a thousand million bytes under all faults at once.
func TestBytes(t *testing.T) {
	share := int64(bytesWanted / len(styles))
	eachStyle(t, func(t *testing.T, st style) {
		timeIsUp := counting(t, "bytes")
		s := st.open(t)
		s.listen(t)
		begun := time.Now()
		going := 0
		for _, f := range faults() {
			if f.volume == usual { // the others would take hours
				defer f.begin(t, s)()
				going++
			}
		}
		for s.echoed.Load() < share && !timeIsUp() && !t.Failed() {
			s.traffic(t, 12, 4<<20)
		}
		took := time.Since(begun)
		t.Logf("%d bytes echoed under %d faults in %.1f s, 0 lost; FDs by reason: %v",
			s.echoed.Load(), going, took.Seconds(), s.counts())
	})
}

// TestConnections opens and closes a million connections.
func TestConnections(t *testing.T) {
	share := int64(connectionsWanted / len(styles))
	eachStyle(t, func(t *testing.T, st style) {
		timeIsUp := counting(t, "connections")
		s := st.open(t)
		s.listen(t)
		begun := time.Now()
		var made, done atomic.Int64
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				for {
					n := made.Add(1)
					if n > share || timeIsUp() {
						return
					}
					if err := s.call(int(n)); err != nil {
						t.Errorf("connection %d: %v", n, err)
						return
					}
					done.Add(1)
				}
			})
		}
		group.Wait()
		took := time.Since(begun)
		t.Logf("%d connections opened, used and closed in %.1f s, %.0f a second; FDs by reason: %v",
			done.Load(), took.Seconds(), float64(done.Load())/took.Seconds(), s.counts())
	})
}

// call connects, echoes a few bytes, and closes: as a client of a goroutine, and on a
// loop where there are loops.
func (s *site) call(n int) error {
	want := pattern(n).at(0, 1+n%64)
	if s.style.serves() && n%3 == 0 {
		result := make(chan error, 1)
		_, err := s.dialServe(fd.Handler{Blocking: func(f *fd.FD) { result <- echoOnce(f, want) }})
		if err != nil {
			return err
		}
		return <-result
	}
	f, err := s.dial()
	if err != nil {
		return err
	}
	return errors.Join(echoOnce(f, want), f.Close())
}

func echoOnce(f *fd.FD, want []byte) error {
	if _, err := f.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%x came back as %x", want, got)
	}
	return nil
}
