package uring

// Report is what a probe of the kernel found.
type Report struct {
	// Err says why io_uring cannot be used; nil when it can. Cure(Err) knows
	// what to change.
	Err error
	// Found has the optional features that are there; Unknown those for which
	// the probe itself failed, so that neither answer is known.
	Found, Unknown Features
	// Details says, per feature that was not found, what the kernel answered.
	Details map[Features]string
	// Facts about the machine that bear on io_uring, as found: "" where this
	// system does not have them.
	Kernel, Sysctl, Seccomp, Memlock string
}
