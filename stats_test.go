package ringfd_test

import (
	"testing"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/internal/leak"
)

// TestStatsOfWhatIsOpen: a backend counts what is open, and has no loops before
// something is served.
func TestStatsOfWhatIsOpen(t *testing.T) {
	for _, row := range conformance.Rows() {
		if row.Core {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			b := row.Open(t)
			want := func(when string, sockets, listeners int) {
				t.Helper()
				if s := b.Stats(); s.Sockets != sockets || s.Listeners != listeners || s.Loops != nil {
					t.Errorf("%s: %+v; want %d sockets, %d listeners, no loops", when, s, sockets, listeners)
				}
			}
			want("at first", 0, 0)
			l, err := b.Listen(t.Context(), "tcp", "127.0.0.1:0", accept.Config{})
			if err != nil {
				t.Fatal(err)
			}
			want("listening", 0, 1)
			c, err := b.Dial(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want("connected", 2, 1)
			for _, close := range []func() error{c.Close, s.Close, l.Close} {
				if err := close(); err != nil {
					t.Error(err)
				}
			}
			leak.Backend(t, b)
			want("at last", 0, 0)
		})
	}
}
