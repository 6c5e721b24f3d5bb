//go:build !linux

package conformance

var rawLinuxCases []Case
