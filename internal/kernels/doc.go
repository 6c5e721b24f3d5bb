// Package kernels runs the tests on other kernels: boot puts them into a virtual
// machine as an initramfs, guest is the first process there, and this package
// holds what the two say to each other and what came of it.
package kernels
