// Package live shows what a Backend of a running process does, on a unix socket
// that its owner alone may open: `ringfd doctor --live PATH` prints it, and Dial
// reads it from a program.
//
//	server, err := live.Serve("/run/user/1000/node.live", backend)
//	…
//	defer server.Close()
//
// It costs nothing between requests but a goroutine that waits and a descriptor.
// The socket is served by a backend of its own, on net, so that it does not show
// up in what it shows.
//
// # Protocol
//
// A request is a line of JSON, and so is its answer; a connection has any number
// of them, in turns. The one request is {"get":"snapshot"}. The answer has a
// Snapshot in "snapshot", or says in "error" what is wrong with the request. New
// requests and new fields may be added.
package live
