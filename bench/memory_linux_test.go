package bench

import (
	"os"
	"runtime"
	"testing"
)

func TestObjectsInUse(t *testing.T) {
	const slabinfo = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables
TCP                   10     26   2496   13    8 : tunables    0    0    0
dentry               100    200    192   21    1 : tunables    0    0    0
`
	if got := objectsInUse(slabinfo); got != 10*2496+100*192 {
		t.Errorf("got %d", got)
	}
	if objectsInUse("") != 0 {
		t.Error("what cannot be read counts")
	}
}

// What a process takes shows in its memory.
func TestMemoryOf(t *testing.T) {
	const size = 64 << 20
	before := memoryOf(os.Getpid())
	taken := make([]byte, size)
	for i := 0; i < size; i += 4 << 10 {
		taken[i] = 1
	}
	after := memoryOf(os.Getpid())
	runtime.KeepAlive(taken)
	if before.Resident == 0 || after.Anonymous < before.Anonymous+size*9/10 {
		t.Errorf("%d bytes more took it from %+v to %+v", size, before, after)
	}
	if kernelMemory() == 0 {
		t.Error("the kernel holds nothing")
	}
}

func TestPerConn(t *testing.T) {
	m := Memory{Anonymous: 3000}
	m.perConn(Memory{Anonymous: 1000}, 5000, 4000, 10)
	if m.UserPerConn != 200 || m.KernelPerConn != 0 {
		t.Errorf("got %+v, want 200 bytes and none", m)
	}
}
