// Package model tests the backends with sequences of calls that nobody wrote
// down. A state machine calls what applications call (Backend.Socket, Connect,
// Accept, Serve, and the methods of FD) in any order, drives the peers, which
// are connections of package net, and compares every result, counter and event
// with a model of an FD: the contract in ARCHITECTURE.md, and behind it what
// Linux's TCP does. All backends have the same model. The package holds tests
// only.
//
//	go test ./internal/model -rapid.checks=1000
//	make model CHECKS=100000
//
// A failure is cut down to the shortest sequence that shows it, and prints the
// flags that replay it. Nothing waits for time to pass: a call that the model
// says returns is awaited, one that it says waits is seen to come to rest.
package model
