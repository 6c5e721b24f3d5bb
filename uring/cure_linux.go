package uring

// Cure says what to change so that io_uring becomes available.
func Cure(error) string { return "" }
