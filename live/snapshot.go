package live

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/ringfd/ringfd"
)

// Snapshot is what a process says of itself and of a Backend.
type Snapshot struct {
	PID int `json:"pid"`
	// Program is the name of its executable, Version that of ringfd in it, as
	// its build has it ("(devel)" where it was built from a checkout), and Go is
	// the release that built it.
	Program string `json:"program"`
	Version string `json:"version"`
	Go      string `json:"go"`
	// Started is when Serve was called, and Uptime how long before the snapshot:
	// the difference of two is right even if the clock was set meanwhile.
	Started time.Time     `json:"started"`
	Uptime  time.Duration `json:"uptime_ns"`
	// Backend, Why and Features are Backend.Kind, Why and Features (the names,
	// comma separated, or "none").
	Backend  ringfd.Kind `json:"backend"`
	Why      string      `json:"why"`
	Features string      `json:"features"`
	// Stats has the names of ringfd.Stats in JSON too.
	Stats ringfd.Stats `json:"stats"`
}

// Source is what is shown. *ringfd.Backend is one.
type Source interface {
	Kind() ringfd.Kind
	Why() string
	Features() ringfd.Features
	Stats() ringfd.Stats
}

// about returns what all snapshots of a source have in common.
func about(source Source) Snapshot {
	return Snapshot{
		PID:      os.Getpid(),
		Program:  filepath.Base(os.Args[0]),
		Version:  version(),
		Go:       runtime.Version(),
		Started:  time.Now(),
		Backend:  source.Kind(),
		Why:      source.Why(),
		Features: source.Features().String(),
	}
}

const (
	module  = "github.com/ringfd/ringfd"
	unknown = "unknown" // built without modules
)

// version returns the version of ringfd in this program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != module {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version == "" {
			return "(devel)" // replaced by a folder
		}
		return m.Version
	}
	return unknown
}
