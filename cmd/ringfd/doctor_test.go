package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/uring"
)

func TestExamine(t *testing.T) {
	d := &diagnosis{Machine: bench.Machine{OS: "linux", Arch: "amd64"}}
	d.examine(uring.Report{
		Found:   uring.FeatureSubmitAll | uring.FeatureSingleIssuer | uring.FeatureCoopTaskrun,
		Unknown: uring.FeatureNAPI,
		Details: map[uring.Features]string{uring.FeatureNoSQArray: "invalid argument", uring.FeatureNAPI: "out of memory"},
	}, uring.FeatureSubmitAll, uring.FeatureCoopTaskrun)
	states := make(map[string]string)
	for _, f := range d.Features {
		states[f.Name] = f.State
	}
	for name, want := range map[string]string{
		"submit_all": stateUsed, "single_issuer": stateThere, "coop_taskrun": stateMasked,
		"napi": stateUnknown, "no_sqarray": stateMissing,
	} {
		if states[name] != want {
			t.Errorf("%s is %q, want %q", name, states[name], want)
		}
	}
	if len(d.Features) != len(uring.FeatureTable) {
		t.Errorf("%d findings", len(d.Features))
	}
	var text strings.Builder
	d.write(&text)
	for _, want := range []string{"missing: invalid argument", "unknown: out of memory", "kernel of 6.17 or later", "RINGFD_WITHOUT"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, &text)
		}
	}
}

func TestExamineRefused(t *testing.T) {
	d := new(diagnosis)
	d.examine(uring.Report{Err: errors.New("operation not permitted"), Sysctl: "2"}, 0, 0)
	var text strings.Builder
	d.write(&text)
	if d.IOUring || len(d.Features) != 0 || !strings.Contains(text.String(), "does not work: operation not permitted") ||
		!strings.Contains(text.String(), "kernel.io_uring_disabled  2") {
		t.Errorf("%+v\n%s", d, &text)
	}
}

func TestLater(t *testing.T) {
	for _, c := range [][3]string{{"", "5.18", "5.18"}, {"6.1", "6.12", "6.12"}, {"6.12", "6.6", "6.12"}, {"5.19", "6.0", "6.0"}} {
		if got := later(c[0], c[1]); got != c[2] {
			t.Errorf("later(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
