//go:build !linux

package bench

func memoryOf(int) Memory { return Memory{} }

func kernelMemory() uint64 { return 0 }
