// Package ledgertest is the harness that every ledger store must pass: it
// crashes the machine under the store at every operation on the file system,
// and at random moments of concurrent work, fails every operation in turn, and
// checks what is there afterwards.
//
// What a store owes: each acknowledged record is there, intact and in the order
// of its appender; nothing that was never appended appears; the store's own
// verification agrees; and after a failed write nothing is acknowledged.
//
// It is used by tests and by nothing else.
package ledgertest

import (
	"io"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a file system in memory that forgets, in a crash, what was not
// synced. It is stricter than the MemFS below it: a file that was removed and
// whose directory was not synced since may be gone after a crash although
// entries that were added before are not yet there, since a real file system
// need not write the changes of a directory in their order.
type Disk struct {
	*vfs.MemFS
	mu      sync.RWMutex               // a crash excludes removals, locks and syncs of directories
	removed map[string]map[string]bool // directory → names whose removal is not yet durable
	names   sync.Mutex                 // guards removed among concurrent operations
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return newDisk(vfs.NewCrashableMem()) }

func newDisk(mem *vfs.MemFS) *Disk {
	return &Disk{MemFS: mem, removed: make(map[string]map[string]bool)}
}

// Crash returns the disk as it may be found after a crash at this moment. Each
// block of data and each change of a directory that was not synced survives
// with the given probability in percent; 0 keeps exactly what was synced.
func (d *Disk) Crash(percent int, rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	clone := d.MemFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	for dir, names := range d.removed {
		for name := range names {
			path := d.PathJoin(dir, name)
			if _, err := d.Stat(path); err == nil || rng.IntN(100) >= max(percent, 50) {
				continue // made anew since, or the removal is forgotten
			}
			if err := clone.Remove(path); err == nil {
				syncClone(clone, dir)
			}
		}
	}
	return newDisk(clone)
}

func syncClone(fs *vfs.MemFS, dir string) {
	if f, err := fs.OpenDir(dir); err == nil {
		f.Sync()
		f.Close()
	}
}

// Remove implements vfs.FS.
func (d *Disk) Remove(name string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.MemFS.Remove(name); err != nil {
		return err
	}
	d.names.Lock()
	defer d.names.Unlock()
	dir := d.PathDir(name)
	if d.removed[dir] == nil {
		d.removed[dir] = make(map[string]bool)
	}
	d.removed[dir][d.PathBase(name)] = true
	return nil
}

// Lock implements vfs.FS. MemFS would deadlock with a crash at the same time.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.MemFS.Lock(name)
}

// OpenDir implements vfs.FS.
func (d *Disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.MemFS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &directory{File: f, disk: d, name: name}, nil
}

type directory struct {
	vfs.File
	disk *Disk
	name string
}

// Sync implements vfs.File.
func (f *directory) Sync() error {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	f.disk.names.Lock()
	defer f.disk.names.Unlock()
	err := f.File.Sync()
	if err == nil {
		delete(f.disk.removed, f.name)
	}
	return err
}
