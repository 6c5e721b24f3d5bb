package accept

import (
	"net"
	"os"
	"strings"
	"sync"
)

// Path is the path of a unix listener, which its Close removes. For backends.
//
// What is removed is the socket that was bound, not what has taken its place: a
// successor that has removed the path and bound it anew keeps its own. (Between the look
// and the removal another process can still do that; no system can remove an inode.)
type Path struct {
	mu    sync.Mutex
	name  string      // "": there is nothing to remove
	bound os.FileInfo // nil where it could not be looked at
	keep  bool
}

// Bound notes that addr has just been bound.
func (p *Path) Bound(addr net.Addr) {
	a, ok := addr.(*net.UnixAddr)
	if !ok || a.Name == "" || strings.HasPrefix(a.Name, "@") {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = a.Name
	p.bound, _ = os.Lstat(a.Name)
}

// SetUnlinkOnClose says whether Remove does anything.
func (p *Path) SetUnlinkOnClose(unlink bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = !unlink
}

// Remove removes the path, once. The socket must still be open: its inode would be given
// to another else.
func (p *Path) Remove() {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := p.name
	p.name = ""
	if name == "" || p.keep {
		return
	}
	if p.bound != nil {
		if now, err := os.Lstat(name); err != nil || !os.SameFile(now, p.bound) {
			return
		}
	}
	_ = os.Remove(name)
}
