package conformance

// rlimit is a limit as setrlimit(2) takes it.
func rlimit(n uint64) int64 { return int64(n) }
