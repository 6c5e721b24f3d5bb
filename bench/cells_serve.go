package bench

import "time"

// serveTargets are the two styles of Serve, with what their goals name.
var serveTargets = []string{IOUringBlocking, IOUringData, GoNet}

// Serve returns the cells that Backend.Serve is judged by: both of its styles on
// io_uring, against Go's net, the event loops and the floors. They take some ten
// minutes.
func Serve() []Cell {
	both := func(metric Metric, atMost float64) []Goal {
		return []Goal{{Metric: metric, Target: IOUringBlocking, AtMost: atMost}, {Metric: metric, Target: IOUringData, AtMost: atMost}}
	}
	against := func(target string, blocking, data float64) []Goal {
		return []Goal{
			{Metric: MetricCPU, Target: IOUringBlocking, Against: target, AtMost: blocking},
			{Metric: MetricCPU, Target: IOUringData, Against: target, AtMost: data},
		}
	}
	small := func(conns int, net float64) Cell {
		c := echo(64, conns)
		c.Targets = []string{IOUringBlocking, IOUringData, Gnet, Netpoll, CEpoll, CIOUring, GoNet}
		c.Goals = both(MetricCPU, net)
		c.Goals = append(c.Goals, against(CIOUring, 1.08, 1.05)...)
		for _, peer := range []string{Gnet, Netpoll, CEpoll} {
			c.Goals = append(c.Goals, against(peer, 1, 1)...)
		}
		for _, target := range []string{IOUringBlocking, IOUringData} {
			c.Goals = append(c.Goals,
				Goal{Metric: MetricSyscalls, Target: target, Itself: true, AtMost: 0.1},
				Goal{Metric: MetricAllocs, Target: target, Itself: true, AtMost: 0.05}) // what is less is the runtime's own
		}
		c.Weight = 2
		return c
	}
	serve := func(c Cell, goals []Goal) Cell {
		c.Targets, c.Goals = serveTargets, goals
		return c
	}
	cells := []Cell{small(64, 0.87), small(1000, 0.66), small(4000, 0.66)}
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for _, conns := range []int{1, 16, 64} {
			cells = append(cells, serve(echo(size, conns), both(MetricCPU, 1)))
		}
	}
	for _, c := range []Cell{
		upload(8), download(8), churn(1), churn(64),
		overUnix(echo(64, 64)), overUnix(echo(16<<10, 16)), overUnix(echo(64<<10, 16)),
	} {
		cells = append(cells, serve(c, both(MetricCPU, 1)))
	}
	pipeline := serve(pipelined(64, 16, 16), nil)
	for _, target := range []string{IOUringBlocking, IOUringData} {
		pipeline.Goals = append(pipeline.Goals, Goal{Metric: MetricThroughput, Target: target, AtLeast: 3})
	}
	asleep, awake := serve(echo(64, 1), both(MetricP50, 0.42)), serve(spinning(echo(64, 1)), both(MetricP50, 0.65))
	for _, c := range []*Cell{&asleep, &awake} {
		c.Name, c.BusyPoll = c.Name+"-busypoll", 50*time.Microsecond
	}
	beside := echo(64, 64)
	beside.Name, beside.Computing = beside.Name+"-computing", 2
	beside.Targets = append([]string{IOUring}, serveTargets...)
	for _, target := range beside.Targets[:3] {
		beside.Goals = append(beside.Goals, Goal{Metric: MetricThroughput, Target: target, AtLeast: 1})
	}
	fan := serve(fanout(1<<10, 1000), both(MetricCPU, 0.88))
	for _, target := range []string{IOUringBlocking, IOUringData} {
		fan.Goals = append(fan.Goals, Goal{Metric: MetricSyscalls, Target: target, Itself: true, AtMost: 0.01})
	}
	flooded := serve(flood(1000, 0.3), nil)
	for _, target := range []string{IOUringBlocking, IOUringData} {
		flooded.Goals = append(flooded.Goals, Goal{Metric: MetricFlooded, Target: target, Itself: true, AtMost: 2})
	}
	none := serve(idle(10_000), []Goal{
		{Metric: MetricUserPerConn, Target: IOUringBlocking, AtMost: 0.6},
		{Metric: MetricUserPerConn, Target: IOUringData, AtMost: 0.12},
		{Metric: MetricUserPerConn, Target: IOUringData, Itself: true, AtMost: 700},
	})
	return append(cells, pipeline, asleep, awake, beside,
		serve(open(echo(64, 1000), 0.5), both(MetricP999, 0.6)), fan, flooded, none)
}
