package page

import (
	"bytes"
	"cmp"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"gonum.org/v1/plot/plotter"

	"github.com/ringfd/ringfd/bench"
)

// write returns the page of a report.
func write(t *testing.T, r *bench.Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// parse checks that ids are unique, that every link within the page leads
// somewhere, and that there is no script and no other file.
func parse(t *testing.T, text string) (words string) {
	t.Helper()
	document, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	var links []string
	var all strings.Builder
	for n := range document.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			all.WriteString(n.Data + " ")
		}
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" || n.Data == "img" || n.Data == "iframe" {
			t.Errorf("the page has a %s element", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "id":
				if ids[a.Val] {
					t.Errorf("two elements are called %s", a.Val)
				}
				ids[a.Val] = true
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"), a.Key == "for":
				links = append(links, strings.TrimPrefix(a.Val, "#"))
			case a.Key == "href" && a.Val != "data:,", a.Key == "src", strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s %s=%q> in a page that needs nothing else", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, link := range links {
		if !ids[link] {
			t.Errorf("nothing is called %s", link)
		}
	}
	return strings.Join(strings.Fields(all.String()), " ")
}

func TestWrite(t *testing.T) {
	r := madeUp()
	text := write(t, r)
	words := parse(t, text)
	for _, want := range []string{
		"A Processor <b>of</b> 2 GHz", "6.18.0", "spectre v2: Retpolines", "go1.26.8, commit 0123abcd", "2026-11-23", "5 of 1s", hostile,
		"The generator was saturated in echo-64B-64 (io_uring)", "left out: no compiler",
		"of 7 cells, io_uring wins 5 against go-net and loses 2", "Lost: echo-64B-1 (", "Open loop at 60000 messages per second",
		"No round was completed", "CPU per message ≤ 0.92", "missed", "reached", "What is not measured", "may be chance",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, c := range r.Cells {
		if !strings.Contains(words, c.Cell.Name) || !strings.Contains(words, c.Cell.String()) {
			t.Errorf("the page does not say %q, %s", c.Cell.Name, c.Cell)
		}
	}
	// Latency and CPU of seven cells, memory of an idle one, two series of three
	// metrics each.
	if got := strings.Count(text, `class="plot"`); got != 2*7+1+2*3 {
		t.Errorf("%d plots", got)
	}
	if len(text) > 1<<20 {
		t.Errorf("%d bytes", len(text))
	}
}

// Reports that are not whole still make a page.
func TestWriteOdd(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*bench.Report)
		want  string
	}{
		"interrupted": {func(r *bench.Report) { r.Interrupted, r.Cells = true, r.Cells[:1] }, "Interrupted: the rounds are not complete"},
		"disturbed": {func(r *bench.Report) {
			for i := range r.Cells[0].Rounds {
				r.Cells[0].Rounds[i].Others = 0.4
			}
			r.Cells = r.Cells[:1]
		}, "DISTURBED: other work took 40 %"},
		"few rounds":      {func(r *bench.Report) { r.Settings.Rounds = 3 }, "With fewer than 4 rounds"},
		"unpinned":        {func(r *bench.Report) { r.Cells[0].Unpinned = "one CPU" }, "Not pinned: one CPU"},
		"no cells":        {func(r *bench.Report) { r.Cells = nil }, "There is nothing to compare"},
		"one target":      {func(r *bench.Report) { r.Targets, r.Cells = r.Targets[:1], r.Cells[8:] }, "only io_uring ran"},
		"no histograms":   {func(r *bench.Report) { r.Cells = r.Cells[7:8] }, "user memory per idle connection"},
		"syscalls failed": {func(r *bench.Report) { r.Cells[0].Syscalls = []bench.SyscallRound{{Error: "no perf"}} }, "System calls were not counted: no perf"},
	} {
		r := madeUp()
		c.spoil(r)
		if words := parse(t, write(t, r)); !strings.Contains(words, c.want) {
			t.Errorf("%s: the page does not say %q", name, c.want)
		}
	}
	if err := Write(&bytes.Buffer{}, &bench.Report{}); err == nil {
		t.Error("a report without targets makes a page")
	}
	r := madeUp()
	r.Cells[2].Rounds[1].Load.Histogram = "broken"
	if err := Write(&bytes.Buffer{}, r); err == nil || !strings.Contains(err.Error(), r.Cells[2].Cell.Name) {
		t.Errorf("a broken histogram: got %v, want an error that names the cell", err)
	}
}

// A line ends before too few messages decide it, and never falls.
func TestLine(t *testing.T) {
	c := madeUp().Cells[1]
	h, err := merged(&c, "io_uring")
	if err != nil || h.TotalCount() != 5*messages {
		t.Fatalf("%v: %v, want all rounds", h.TotalCount(), err)
	}
	points, marked := line(h)
	if len(points) != steps || math.Abs(points[steps-1].X-messages*5/leastBeyond) > 0.001 {
		t.Errorf("%d points up to 1 message of %v: 10 must be beyond it", len(points), points[len(points)-1].X)
	}
	if !slices.IsSortedFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.Y, b.Y) }) {
		t.Error("the line falls")
	}
	if len(marked) != 4 || marked[2].Y != float64(h.ValueAtPercentile(99)) {
		t.Errorf("marks at %v, want 50, 90, 99 and 99.9 %%", marked)
	}
}

func TestSeries(t *testing.T) {
	var got []string
	for _, s := range allSeries(madeUp()) {
		got = append(got, s.axis.name+" "+s.what+":")
		for _, c := range s.cells {
			got = append(got, c.Cell.Name)
		}
	}
	want := "connections echo 64 B: echo-64B-1 echo-64B-64 echo-64B-1000 size echo, 64 connections: echo-64B-64 echo-16KiB-64 echo-64KiB-64"
	if strings.Join(got, " ") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestText(t *testing.T) {
	for _, m := range bench.Metrics {
		if explanations[m].meaning == "" {
			t.Errorf("%s is not explained", m)
		}
	}
	for _, c := range []struct{ least, most, want string }{
		{"1.5 µs", "2.5 µs", "1.5–2.5 µs"}, {"1/s", "20/s", "1–20/s"}, {"0.1", "0.2", "0.1–0.2"}, {"1 B", "1 KiB", "1 B – 1 KiB"},
	} {
		if got := fromTo(c.least, c.most); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	for _, c := range []struct {
		m     bench.Metric
		value float64
		want  string
	}{
		{bench.MetricP99, 0, "0"}, {bench.MetricP99, 500, "500 ns"}, {bench.MetricCPU, 1500, "1.5 µs"}, {bench.MetricP50, 2e6, "2 ms"}, {bench.MetricP50, 2e9, "2 s"},
		{bench.MetricThroughput, 250_000, "250 k/s"}, {bench.MetricThroughput, 1.5e6, "1.5 M/s"}, {bench.MetricThroughput, 20, "20 /s"},
		{bench.MetricUserPerConn, 4096, "4 KiB"}, {bench.MetricUserPerConn, 3000, "3000 B"}, {bench.MetricAllocated, 0.123456, "0.1235 B"}, {bench.MetricUserPerConn, 1.5e5, "146.5 KiB"}, {bench.MetricResident, 3 << 20, "3 MiB"}, {bench.MetricAllocs, 0.5, "0.5"},
	} {
		if got := short(c.m, c.value); got != c.want {
			t.Errorf("%s %v: got %q, want %q", c.m, c.value, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	ratio := func(median float64, different bool) bench.Ratio {
		return bench.Ratio{Spread: bench.Spread{Median: median}, Different: different}
	}
	for _, c := range []struct {
		m    bench.Metric
		r    bench.Ratio
		want outcome
	}{
		{bench.MetricCPU, ratio(0.9, true), won}, {bench.MetricCPU, ratio(1.1, true), lost}, {bench.MetricCPU, ratio(1.1, false), undecided},
		{bench.MetricCPU, ratio(1, true), undecided}, {bench.MetricThroughput, ratio(0.9, true), lost}, {bench.MetricThroughput, ratio(1.1, true), won},
	} {
		if got := judge(c.m, c.r); got != c.want {
			t.Errorf("%s %+v: got %v, want %v", c.m, c.r, got, c.want)
		}
	}
}

// A few allocations of the runtime itself are no loss.
func TestNegligible(t *testing.T) {
	cell := func(ours, base float64) *bench.CellReport {
		c := &bench.CellReport{}
		for target, value := range map[string]float64{"ours": ours, "base": base} {
			c.Summaries = append(c.Summaries, bench.Summary{Target: target, Metrics: map[bench.Metric]bench.Spread{
				bench.MetricAllocs: {Median: value}, bench.MetricCPU: {Median: value},
			}})
		}
		return c
	}
	k := &bench.Comparison{Target: "ours", Against: "base"}
	if !negligible(cell(0.01, 0.001), bench.MetricAllocs, k) {
		t.Error("1 allocation for 100 messages against 1 for 1000 has a ratio")
	}
	if negligible(cell(1, 0.001), bench.MetricAllocs, k) || negligible(cell(0.01, 1), bench.MetricAllocs, k) || negligible(cell(0.01, 0.001), bench.MetricCPU, k) {
		t.Error("an allocation for each message, or another metric, has no ratio")
	}
}

func TestPictures(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	paths, err := Pictures(dir, madeUp())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cpu.svg", "cpu.png", "ratio-cpu-per-message.svg", "latency.png", "throughput-connections.svg", "cpu-per-message-size.png"} {
		if !slices.Contains(paths, filepath.Join(dir, want)) {
			t.Errorf("no %s among %v", want, paths)
		}
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".svg") {
			if !bytes.HasPrefix(content, []byte("<?xml")) || bytes.Contains(content, []byte("<script>")) || !bytes.Contains(content, []byte("io_uring")) {
				t.Errorf("%s: %.300s", path, content)
			}
			continue
		}
		picture, err := png.Decode(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if r, g, b, a := picture.At(1, 1).RGBA(); picture.Bounds().Dx() != 1600 || r&g&b&a != 0xFFFF {
			t.Errorf("%s: %v wide, want 1600 on white", path, picture.Bounds())
		}
	}
	if _, err := Pictures(dir, &bench.Report{Targets: madeUp().Targets}); err == nil {
		t.Error("a report without cells makes pictures")
	}
}
