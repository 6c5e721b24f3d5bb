//go:build !unix

package conformance

// fileCases need a system that can duplicate sockets into files.
var fileCases []Case
