//go:build linux && sim

package sim

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/simkernel"
)

var (
	seeds    = flag.Int("seeds", 200, "how many seeds to run")
	duration = flag.Duration("duration", 0, "run seeds for so long instead")
	first    = flag.Uint64("first", 1, "the first seed")
	stride   = flag.Uint64("stride", 1, "from one seed to the next")
	replay   = flag.Uint64("seed", 0, "replay this seed alone, and print what happens")
	broken   = flag.String("mutant", "", "break this rule")
	hashed   = flag.Bool("hashes", false, "print the hash of each trace")
	deaths   = flag.Bool("deaths", true, "have rings die, too")
	child    = flag.Bool("child", false, "run the seeds in this process")
)

// The mutant and the trace of the runs of this process.
var (
	mutant simkernel.Mutant
	trace  io.Writer
	events bytes.Buffer // of a replay; printed at its end, so that printing disturbs nothing
)

// result is what came of a run.
type result struct {
	violations []string
	hash       uint64
	world      *world
}

// patience is how long one run may take of the real time.
const patience = 30 * time.Second

// slow is how long a run may take before it is told of.
const slow = 300 * time.Millisecond

// one runs one seed. When it does not end, its goroutines cannot be got rid of: the
// process must end.
func one(t *testing.T, seed uint64) (r result) {
	alarm := time.AfterFunc(patience, func() {
		fmt.Printf("seed %d does not come to rest\n", seed)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 2)
		fail(seed)
	})
	defer alarm.Stop()
	began := time.Now()
	defer func() {
		if took := time.Since(began); took > slow {
			fmt.Printf("seed %d took %v: %v\n", seed, took.Round(time.Millisecond), r.world)
		}
	}()
	// The collector would change the order of goroutines; it runs between the runs,
	// and in them when the seed says so.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	alignScheduler()
	synctest.Test(t, func(*testing.T) {
		w := &world{seed: seed, dice: simkernel.NewDice(seed), byFD: make(map[*fd.FD]*side)}
		r.world = w
		ended := w.run()
		r.violations, r.hash = w.k.Violations(), w.k.Hash()
		if !ended || len(r.violations) > 0 {
			fmt.Printf("seed %d:\n  %s\n%v\n", seed, strings.Join(r.violations, "\n  "), w)
			if trace != nil {
				_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			}
			fail(seed)
		}
	})
	return r
}

// alignScheduler brings the scheduler of the only P to the same state before each
// run: every 61st time it looks at its queues in another order, which shows when a
// goroutine that was started runs later than one that yielded.
func alignScheduler() {
	for range 1000 {
		ran := false
		go func() { ran = true }()
		runtime.Gosched()
		if !ran {
			runtime.Gosched()
			return
		}
	}
}

// fail ends the process, with the command that plays the seed again.
func fail(seed uint64) {
	_, _ = events.WriteTo(os.Stdout)
	if mutant == "" {
		fmt.Printf("replay it with: GOMAXPROCS=1 go test -tags sim ./internal/sim -run '^TestSeeds$' -seed=%d%s\n", seed, map[bool]string{false: " -deaths=false"}[*deaths])
	}
	os.Exit(3)
}

// TestSeeds runs the seeds, on all cores.
func TestSeeds(t *testing.T) {
	switch {
	case *replay != 0:
		trace = &events
		mutant = simkernel.Mutant(*broken)
		runtime.GOMAXPROCS(1)
		r := one(t, *replay)
		fmt.Printf("%s%v\nhash %#x\n", &events, r.world, r.hash)
	case *child:
		mutant = simkernel.Mutant(*broken)
		runSeeds(t)
	default:
		var wait sync.WaitGroup
		n := runtime.NumCPU()
		for i := range n {
			wait.Go(func() {
				count := (*seeds + n - 1 - i) / n
				out, err := process(fmt.Sprint("-seeds=", count), fmt.Sprint("-first=", *first+uint64(i)), fmt.Sprint("-stride=", n), fmt.Sprint("-duration=", *duration), fmt.Sprint("-deaths=", *deaths))
				if err != nil {
					t.Errorf("%v\n%s", err, out)
					return
				}
				t.Logf("%s", out)
			})
		}
		wait.Wait()
	}
}

// process runs seeds in a process of its own, on one P.
func process(args ...string) (string, error) {
	c := exec.Command(os.Args[0], append([]string{"-test.run=^TestSeeds$", "-child"}, args...)...)
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

func runSeeds(t *testing.T) {
	began := time.Now()
	played := make(map[string]int)
	n := 0
	for ; *duration == 0 && n < *seeds || *duration > 0 && time.Since(began) < *duration; n++ {
		r := one(t, *first+uint64(n)**stride)
		if *hashed {
			fmt.Printf("hash %d %x\n", *first+uint64(n)**stride, r.hash)
		}
		for what, times := range r.world.k.Played {
			played[what] += times
		}
	}
	fmt.Printf("%d seeds in %v: %v\n", n, time.Since(began).Round(time.Millisecond), played)
}
