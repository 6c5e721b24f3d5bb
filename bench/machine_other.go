//go:build !linux

package bench

func (*Machine) detail() {}
