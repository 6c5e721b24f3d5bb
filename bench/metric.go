package bench

import (
	"fmt"
	"time"

	"github.com/ringfd/ringfd/bench/load"
)

// Metric is a figure of a round that targets are compared by. But for the
// throughput and the least share, less is better.
type Metric string

// The metrics. "msg" is a message that was answered; of Churn it is a
// connection, of Fanout a delivery.
const (
	MetricThroughput  Metric = "throughput"
	MetricP50         Metric = "p50"
	MetricP90         Metric = "p90"
	MetricP99         Metric = "p99"
	MetricP999        Metric = "p99.9"
	MetricCPU         Metric = "server CPU/msg"
	MetricUserCPU     Metric = "server user CPU/msg"
	MetricSystemCPU   Metric = "server system CPU/msg"
	MetricSyscalls    Metric = "syscalls/msg" // counted apart, not in the timed rounds
	MetricSwitches    Metric = "context switches/msg"
	MetricAllocs      Metric = "allocations/msg"
	MetricAllocated   Metric = "allocated bytes/msg"
	MetricGCPause     Metric = "GC pause" // share of the wall time
	MetricResident    Metric = "resident memory"
	MetricUserPerConn Metric = "user memory/idle conn"
	MetricKernelConn  Metric = "kernel memory/idle conn"
	MetricIdleCPU     Metric = "idle CPU" // share of one CPU
	MetricFlooded     Metric = "p99 beside a flood, over that before it"
	MetricLeastShare  Metric = "least share of a connection in a second, of the mean"
)

// Metrics are all of them, in the order of reports.
var Metrics = []Metric{
	MetricThroughput, MetricP50, MetricP90, MetricP99, MetricP999,
	MetricCPU, MetricUserCPU, MetricSystemCPU, MetricSyscalls, MetricSwitches,
	MetricAllocs, MetricAllocated, MetricGCPause, MetricResident,
	MetricUserPerConn, MetricKernelConn, MetricIdleCPU, MetricFlooded,
	MetricLeastShare,
}

// of returns the metric of a timed round: messages per second, nanoseconds,
// bytes, counts or shares. It is not known for every target and workload.
func (m Metric) of(w load.Workload, r *Round) (value float64, ok bool) {
	if w == load.Idle {
		return m.ofIdle(r)
	}
	messages := float64(r.Load.Messages)
	nanoseconds := func(d time.Duration) (float64, bool) { return float64(d), r.Load.Latency.Max > 0 }
	switch m {
	case MetricThroughput:
		return messages / r.Load.Wall.Seconds(), true
	case MetricP50:
		return nanoseconds(r.Load.Latency.P50)
	case MetricP90:
		return nanoseconds(r.Load.Latency.P90)
	case MetricP99:
		return nanoseconds(r.Load.Latency.P99)
	case MetricP999:
		return nanoseconds(r.Load.Latency.P999)
	case MetricCPU:
		return float64(r.Server.CPU.Total()) / messages, true
	case MetricUserCPU:
		return float64(r.Server.CPU.User) / messages, true
	case MetricSystemCPU:
		return float64(r.Server.CPU.System) / messages, true
	case MetricSwitches:
		return float64(r.Server.Voluntary+r.Server.Involuntary) / messages, true
	case MetricResident:
		return float64(r.Memory.Resident), r.Memory.Resident > 0
	case MetricLeastShare:
		return r.Load.LeastShare, r.Load.Wall >= 2*time.Second
	case MetricFlooded:
		if r.Load.Quiet == nil || r.Load.Quiet.P99 == 0 {
			return 0, false
		}
		return float64(r.Load.Latency.P99) / float64(r.Load.Quiet.P99), true
	}
	if r.Go == nil {
		return 0, false
	}
	switch m {
	case MetricAllocs:
		return float64(r.Go.Mallocs) / messages, true
	case MetricAllocated:
		return float64(r.Go.Allocated) / messages, true
	case MetricGCPause:
		return r.Go.GCPause.Seconds() / r.Load.Wall.Seconds(), true
	}
	return 0, false
}

func (m Metric) ofIdle(r *Round) (value float64, ok bool) {
	switch m {
	case MetricUserPerConn:
		return r.Memory.UserPerConn, r.Memory.UserPerConn > 0
	case MetricKernelConn:
		return r.Memory.KernelPerConn, r.Memory.KernelPerConn > 0
	case MetricResident:
		return float64(r.Memory.Resident), r.Memory.Resident > 0
	case MetricIdleCPU:
		return r.Server.CPU.Total().Seconds() / r.Load.Wall.Seconds(), true
	}
	return 0, false
}

// Worse reports whether a ratio of this metric says that the numerator loses.
func (m Metric) Worse(ratio float64) bool {
	if m == MetricThroughput || m == MetricLeastShare {
		return ratio < 1
	}
	return ratio > 1
}

// Text writes a value with its unit.
func (m Metric) Text(value float64) string {
	switch m {
	case MetricThroughput:
		return fmt.Sprintf("%.0f/s", value)
	case MetricP50, MetricP90, MetricP99, MetricP999, MetricCPU, MetricUserCPU, MetricSystemCPU:
		return fmt.Sprintf("%.2f µs", value/float64(time.Microsecond))
	case MetricGCPause, MetricIdleCPU:
		return fmt.Sprintf("%.3f%%", 100*value)
	case MetricResident:
		return fmt.Sprintf("%.1f MiB", value/(1<<20))
	case MetricUserPerConn, MetricKernelConn, MetricAllocated:
		return fmt.Sprintf("%.0f B", value)
	}
	return fmt.Sprintf("%.3f", value)
}
