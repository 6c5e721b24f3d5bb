package bench

import "time"

// Fair returns cells with a thousand connections in closed loop on one P, in rounds of
// several seconds: no connection is to get less than half of the mean in any second,
// whatever handlers compute, and beside a goroutine that does nothing else.
func Fair() []Cell {
	base := echo(64, 1000)
	base.Window, base.Targets = 3*time.Second, []string{IOUring, GoNet}
	base.Goals = []Goal{
		{Metric: MetricLeastShare, Target: IOUring, Itself: true, AtLeast: 0.5},
		{Metric: MetricP999, AtMost: 1.1, OrChance: true},
	}
	beside := base
	beside.Name, beside.Computing = base.Name+"-computing", 1
	return []Cell{base, working(base, 10*time.Microsecond), working(base, 100*time.Microsecond), beside}
}
