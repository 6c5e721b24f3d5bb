package fd

// Stats are the byte counters of one FD. They only grow, and go on counting
// past any 32-bit limit.
type Stats struct {
	// Read is the number of bytes that Read returned.
	Read uint64
	// Written is the number of bytes handed to the kernel by Write and Writev,
	// those of a call that failed half way included.
	Written uint64
}
