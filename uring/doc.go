// Package uring is the io_uring engine of ringfd: the ring, its operations,
// the probes, and the parked ring that serves goroutines with blocking calls.
//
// It is for Linux; elsewhere only this file and the names of the features are
// compiled. Applications use package ringfd.
package uring
