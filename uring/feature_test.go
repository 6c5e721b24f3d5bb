package uring

import (
	"strings"
	"testing"
)

func TestFeatureTable(t *testing.T) {
	names := make(map[string]bool)
	var all Features
	for i, info := range FeatureTable {
		if info.Bit != 1<<i {
			t.Errorf("row %d is of bit %#x, want %#x", i, uint64(info.Bit), uint64(1)<<i)
		}
		if info.Name == "" || info.Since == "" || info.For == "" || info.Without == "" {
			t.Errorf("row %d has an empty column: %+v", i, info)
		}
		if names[info.Name] {
			t.Errorf("two features are called %q", info.Name)
		}
		names[info.Name] = true
		all |= info.Bit
	}
	if all != AllFeatures {
		t.Errorf("the table has %#x, AllFeatures is %#x", uint64(all), uint64(AllFeatures))
	}
	if all.Len() != len(FeatureTable) {
		t.Errorf("Len is %d, want %d", all.Len(), len(FeatureTable))
	}
}

func TestParseFeaturesReadsString(t *testing.T) {
	sets := []Features{0, AllFeatures, FeatureSubmitAll | FeatureNAPI}
	for _, info := range FeatureTable {
		sets = append(sets, info.Bit, AllFeatures&^info.Bit)
	}
	for _, want := range sets {
		got, err := ParseFeatures(want.String())
		if err != nil || got != want {
			t.Errorf("ParseFeatures(%q) is %s, %v", want, got, err)
		}
	}
}

func TestParseFeatures(t *testing.T) {
	for list, want := range map[string]Features{
		"":                       0,
		"none":                   0,
		"all":                    AllFeatures,
		"none,napi":              FeatureNAPI,
		" napi , send_zc,":       FeatureNAPI | FeatureSendZC,
		"send_zc,send_zc":        FeatureSendZC,
		"submit_all,all,send_zc": AllFeatures,
	} {
		if got, err := ParseFeatures(list); err != nil || got != want {
			t.Errorf("ParseFeatures(%q) is %s, %v, want %s", list, got, err, want)
		}
	}
	for _, list := range []string{"sqpoll", "napi,sqpoll", "NAPI", "napi send_zc"} {
		got, err := ParseFeatures(list)
		if err == nil {
			t.Errorf("ParseFeatures(%q) is %s, want an error", list, got)
			continue
		}
		if got != 0 {
			t.Errorf("ParseFeatures(%q) is %s beside its error", list, got)
		}
		for _, info := range FeatureTable {
			if !strings.Contains(err.Error(), info.Name) {
				t.Errorf("ParseFeatures(%q): %q does not list %s", list, err, info.Name)
			}
		}
	}
}

func TestHas(t *testing.T) {
	f := FeatureNAPI | FeatureSendZC
	if !f.Has(FeatureNAPI) || !f.Has(f) || !f.Has(0) {
		t.Errorf("%s lacks what it has", f)
	}
	if f.Has(FeatureNAPI|FeatureExtArg) || f.Has(FeatureExtArg) {
		t.Errorf("%s has what it lacks", f)
	}
}
