// Package sim runs the io_uring backend on the fake kernel of internal/simkernel,
// from seeds: `make sim SEEDS=10000`. See "The fake kernel" in ARCHITECTURE.md. Its
// tests need the build tag sim.
package sim
