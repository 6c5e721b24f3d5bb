//go:build unix && !freebsd

package conformance

// rlimit is a limit as setrlimit(2) takes it.
func rlimit(n uint64) uint64 { return n }
