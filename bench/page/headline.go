package page

import (
	"fmt"
	"math"

	"github.com/ringfd/ringfd/bench"
)

// headline counts the outcomes of our first target against the baseline.
type headline struct {
	Metric, Ours, Base   string
	Won, Lost, Undecided int
	Cells                int
	Least, Most          string
	Losses               []loss
}

// loss is a cell that our first target loses.
type loss struct {
	Cell  cellName
	Ratio string
}

// headlines are on what matters most; none without a baseline.
func headlines(r *bench.Report) []headline {
	if len(r.Targets) < 2 {
		return nil
	}
	var list []headline
	for _, m := range []bench.Metric{bench.MetricCPU, bench.MetricP99} {
		if h := headlineOf(r, m); h.Cells > 0 {
			list = append(list, h)
		}
	}
	return list
}

func headlineOf(r *bench.Report, m bench.Metric) headline {
	h := headline{Metric: capital(plain(m)), Ours: r.Targets[0].Name, Base: r.Targets[len(r.Targets)-1].Name}
	least, most := math.Inf(1), 0.0
	for i := range r.Cells {
		c := &r.Cells[i]
		k := c.Comparison(h.Ours, h.Base)
		if k == nil {
			continue
		}
		ratio, ok := k.Ratios[m]
		if !ok {
			continue
		}
		h.Cells++
		least, most = min(least, ratio.Median), max(most, ratio.Median)
		switch judge(m, ratio) {
		case won:
			h.Won++
		case lost:
			h.Lost++
			h.Losses = append(h.Losses, loss{nameOf(i, c), fmt.Sprintf("%.2f", ratio.Median)})
		default:
			h.Undecided++
		}
	}
	h.Least, h.Most = fmt.Sprintf("%.2f", least), fmt.Sprintf("%.2f", most)
	return h
}
