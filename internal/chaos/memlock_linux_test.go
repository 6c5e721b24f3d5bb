package chaos

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/internal/child"
)

// Who runs the part of a test under a memory limit is told by these.
const memlockVariable, styleVariable = "RINGFD_CHAOS_MEMLOCK", "RINGFD_CHAOS_STYLE"

func init() { parts["memlock"] = underMemlock }

// TestMemlock opens, serves and closes under small limits of locked memory, again
// and again, as an ordinary user whom they bind: what was charged for rings must be
// given back each time.
func TestMemlock(t *testing.T) {
	sizes := []int{0, 128 << 10, 1 << 20, 8 << 20}
	if chaosTime > 0 { // each Open takes a second here, since every trial of the probe waits
		sizes = append(sizes, 16<<10, 64<<10)
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size>>10, "KiB"), func(t *testing.T) {
			eachStyle(t, func(t *testing.T, s style) {
				if s.kind == ringfd.Net && size > 0 {
					t.Skip("net uses none: only the limit 0 makes it run")
				}
				guard(t)
				var r memlockReport
				child.Run(t, "memlock", &r, memlockVariable+"="+strconv.Itoa(size), styleVariable+"="+s.name,
					seedVariable+"="+strconv.FormatUint(seed, 10))
				for _, p := range r.Problems {
					t.Error(p)
				}
				if s.kind == ringfd.Net && r.Served == 0 {
					t.Errorf("net has not served: %v", r.Refused)
				}
				if size >= enough && r.Served != memlockRounds {
					t.Errorf("served %d times of %d: %v", r.Served, memlockRounds, r.Refused)
				}
				t.Logf("served %d times of %d; refused: %v", r.Served, memlockRounds, r.Refused)
			})
		})
	}
}

// memlockRounds is how often a child opens and closes, and enough what does for both
// a poller and a loop.
const memlockRounds, enough = 4, 64 << 10

type memlockReport struct {
	Served   int
	Refused  []string // what was refused with a typed reason
	Problems []string
}

// underMemlock is the child.
func underMemlock() any {
	limit, err := strconv.ParseUint(os.Getenv(memlockVariable), 10, 64)
	if err != nil {
		panic(err)
	}
	child.LimitMemlock(limit)
	var s style
	for _, s = range styles {
		if s.name == os.Getenv(styleVariable) {
			break
		}
	}
	var r memlockReport
	for range memlockRounds {
		r.round(s)
	}
	if r.Served != 0 && r.Served != memlockRounds {
		r.problem("it was served %d times of %d: what was charged is not given back", r.Served, memlockRounds)
	}
	return r
}

func (r *memlockReport) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *memlockReport) round(s style) {
	site, err := s.begin()
	if unavailable, ok := errors.AsType[*ringfd.UnavailableError](err); ok {
		if unavailable.Cure == "" {
			r.problem("no cure is known for %v", err)
		}
		r.Refused = append(r.Refused, err.Error())
		return
	}
	if err != nil {
		r.problem("%v", err)
		return
	}
	err = site.serve("127.0.0.1:0", accept.Config{})
	if err == nil && s.serves() {
		// Loops begin with Serve. Does that find memory?
		err = site.firstServe()
	}
	if err == nil {
		err = site.exchange(4, 64<<10)
	}
	if err == nil {
		r.Served++
	} else {
		r.Refused = append(r.Refused, fmt.Sprintf("%T: %v", err, err))
		if !errors.Is(err, unix.ENOMEM) {
			r.problem("%v", err)
		}
	}
	if err := site.end(); err != nil && !errors.Is(err, unix.ENOMEM) {
		r.problem("%v", err)
	}
}

// firstServe has one client served, and returns why Serve has ended if it has.
func (s *site) firstServe() error {
	served := make(chan error, 1)
	go func() { served <- s.exchange(1, 1) }()
	select {
	case err := <-served:
		return err
	case err := <-s.served:
		s.served <- err        // for end
		_ = s.listener.Close() // resets the client
		<-served
		return err
	}
}
