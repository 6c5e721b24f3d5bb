package selection

import (
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/uring"
)

// environment sets the variables that Open reads; "" is as if unset.
func environment(t *testing.T, backend, without string) {
	t.Helper()
	t.Setenv("RINGFD_BACKEND", backend)
	t.Setenv("RINGFD_WITHOUT", without)
}

func TestNetForced(t *testing.T) {
	for _, c := range []struct {
		name, env string
		options   ringfd.Options
		why       string
	}{
		{"by options", "", ringfd.Options{Backend: ringfd.Net}, "forced by options"},
		{"by the environment", "net", ringfd.Options{}, "forced by RINGFD_BACKEND"},
		{"options first", "io_uring", ringfd.Options{Backend: ringfd.Net}, "forced by options"},
		{"options first, whatever the environment says", "nonsense", ringfd.Options{Backend: ringfd.Net}, "forced by options"},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.env, "")
			got := open(c.options)
			if want := (outcome{Kind: ringfd.Net, Why: c.why}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestBadChoices(t *testing.T) {
	for _, c := range []struct {
		name, backend, without string
		options                ringfd.Options
		want                   []string
	}{
		{"an unknown backend in options", "", "", ringfd.Options{Backend: "epoll"}, []string{`"epoll"`, "auto, io_uring or net"}},
		{"an unknown backend in the environment", "epoll", "", ringfd.Options{}, []string{"RINGFD_BACKEND", `"epoll"`, "auto, io_uring or net"}},
		{"an unknown feature", "net", "sqpoll", ringfd.Options{}, []string{"RINGFD_WITHOUT", `"sqpoll"`, "coop_taskrun"}},
		{"a negative BusyPoll", "net", "", ringfd.Options{BusyPoll: -time.Second}, []string{"BusyPoll", "-1s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.backend, c.without)
			got := open(c.options)
			for _, want := range c.want {
				if !strings.Contains(got.Err, want) {
					t.Errorf("the error %q does not name %q", got.Err, want)
				}
			}
			if got.Unavailable {
				t.Errorf("%q is an UnavailableError: the request was bad, not the machine", got.Err)
			}
		})
	}
}

// needRing skips a test where io_uring is not available.
func needRing(t *testing.T) {
	t.Helper()
	if err := uring.Probe().Err; err != nil {
		t.Skip("needs a machine that allows io_uring; here: ", err)
	}
}

func TestRingChosen(t *testing.T) {
	needRing(t)
	for _, c := range []struct {
		name, env string
		options   ringfd.Options
		why       string
	}{
		{"by a probe", "", ringfd.Options{}, "io_uring works here, with "},
		{"by a probe, asked for by options", "net", ringfd.Options{Backend: ringfd.Auto}, "io_uring works here, with "},
		{"by a probe, asked for by the environment", "auto", ringfd.Options{}, "io_uring works here, with "},
		{"by options", "", ringfd.Options{Backend: ringfd.IOUring}, "forced by options; io_uring works here, with "},
		{"by the environment", "io_uring", ringfd.Options{}, "forced by RINGFD_BACKEND; io_uring works here, with "},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.env, "")
			got := open(c.options)
			if got.Kind != ringfd.IOUring || got.Err != "" || got.Echo != "" {
				t.Errorf("got %+v", got)
			}
			if want := c.why + got.Features.String(); got.Why != want {
				t.Errorf("Why is %q, want %q", got.Why, want)
			}
		})
	}
}

// version orders "5.10" after "5.9".
func version(s string) (v int) {
	major, minor, _ := strings.Cut(s, ".")
	for _, part := range []string{major, minor} {
		n := 0
		for _, digit := range part {
			n = 10*n + int(digit-'0')
		}
		v = 1000*v + n
	}
	return v
}

// TestMasked makes this kernel play older ones.
func TestMasked(t *testing.T) {
	needRing(t)
	since := func(kernel string) (without uring.Features) {
		for _, info := range uring.FeatureTable {
			if version(info.Since) > version(kernel) {
				without |= info.Bit
			}
		}
		return without
	}
	masks := map[string]uring.Features{
		"as 5.10": since("5.10"), "as 5.15": since("5.15"), "as 6.1": since("6.1"),
		"without any": uring.AllFeatures,
	}
	for _, info := range uring.FeatureTable {
		masks["without "+info.Name] = info.Bit
	}
	for name, without := range masks {
		t.Run(name, func(t *testing.T) {
			for _, by := range []string{"options", "environment"} {
				o := ringfd.Options{Backend: ringfd.IOUring, Without: without}
				environment(t, "", "")
				if by == "environment" {
					o.Without = 0
					environment(t, "", without.String())
				}
				got := open(o)
				if got.Err != "" || got.Echo != "" {
					t.Fatalf("masked by the %s: %+v", by, got)
				}
				if used := got.Features & without; used != 0 {
					t.Errorf("masked by the %s and used: %s", by, used)
				}
				masked := got.Found & without
				if said := strings.Contains(got.Why, "; masked: "+masked.String()); said != (masked != 0) {
					t.Errorf("masked by the %s is %s, and Why says %q", by, masked, got.Why)
				}
			}
		})
	}
}
