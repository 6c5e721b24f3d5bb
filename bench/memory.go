package bench

// Memory is what a server holds at the end of a round, in bytes; zero where
// the system does not tell.
type Memory struct {
	// Resident is all of it, Anonymous what is not backed by files.
	Resident  uint64 `json:"resident_bytes,omitempty"`
	Anonymous uint64 `json:"anonymous_bytes,omitempty"`
	// UserPerConn is how much Anonymous grew for each idle connection, from the
	// server's start to its rest; KernelPerConn how much the kernel's own
	// memory did, for both ends of the connection. Of the workload Idle.
	UserPerConn   float64 `json:"user_bytes_per_conn,omitempty"`
	KernelPerConn float64 `json:"kernel_bytes_per_conn,omitempty"`
}

// perConn fills in what conns idle connections made the memory grow by.
func (m *Memory) perConn(before Memory, kernelBefore, kernelAfter uint64, conns int) {
	grown := func(before, after uint64) float64 {
		return max(0, (float64(after)-float64(before))/float64(conns))
	}
	m.UserPerConn = grown(before.Anonymous, m.Anonymous)
	m.KernelPerConn = grown(kernelBefore, kernelAfter)
}
