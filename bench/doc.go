// Package bench compares the backends of ringfd on the machine it runs on: with
// each other, with Go's net, with other network libraries, and with servers in
// C that are the floor.
//
// Its parts stand apart. A Cell is a workload; a Target is a server, run in a
// process of its own; the load generator (package load) is another process, and
// both obey the protocol of package control. Rounds of the targets are
// interleaved by Run, which returns a Report; statistics, table and pages are
// made from the Report alone.
package bench
