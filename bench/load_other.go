//go:build !linux

package bench

func openGenerator(spec loadSpec) (generator, error) { return openGoroutines(spec) }
