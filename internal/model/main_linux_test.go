package model

import (
	"flag"
	"testing"

	"github.com/ringfd/ringfd/internal/leak"
)

// defaultChecks is how many sequences each row runs in the ordinary tests.
const defaultChecks = "40"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", defaultChecks); err != nil {
			panic(err)
		}
	}
	leak.Main(m)
}
