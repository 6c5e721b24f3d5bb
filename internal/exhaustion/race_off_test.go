//go:build !race

package exhaustion

const raceEnabled = false
