package fd

import (
	"iter"
	"sync"
)

// Table maps FDs, by their ids, to values. The zero Table is empty and ready
// to use; it may be used by many goroutines. An entry holds only the id, so a
// Table keeps no FD alive. Ids are never reused: an entry cannot come to mean
// another connection.
type Table[V any] struct {
	mu      sync.RWMutex
	entries map[uint64]V
}

// Store sets the value for f.
func (t *Table[V]) Store(f *FD, v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		t.entries = make(map[uint64]V)
	}
	t.entries[f.id] = v
}

// Load returns the value for f, and whether there is one.
func (t *Table[V]) Load(f *FD) (V, bool) { return t.LoadID(f.id) }

// LoadID is Load by id.
func (t *Table[V]) LoadID(id uint64) (V, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.entries[id]
	return v, ok
}

// Delete removes the entry of f and returns what it was.
func (t *Table[V]) Delete(f *FD) (V, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.entries[f.id]
	delete(t.entries, f.id)
	return v, ok
}

// Len returns the number of entries.
func (t *Table[V]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.entries)
}

// All yields a snapshot of the entries by id, in no order. The table may be
// changed while it is being walked; the walk does not see it.
func (t *Table[V]) All() iter.Seq2[uint64, V] {
	return func(yield func(uint64, V) bool) {
		type entry struct {
			id uint64
			v  V
		}
		t.mu.RLock()
		snapshot := make([]entry, 0, len(t.entries))
		for id, v := range t.entries {
			snapshot = append(snapshot, entry{id, v})
		}
		t.mu.RUnlock()
		for _, e := range snapshot {
			if !yield(e.id, e.v) {
				return
			}
		}
	}
}
