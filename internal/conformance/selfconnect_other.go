//go:build !linux

package conformance

// selfConnectCases need a kernel that can be told which port to pick.
var selfConnectCases []Case
