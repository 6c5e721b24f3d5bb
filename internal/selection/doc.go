// Package selection tests how a backend is chosen, on machines that allow
// io_uring, forbid it in each of the ways there are, or kill who tries.
package selection
