package load

import (
	"testing"
	"time"
)

func TestLeastShare(t *testing.T) {
	s := newShares(Spec{Workload: Echo, Conns: 4})
	s.begin(0)
	tell := func(second int, counts ...int) {
		for i, n := range counts {
			for range n {
				s.answered(i, int64(second)*int64(time.Second)+1)
			}
		}
	}
	tell(0, 10, 10, 10, 10)
	tell(1, 10, 10, 10, 2)
	tell(2, 1) // ends the second before
	if want := 2.0 / 8; s.least != want {
		t.Errorf("the least share is %v, want %v", s.least, want)
	}
	s.begin(0)
	tell(0, 3, 0, 3, 3)
	tell(1, 1)
	if s.least != 0 || !s.any {
		t.Errorf("a connection that got nothing has a share of %v", s.least)
	}
	if open := newShares(Spec{Workload: Echo, Conns: 4, Rate: 1}); open.counts != nil {
		t.Error("shares of an open loop are counted, whose rate is given")
	}
}
