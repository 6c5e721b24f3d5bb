package page

import (
	"strings"

	"github.com/ringfd/ringfd/bench"
)

// explanations say in words what the metrics are called and what they mean.
var explanations = map[bench.Metric]struct{ name, meaning string }{
	bench.MetricThroughput: {"throughput", "Messages answered per second of wall time. The server has one core where cells are pinned; where the generator was saturated, this is its limit as much as the server's. In an open loop it is given."},
	bench.MetricP50:        {"p50 latency", "Half of the messages took at most this long, from before the send to the receipt of the last byte. In an open loop it counts from when the message should have been sent, so that a stall is not hidden."},
	bench.MetricP90:        {"p90 latency", "One message in 10 took longer than this."},
	bench.MetricP99:        {"p99 latency", "One message in 100 took longer than this."},
	bench.MetricP999:       {"p99.9 latency", "One message in 1000 took longer than this. It varies most from round to round."},
	bench.MetricCPU:        {"CPU per message", "What all threads of the server used, user and system, over the messages. On loopback the kernel does the receiver's part of TCP in the sender's system call: a server pays for the delivery of its replies, and the generator for that of the requests, the same with every target."},
	bench.MetricUserCPU:    {"user CPU per message", "The part of it in the program itself."},
	bench.MetricSystemCPU:  {"system CPU per message", "The part of it in the kernel, most of it TCP, which no interface to it avoids."},
	bench.MetricSyscalls:   {"system calls per message", "An exact count, in a round of its own, because counting slows the server."},
	bench.MetricSwitches:   {"context switches per message", "How often a thread of the server gave up its core or lost it."},
	bench.MetricAllocs:     {"allocations per message", "Objects on the heap of a server in Go, by its runtime's counters. Less than one for twenty messages is the runtime's own work, and no ratio is shown."},
	bench.MetricAllocated:  {"bytes allocated per message", "The size of these objects."},
	bench.MetricGCPause:    {"GC pauses", "The share of the wall time in which the garbage collector stopped a server in Go."},
	bench.MetricResident:   {"resident memory", "What the server's process holds of main memory at the end of a round."},
	bench.MetricUserPerConn: {"user memory per idle connection",
		"How much the server's own memory grew for each idle connection."},
	bench.MetricKernelConn: {"kernel memory per idle connection",
		"How much the kernel's memory grew for each idle connection, for both of its ends."},
	bench.MetricFlooded: {"p99 beside a flood, over that before it",
		"How many times as long one message in 100 of the quiet connections took while another connection kept as much under way as it could."},
	bench.MetricLeastShare: {"least share of a connection",
		"What the connection that was served least in a second got, of the mean: 1 is perfectly even."},
	bench.MetricIdleCPU: {"CPU while idle", "The share of one CPU that the server used while nothing was said."},
}

// plain returns a metric's name in words.
func plain(m bench.Metric) string {
	if e, ok := explanations[m]; ok {
		return e.name
	}
	return string(m)
}

// capital begins a name with a capital letter, but that of a percentile.
func capital(name string) string {
	if strings.HasPrefix(name, "p9") || strings.HasPrefix(name, "p5") {
		return name
	}
	return strings.ToUpper(name[:1]) + name[1:]
}
