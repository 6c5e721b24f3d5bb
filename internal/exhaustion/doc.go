// Package exhaustion tests what a Backend holds while peers do their worst, and that
// nothing of it is left when it is closed under load. ARCHITECTURE.md states the bounds.
package exhaustion
