package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ringfd/ringfd/bench"
)

// browser opens a page in Chromium. Every error in its console, and every
// request besides that for the page, fails the test.
func browser(t *testing.T, content string) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Skip("there is no Chromium: `scripts/need chromium chromium` installs it on Debian")
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "ringfd-page-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		// No name has an address: nothing can be reached.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which root cannot have
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	must(t, chromedp.Do(ctx)) // starts it
	url := "file://" + file
	var lock sync.Mutex
	var bad []string
	must(t, chromedp.Listen(ctx, func(event any) {
		lock.Lock()
		defer lock.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if e.Request.URL != url && !strings.HasPrefix(e.Request.URL, "data:") {
				bad = append(bad, "request of "+e.Request.URL)
			}
		case *runtime.EventConsoleAPICalled:
			bad = append(bad, fmt.Sprintf("console: %v", e.Args))
		case *runtime.EventExceptionThrown:
			bad = append(bad, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			bad = append(bad, e.Entry.Text)
		}
	}))
	t.Cleanup(func() {
		lock.Lock()
		defer lock.Unlock()
		if len(bad) > 0 {
			t.Errorf("the browser saw %q", bad)
		}
	})
	send(t, ctx, network.Enable, network.EnableParams{})
	send(t, ctx, log.Enable, cdp.Empty{})
	send(t, ctx, runtime.Enable, cdp.Empty{})
	must(t, chromedp.Do(ctx, chromedp.Navigate(url)))
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// send sends a command of the DevTools protocol.
func send[P, R any](t *testing.T, ctx context.Context, command cdp.Command[P, R], params P) {
	t.Helper()
	_, err := chromedp.Call(ctx, command, params)
	must(t, err)
}

// eval returns what an expression is in the page.
func eval[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	must(t, err)
	return value
}

// screen makes the page as wide as a device, light or dark.
func screen(t *testing.T, ctx context.Context, width int64, scheme string) {
	t.Helper()
	send(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500})
	media(t, ctx, "screen", scheme)
}

func media(t *testing.T, ctx context.Context, kind, scheme string) {
	t.Helper()
	send(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: kind, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// contrasts are functions for the page: the contrast of two colors, after
// WCAG 2, of an element's text with what is behind it, and of all texts with
// the least.
const contrasts = `(() => {
	const rgb = s => s.match(/[\d.]+/g).map(Number);
	const light = c => {
		const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = getComputedStyle(e).backgroundColor;
			if ((rgb(c)[3] ?? 1) > 0) return c;
		}
		return "rgb(255, 255, 255)";
	};
`

// A page is readable on a phone and on a desktop, light, dark and in print.
func TestChromium(t *testing.T) {
	r := madeUp()
	ctx := browser(t, write(t, r))
	back := make(map[string]string)
	for _, width := range []int64{360, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			screen(t, ctx, width, scheme)
			where := fmt.Sprintf("%d px, %s", width, scheme)
			if got := eval[int64](t, ctx, "document.documentElement.scrollWidth"); got > width {
				t.Errorf("%s: the page is %d px wide", where, got)
			}
			back[scheme] = eval[string](t, ctx, "getComputedStyle(document.body).backgroundColor")
			checkPlots(t, ctx, where)
			checkText(t, ctx, where)
			checkLosses(t, ctx, where, r)
		}
	}
	if back["light"] != "rgb(255, 255, 255)" || back["light"] == back["dark"] {
		t.Errorf("backgrounds %v", back)
	}
	checkTabs(t, ctx)
	media(t, ctx, "print", "dark")
	if got := eval[string](t, ctx, "getComputedStyle(document.body).backgroundColor"); got != back["light"] {
		t.Errorf("in print the page is %s, want it light", got)
	}
	if hidden := eval[int](t, ctx, `[...document.querySelectorAll(".panel")].filter(p => getComputedStyle(p).display == "none").length`); hidden > 0 {
		t.Errorf("in print %d panels are hidden", hidden)
	}
}

// checkPlots looks at every plot's size, the size of its text, and whether its
// lines can be told from what is behind them.
func checkPlots(t *testing.T, ctx context.Context, where string) {
	t.Helper()
	type plot struct {
		Width, Height, Text, Contrast float64
		Title                         string
		Outside                       int
	}
	plots := eval[[]plot](t, ctx, contrasts+`
	return [...document.querySelectorAll("svg.plot")].map(s => {
		const box = s.getBoundingClientRect(), texts = [...s.querySelectorAll("text")];
		const strokes = [...s.querySelectorAll("path")].map(p => getComputedStyle(p).stroke).filter(c => c != "none");
		const grid = getComputedStyle(document.documentElement).getPropertyValue("--grid");
		const shape = Object.assign(document.createElement("i"), {style: "color:" + grid});
		document.body.append(shape);
		const gridColor = getComputedStyle(shape).color;
		shape.remove();
		return {
			Width: box.width, Height: box.height, Title: s.querySelector("title").textContent,
			Text: Math.min(...texts.map(x => x.getBoundingClientRect().height)),
			Outside: texts.filter(x => { const b = x.getBoundingClientRect(); return b.left < box.left - 1 || b.right > box.right + 1 || b.bottom > box.bottom + 1; }).length,
			Contrast: Math.min(99, ...strokes.filter(c => c != gridColor).map(c => contrast(c, behind(s)))),
		};
	});
})()`)
	if len(plots) != 2*7+1+2*3 {
		t.Errorf("%s: %d plots", where, len(plots))
	}
	for _, p := range plots {
		if p.Width < 200 || p.Height < 100 || p.Text < 9 || p.Contrast < 3 || p.Title == "" || p.Outside > 0 {
			t.Errorf("%s: the plot %+v is too small, too pale or cut off", where, p)
		}
	}
}

// checkText wants the contrast that WCAG 2 asks for, 4.5, of all text.
func checkText(t *testing.T, ctx context.Context, where string) {
	t.Helper()
	type text struct {
		Text     string
		Contrast float64
	}
	worst := eval[text](t, ctx, contrasts+`
	return [...document.querySelectorAll("body *:not(svg *)")]
		.filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
		.map(e => ({Text: e.textContent, Contrast: contrast(getComputedStyle(e).color, behind(e))}))
		.reduce((a, b) => a.Contrast < b.Contrast ? a : b);
})()`)
	if worst.Contrast < 4.5 {
		t.Errorf("%s: the contrast of %q is %.2f, want 4.5", where, worst.Text, worst.Contrast)
	}
}

// checkLosses wants every lost cell red and marked, and no other.
func checkLosses(t *testing.T, ctx context.Context, where string, r *bench.Report) {
	t.Helper()
	type cell struct {
		Text             string
		Title            string
		Red, Green, Blue int
		Grey             bool
	}
	cells := eval[[]cell](t, ctx, `[...document.querySelectorAll("table.map td.heat")].map(e => {
		const [r, g, b] = getComputedStyle(e).backgroundColor.match(/\d+/g).map(Number);
		return {Text: e.textContent, Title: e.title, Red: r, Green: g, Blue: b, Grey: Math.max(r, g, b) - Math.min(r, g, b) < 20};
	})`)
	lost, undecided := 0, 0
	for _, c := range cells {
		red := !c.Grey && c.Red > c.Green && c.Red > c.Blue
		if worse := strings.Contains(c.Title, "(worse)"); worse != red || worse != strings.Contains(c.Text, "!") {
			t.Errorf("%s: %+v: red and marked must be what is worse", where, c)
		} else if worse {
			lost++
		}
		if chance := strings.Contains(c.Title, "(may be chance)"); chance != strings.Contains(c.Text, "~") || chance && !c.Grey {
			t.Errorf("%s: %+v: grey and marked must be what may be chance", where, c)
		} else if chance {
			undecided++
		}
	}
	wantLost, wantUndecided := 0, 0
	for _, c := range r.Cells {
		for m := range r.Cells[0].Summaries[0].Metrics {
			for _, k := range c.Comparisons {
				ratio, ok := k.Ratios[m]
				switch {
				case !ok || k.Target != r.Targets[0].Name || !slices.Contains(heatMetrics, m) || !shown(&c, m):
				case !ratio.Different:
					wantUndecided++
				case m.Worse(ratio.Median):
					wantLost++
				}
			}
		}
	}
	if lost != wantLost || undecided != wantUndecided || lost == 0 || undecided == 0 {
		t.Errorf("%s: %d cells lost, %d undecided: the report has %d and %d", where, lost, undecided, wantLost, wantUndecided)
	}
}

// checkTabs clicks every tab: its panel, and no other, is then visible.
func checkTabs(t *testing.T, ctx context.Context) {
	t.Helper()
	shown := func() []int {
		return eval[[]int](t, ctx, `[...document.querySelectorAll(".panel")].flatMap((p, i) => p.offsetHeight > 0 ? [i] : [])`)
	}
	if got := shown(); len(got) != 1 || got[0] != 0 {
		t.Errorf("at first the panels %v are visible", got)
	}
	labels := eval[[]string](t, ctx, `[...document.querySelectorAll(".tabs > label")].map(l => l.htmlFor)`)
	if len(labels) != 5 {
		t.Fatalf("%d tabs", len(labels))
	}
	for i, id := range labels {
		must(t, chromedp.Do(ctx, chromedp.Click(chromedp.CSS(fmt.Sprintf("label[for=%s]", id)))))
		if got := shown(); len(got) != 1 || got[0] != i {
			t.Errorf("after a click on tab %d the panels %v are visible", i, got)
		}
	}
}
