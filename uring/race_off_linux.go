//go:build !race

package uring

func raceAcquire() {}
func raceRelease() {}
