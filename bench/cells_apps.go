package bench

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringfd/ringfd/bench/load"
)

// programs are the real programs of bench/apps, and what they are.
var programs = map[string]string{
	"http":        "net/http",
	"fasthttp":    "fasthttp",
	"resp":        "a RESP server",
	"https":       "net/http over TLS 1.3",
	"proxy":       "a proxy by io.Copy",
	"grpc":        "gRPC, unary",
	"grpc-stream": "gRPC, a stream",
	"websocket":   "a websocket echo",
	"two-writes":  "header and payload in two writes",
	"upstream":    "answers after an upstream's 50 ms",
	"h2":          "net/http over HTTP/2",
	"yamux":       "yamux streams, both ends",
	"rlpx":        "devp2p's RLPx, both ends",
	"btcd":        "btcd peers, both ends",
	"libp2p":      "libp2p streams, both ends",
}

// medianCPU is what the median over all cells of server CPU per message is to be.
const medianCPU = 0.92

// Apps returns the cells of real programs, which ringfd-apps runs. They take some ten
// minutes at five rounds.
func Apps() []Cell {
	var cells []Cell
	both := func(c Cell) {
		cells = append(cells, judged(c), judged(unpinned(c)))
	}
	for _, conns := range []int{1, 64, 512, 4000} {
		plain := program("http", load.HTTP, 64, 64, conns)
		both(plain)
		both(program("http", load.HTTP, 16<<10, 16<<10, conns))
		both(working(plain, 100*time.Microsecond))
	}
	both(open(program("http", load.HTTP, 64, 64, 512), 0.5))
	both(inServe(program("fasthttp", load.HTTP, 64, 64, 64)))
	for _, depth := range []int{1, 16} {
		both(inServe(deep(program("resp", load.RESP, 64, 64, 64), depth)))
	}
	both(program("https", load.Calls, 64, 64, 64))
	both(inServe(program("proxy", load.Echo, 1<<10, 1<<10, 64)))
	both(program("grpc", load.Calls, 64, 64, 64))
	both(program("grpc-stream", load.Calls, 64, 64, 64))
	both(program("websocket", load.Calls, 64, 64, 64))
	both(inServe(program("two-writes", load.Exchange, 64, 1<<10, 64)))
	both(inServe(program("upstream", load.Echo, 64, 64, 64)))
	both(program("h2", load.Calls, 64, 64, 64))
	for _, name := range []string{"yamux", "rlpx", "btcd", "libp2p"} {
		both(program(name, load.Inside, 64, 64, 64))
	}
	return cells
}

func program(name string, w load.Workload, request, reply, conns int) Cell {
	c := cell(w, request, reply, conns)
	c.Name = fmt.Sprintf("%s-%s-%d", name, strings.ReplaceAll(sizeText(reply), " ", ""), conns)
	c.Program, c.Targets = name, oursAndBase
	return c
}

// inServe is for a program that is also a blocking handler of Backend.Serve.
func inServe(c Cell) Cell {
	c.Targets = []string{IOUring, IOUringBlocking, Net, GoNet}
	return c
}

func working(c Cell, work time.Duration) Cell {
	c.Name, c.Work = fmt.Sprintf("%s-work%v", c.Name, work), work
	c.Name = strings.ReplaceAll(c.Name, "µ", "u") // to be typed
	return c
}

func deep(c Cell, depth int) Cell {
	c.Depth = depth
	if depth > 1 {
		c.Name = fmt.Sprintf("%s-depth%d", c.Name, depth)
	}
	return c
}

// judged gives a cell its goals: no program is to lose, and two of them win where
// they are handlers of Serve on one P.
func judged(c Cell) Cell {
	goals := func(target string, cpu, latency, p999, throughput float64) {
		for _, g := range []Goal{
			{Metric: MetricCPU, AtMost: cpu}, {Metric: MetricP50, AtMost: latency}, {Metric: MetricP99, AtMost: latency},
			{Metric: MetricP999, AtMost: p999}, {Metric: MetricThroughput, AtLeast: throughput},
		} {
			if c.Share > 0 && g.Metric == MetricThroughput {
				continue // the rate was given
			}
			bound := max(g.AtMost, g.AtLeast)
			g.Target, g.OrChance = target, bound >= 1 && g.Metric != MetricThroughput || bound == 1
			c.Goals = append(c.Goals, g)
		}
	}
	goals(IOUring, 1, 1, 1.1, 1)
	if len(c.Targets) > len(oursAndBase) {
		if c.Procs == 1 && (c.Program == "fasthttp" || c.Program == "resp") {
			goals(IOUringBlocking, 0.88, 0.85, 1, 1.1)
		} else {
			goals(IOUringBlocking, 1, 1, 1.1, 1)
		}
	}
	return c
}
