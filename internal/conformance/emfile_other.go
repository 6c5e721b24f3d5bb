//go:build !unix

package conformance

import "testing"

// Child does nothing here.
func Child() {}

// FloodWithoutDescriptors needs a limit on descriptors.
func FloodWithoutDescriptors(t *testing.T, _ Row) {
	t.Skip("this system has no RLIMIT_NOFILE; any Unix would make this run")
}

// DescriptorsRunOut needs a limit on descriptors.
func DescriptorsRunOut(t *testing.T, _ Row) {
	t.Skip("this system has no RLIMIT_NOFILE; any Unix would make this run")
}
