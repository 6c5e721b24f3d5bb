package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/leak"
)

// TestDescriptorsRunOut accepts and dials with no descriptor left, beside traffic,
// and goes on when there are descriptors again.
func TestDescriptorsRunOut(t *testing.T) {
	eachStyle(t, func(t *testing.T, st style) {
		// The kernel reads the limit when an accept is armed: it must be low by then.
		limitDescriptors(t, 100)
		s := st.open(t)
		s.listen(t)
		rounds(func() { s.runOut(t) })
	})
}

func (s *site) runOut(t *testing.T) {
	const waiting, dials = 8, 20
	running, err := s.runningStreams(3)
	if err != nil {
		t.Fatal(err)
	}
	callers := sockets(t, waiting)
	before := s.refusals.Load()
	release := takeDescriptors(t)

	// They are connected by the kernel, and wait to be accepted.
	for _, c := range callers {
		if err := unix.Connect(c, s.sockaddr()); err != nil {
			t.Errorf("connect: %v", err)
		}
	}
	for s.refusals.Load() < before+3 { // the guard's patience ends it
		time.Sleep(time.Millisecond)
	}
	if err := s.lastRefusal.Load(); err.Class != accept.System || !errors.Is(err, unix.EMFILE) {
		t.Errorf("accepting failed with %v, want EMFILE, of class system", err)
	}
	for range dials {
		f, err := s.dial()
		if err == nil {
			_ = f.Close()
			t.Error("a dial found a descriptor where there is none")
			break
		}
		if e, ok := errors.AsType[*fd.Error](err); !ok || e.Op != "connect" || !errors.Is(err, unix.EMFILE) {
			t.Errorf("a dial failed with %v (%T), want an *fd.Error with EMFILE", err, err)
			break
		}
	}
	if err := running(64 << 10); err != nil {
		t.Errorf("what was connected before: %v", err)
	}
	release()

	for i, c := range callers {
		if err := callAndHangUp(c, pattern(i)); err != nil {
			t.Errorf("caller %d, who had to wait: %v", i, err)
		}
	}
	s.traffic(t, 3, 16<<10)
}

// runningStreams connects clients; what it returns sends so many bytes over each, and
// closes them.
func (s *site) runningStreams(n int) (run func(total int) error, err error) {
	var fds []*fd.FD
	for range n {
		f, err := s.dial()
		if err != nil {
			return nil, err
		}
		// Accepted, once the first byte is back.
		if _, err := f.Write([]byte{1}); err != nil {
			return nil, err
		}
		if _, err := f.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		fds = append(fds, f)
	}
	return func(total int) error {
		ends := make(chan error, n)
		for _, f := range fds {
			random := s.random()
			go func() { ends <- s.stream(f, random, total).duplex(random) }()
		}
		var err error
		for _, f := range fds {
			err = errors.Join(err, <-ends)
			defer f.Close()
		}
		return err
	}, nil
}

// limitDescriptors allows so many more than there are, for the length of a test.
func limitDescriptors(t testing.TB, more int) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	now := was
	now.Cur = min(uint64(len(leak.Descriptors())+more), was.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
}

// takeDescriptors takes all that can be had.
func takeDescriptors(t testing.TB) (release func()) {
	t.Helper()
	var hoard []*os.File
	release = func() {
		for _, f := range hoard {
			_ = f.Close()
		}
	}
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, unix.EMFILE) {
			return release
		}
		if err != nil {
			release()
			t.Fatal(err)
		}
		hoard = append(hoard, f)
	}
}

// sockets makes sockets that are not connected.
func sockets(t testing.TB, n int) (all []int) {
	t.Helper()
	for range n {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func (s *site) sockaddr() unix.Sockaddr {
	a := s.listener.Addr().(*net.TCPAddr)
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
}

// callAndHangUp sends over a connected socket, wants it back, and closes it.
func callAndHangUp(c int, bytesOf pattern) error {
	file := os.NewFile(uintptr(c), "caller")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	want := bytesOf.at(0, 1000)
	if _, err := conn.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%q came back as %q", want, got)
	}
	return nil
}
