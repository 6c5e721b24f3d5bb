// Package accept holds the listening side of ringfd: the Listener, the typed
// errors of accept with their classes, the errno tables per OS, and the accept
// loop with its back-off policy. It is portable; a backend gives a Listener
// its Acceptor.
package accept
