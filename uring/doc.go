// Package uring is the io_uring engine of ringfd: the ring, the probes, the pollers that
// serve goroutines with blocking calls, and the loops that serve handlers.
//
// It is for Linux; elsewhere only this file and the names of the features are
// compiled. Applications use package ringfd.
package uring
