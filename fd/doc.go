// Package fd holds the file-descriptor layer of ringfd: the FD with its unique
// id, the typed reasons for which a connection ends, the errors that carry
// them, byte counters, a table keyed by id, events, and the net.Conn view.
//
// The package is portable. It knows neither io_uring nor the net package's
// poller: a backend gives it a Socket, and the FD adds everything that must be
// the same on every backend. Its model is the Octez module P2p_fd.
//
// Applications get an *FD from a ringfd.Backend or from an accept.Listener;
// New and Accepted are for backends.
package fd
