// Package simkernel is a kernel for tests: as much of io_uring and of stream
// sockets as package uring uses, in memory, with an order, sizes, delays and
// failures that are drawn from a seed. See "The fake kernel" in ARCHITECTURE.md.
package simkernel
