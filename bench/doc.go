// Package bench compares the backends of ringfd, and what else can be made a
// Target, on the machine it runs on.
//
// Its parts stand apart: a Cell is a workload; a Target is a server, run in a
// process of its own; the load generator is another process; rounds of the
// targets are interleaved (A B A B …) by Run, which returns a Report; the
// statistics and the table are made from the Report alone.
//
// The program that calls Run must give Child the control when it is started
// with ChildCommand as its first argument.
package bench
