package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// largest is how long a message may be; unread how much a client sends that does not
// read meanwhile: it fits into the buffers of the sockets.
const largest, unread = 256 << 10, 32 << 10

// A pattern says which bytes a stream carries: noise, from a place of its own. So a
// byte that is lost, doubled, late or of another stream shows.
type pattern uint64

const period = 65521 // a prime, so that no buffer's size hides a slip

var noise = func() []byte {
	b := make([]byte, period+largest)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range period {
		b[i] = byte(random.Uint32())
	}
	for i := period; i < len(b); i += copy(b[i:], b[:period]) {
	}
	return b
}()

// at returns n bytes of the stream.
func (p pattern) at(offset, n int) []byte {
	start := int((uint64(p) + uint64(offset)) % period)
	return noise[start : start+n]
}

// junk overwrites memory that must not be looked at any more.
func junk(p []byte) {
	for i := range p {
		p[i] = junkByte
	}
}

const junkByte = 0xEE

// stream is what one client sends, and wants back.
type stream struct {
	f     *fd.FD
	bytes pattern
	total int
	deep  bool
	// late is a buffer of a Read that a deadline ended: nothing may be put there.
	late []byte
}

// traffic sends total bytes over each of so many new connections, and wants them
// back.
func (s *site) traffic(t testing.TB, connections, total int) {
	t.Helper()
	if err := s.exchange(connections, total); err != nil {
		t.Error(err)
	}
}

func (s *site) exchange(connections, total int) (err error) {
	ends := make(chan error, connections)
	for i := range connections {
		random := s.random()
		go func() { ends <- s.client(i, random, total) }()
	}
	for range connections {
		err = errors.Join(err, <-ends)
	}
	return err
}

// client is one connection: of a goroutine; or, where there are loops, of a handler
// on one; or of goroutines that use what is on a loop.
func (s *site) client(i int, random *rand.Rand, total int) error {
	result := make(chan error, 1)
	var err error
	switch {
	case s.style.serves() && i%3 == 1:
		_, err = s.dialServe(fd.Handler{Blocking: func(f *fd.FD) {
			result <- s.stream(f, random, total).alternate(random)
		}})
	case s.style.serves() && i%3 == 2:
		_, err = s.dialServe(fd.Handler{Blocking: func(f *fd.FD) {
			f.Offload(func() { result <- s.stream(f, random, total).duplex(random) })
		}})
	default:
		var f *fd.FD
		if f, err = s.dial(); err == nil {
			defer f.Close()
			result <- s.stream(f, random, total).duplex(random)
		}
	}
	if err == nil {
		err = <-result
	}
	if err != nil {
		return fmt.Errorf("client %d: %w", i, err)
	}
	s.echoed.Add(int64(total))
	return nil
}

func (s *site) stream(f *fd.FD, random *rand.Rand, total int) *stream {
	return &stream{f: f, bytes: pattern(random.Uint64N(period)), total: total, deep: s.deep.Load()}
}

// duplex sends and receives at once.
func (s *stream) duplex(random *rand.Rand) error {
	sent := make(chan error, 1)
	sender := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
	go func() { sent <- s.send(sender) }()
	err := s.receive(random)
	if err != nil {
		_ = s.f.Close() // ends the sender
	}
	return errors.Join(err, <-sent)
}

func (s *stream) send(random *rand.Rand) error {
	memory := make([]byte, min(largest, s.total))
	for sent := 0; sent < s.total; {
		n, err := s.write(random, memory, sent)
		if sent += n; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("after %d of %d bytes: %w", sent, s.total, err)
		}
	}
	return s.f.CloseWrite()
}

// write writes a message of a random size, that of memory at most.
func (s *stream) write(random *rand.Rand, memory []byte, sent int) (n int, err error) {
	p := memory[:min(size(random, len(memory)), s.total-sent)]
	copy(p, s.bytes.at(sent, len(p)))
	if hurried(random) {
		_ = s.f.SetWriteDeadline(soon(random))
		defer s.f.SetWriteDeadline(time.Time{})
	}
	s.call(random, func() {
		if random.IntN(4) > 0 {
			n, err = s.f.Write(p)
			return
		}
		var whole int64
		whole, err = s.f.Writev(pieces(random, p))
		n = int(whole)
	})
	if err == nil && n != len(p) {
		err = fmt.Errorf("a write of %d bytes took %d and gave no error", len(p), n)
	}
	junk(p)
	return n, err
}

// pieces cuts p up.
func pieces(random *rand.Rand, p []byte) (all [][]byte) {
	for len(p) > 0 {
		n := size(random, len(p))
		all = append(all, p[:n])
		p = p[n:]
	}
	return all
}

func (s *stream) receive(random *rand.Rand) error {
	memory := make([]byte, 2*min(largest, s.total))
	for got, turn := 0, 0; ; turn++ {
		half := memory[turn%2*len(memory)/2:][:len(memory)/2]
		n, err := s.read(random, half[:size(random, len(half))], got)
		got += n
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF) && got == s.total:
			return nil
		default:
			return fmt.Errorf("after %d of %d bytes: %w", got, s.total, err)
		}
	}
}

// read reads what there is, up to len(p), and checks it.
func (s *stream) read(random *rand.Rand, p []byte, got int) (n int, err error) {
	hurry := hurried(random)
	if hurry {
		junk(p)
		_ = s.f.SetReadDeadline(soon(random))
		defer s.f.SetReadDeadline(time.Time{})
	}
	s.call(random, func() { n, err = s.f.Read(p) })
	for i, b := range s.late {
		if b != junkByte {
			return n, fmt.Errorf("byte %d of the buffer of a Read that had ended was written to", i)
		}
	}
	s.late = nil
	if hurry && err != nil && n == 0 {
		s.late = p
	}
	if n == 0 && err == nil {
		return 0, errors.New("a read of nothing without an error")
	}
	if got+n > s.total {
		return n, fmt.Errorf("%d bytes came back of %d", got+n, s.total)
	}
	if want := s.bytes.at(got, n); !bytes.Equal(p[:n], want) {
		for i := range want {
			if p[i] != want[i] {
				return n, fmt.Errorf("byte %d, the %d-th of a read of %d, is %#x and should be %#x", got+i, i, n, p[i], want[i])
			}
		}
	}
	return n, err
}

// alternate sends a message, waits for it to come back, and sends the next: for
// those who cannot do two things at once.
func (s *stream) alternate(random *rand.Rand) error {
	memory := make([]byte, min(unread, s.total))
	back := make([]byte, 2*len(memory))
	for sent, got, turn := 0, 0, 0; ; {
		if sent == got && sent < s.total {
			n, err := s.write(random, memory, sent)
			if sent += n; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("after %d of %d bytes: %w", sent, s.total, err)
			}
			if sent == s.total {
				if err := s.f.CloseWrite(); err != nil {
					return err
				}
			}
			continue
		}
		half := back[turn%2*len(memory):][:len(memory)]
		turn++
		n, err := s.read(random, half, got)
		got += n
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF) && got == s.total:
			return nil
		default:
			return fmt.Errorf("after %d of %d bytes: %w", got, s.total, err)
		}
	}
}

// size returns a size from 1 to most, of any magnitude.
func size(random *rand.Rand, most int) int {
	return min(1+random.IntN(1<<random.IntN(bits.Len(uint(most))+1)), most)
}

func hurried(random *rand.Rand) bool { return random.IntN(8) == 0 }

// soon is a deadline that may pass or may not.
func soon(random *rand.Rand) time.Time {
	return time.Now().Add(time.Duration(random.IntN(int(2 * time.Millisecond))))
}

// call calls f: where the test wants it far down the stack, so that it grows before,
// and while it grows again.
func (s *stream) call(random *rand.Rand, f func()) {
	if !s.deep {
		f()
		return
	}
	descend(random.IntN(300), f)
	descend(random.IntN(300), func() {}) // over what was there
}

// descend calls f so many frames down, each with memory that it looks after.
func descend(frames int, f func()) {
	var frame [512]byte
	frame[frames%len(frame)] = byte(frames)
	if frames > 0 {
		descend(frames-1, f)
	} else {
		f()
	}
	if frame[frames%len(frame)] != byte(frames) {
		panic("a frame of the stack was overwritten")
	}
}
