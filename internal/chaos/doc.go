// Package chaos holds tests that make the real kernel nasty: tiny rings, no
// descriptors, no locked memory, storms of signals, starved processors, a garbage
// collector that never rests, threads that die, children, peers without manners, and
// a network that delays, loses and cuts. All bytes must arrive in order whatever
// happens, or a typed reason must; and nothing may be left behind.
//
// `make test` runs a short form of each. `make chaos` repeats them for a time;
// CONTRIBUTING.md lists the others.
package chaos
