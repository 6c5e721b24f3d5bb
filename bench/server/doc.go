// Package server holds the servers that the bench lab measures in this module:
// on ringfd, with either backend, and on Go's net without it. All of them run
// the same code for each connection.
package server
