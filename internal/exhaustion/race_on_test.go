//go:build race

package exhaustion

const raceEnabled = true
