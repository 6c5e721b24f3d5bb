package page

import (
	"image/png"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench"
)

func TestSoakPicture(t *testing.T) {
	r := new(bench.SoakReport)
	if _, err := Soak(t.TempDir(), r); err == nil {
		t.Error("a soak without samples is drawn")
	}
	for i := range 40 {
		s := bench.SoakSample{
			At: time.Duration(i) * 3 * time.Second, Resting: i%2 == 1, Resident: 60<<20 + uint64(i)<<16, Heap: 20 << 20, Files: 300 + i, Goroutines: 200,
			Connections: 280, InFlight: 300, Buffers: 8,
		}
		if s.Resting {
			s.Messages, s.Told, s.Wall = 10000, 5000, time.Second
			s.Latency.P50, s.Latency.P99, s.Latency.P999 = time.Millisecond, 5*time.Millisecond, 20*time.Millisecond
		}
		r.Samples = append(r.Samples, s)
	}
	for _, samples := range [][]bench.SoakSample{r.Samples, r.Samples[:1], r.Samples[:2], r.Samples[:4]} {
		dir := t.TempDir()
		paths, err := Soak(dir, &bench.SoakReport{Samples: samples})
		if err != nil || len(paths) != 2 {
			t.Fatalf("of %d samples: %v, %v", len(samples), paths, err)
		}
		svg, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range panels {
			if !strings.Contains(string(svg), p.title) {
				t.Errorf("of %d samples: no panel %q", len(samples), p.title)
			}
			for _, l := range p.lines {
				if !strings.Contains(string(svg), ">"+l.name+"<") {
					t.Errorf("of %d samples: no line %q", len(samples), l.name)
				}
			}
		}
		file, err := os.Open(paths[1])
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(file)
		_ = file.Close()
		if err != nil || picture.Bounds().Dx() != 2*int(pictureWidth) {
			t.Errorf("the PNG: %v", err)
		}
	}
}
