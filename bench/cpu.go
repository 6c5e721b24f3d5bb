package bench

import "time"

// CPU is processor time of a process, all its threads together.
type CPU struct {
	User   time.Duration `json:"user_ns"`
	System time.Duration `json:"system_ns"`
}

// Total is user and system time.
func (c CPU) Total() time.Duration { return c.User + c.System }

// Sub returns what was used since an earlier reading.
func (c CPU) Sub(earlier CPU) CPU {
	return CPU{c.User - earlier.User, c.System - earlier.System}
}
