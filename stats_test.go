package ringfd_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfd/ringfd"
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

// TestStatsSub sets every field, those that are added later too.
func TestStatsSub(t *testing.T) {
	var earlier, now, want ringfd.Stats
	for i := range reflect.TypeFor[ringfd.Stats]().NumField() {
		field := func(s *ringfd.Stats) reflect.Value { return reflect.ValueOf(s).Elem().Field(i) }
		switch field(&now).Kind() {
		case reflect.Uint64:
			field(&earlier).SetUint(uint64(100 + i))
			field(&now).SetUint(uint64(1000 + 3*i))
			field(&want).SetUint(uint64(900 + 2*i))
		case reflect.Int:
			field(&earlier).SetInt(int64(100 + i))
			field(&now).SetInt(int64(i))
			field(&want).SetInt(int64(i))
		case reflect.Slice: // of loops
		default:
			t.Fatalf("a field of kind %v: say here what Sub does with it", field(&now).Kind())
		}
	}
	earlier.Loops = []ringfd.LoopStats{{Turns: 5}}
	now.Loops = []ringfd.LoopStats{{Turns: 7}, {Turns: 9}} // one began since
	want.Loops = []ringfd.LoopStats{{Turns: 2}, {Turns: 9}}
	if diff := cmp.Diff(want, now.Sub(earlier)); diff != "" {
		t.Errorf("Sub (-want +got):\n%s", diff)
	}
	if now.Loops[0].Turns != 7 {
		t.Error("Sub changed what it was called on")
	}
	if got := (ringfd.Stats{Enters: 3}).Sub(ringfd.Stats{Enters: 5}); got.Enters != 3 {
		t.Errorf("a counter that began anew gives %d, want 3", got.Enters)
	}
}
