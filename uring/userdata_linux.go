package uring

// user_data is kind (8 bits), slot (24 bits), generation (32 bits); never a pointer. A
// CQE whose generation is not that of the slot is of an earlier request.
const (
	kindMask = uint64(0xff) << 56

	slotBits = 24
	slotMask = 1<<slotBits - 1
)

// userData is that of a poller's request: the slot is that in the batch, the generation
// that of the batch.
func userData(slot, gen uint32) uint64 { return uint64(slot)<<32 | uint64(gen) }
