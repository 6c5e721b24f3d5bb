// Package conformance is the suite that every backend must pass: one list of
// cases, run over rows (a backend and how it is opened) and networks. Both
// backends must give the same answers, so no case asks which one it runs on.
package conformance
