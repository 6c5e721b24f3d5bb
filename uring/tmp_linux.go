package uring

const (
	FeatureSockNonempty Features = 1 << (30 + iota)
	FeatureUnixNonempty
	FeatureAcceptDontwait
)
const acceptDontwait = 1 << 1
const cqeSockNonempty = 1 << 2
