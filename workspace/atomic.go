package workspace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// AtomicFile is a file that appears under its name whole, or not at all. It is
// written under a temporary name in the same directory; Commit syncs it,
// renames it and syncs the directory.
type AtomicFile struct {
	disk  files
	file  file
	path  string
	tmp   string
	state string // what has become of it, for the error of a second Commit
}

// CreateAtomic starts a file that will appear at path, and replace what is
// there, when Commit is called. Its directory must exist.
func CreateAtomic(path string) (*AtomicFile, error) { return createAtomic(disk{}, path, 0o644) }

// WriteFileAtomic writes a whole file.
func WriteFileAtomic(path string, data []byte, perm fs.FileMode) error {
	return writeFileAtomic(disk{}, path, data, perm)
}

// WriteFileNew writes a whole file that is not there yet. One that is stays as it
// is: the error is then fs.ErrExist.
func WriteFileNew(path string, data []byte, perm fs.FileMode) error {
	f, err := createAtomic(disk{}, path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.commitNew()
}

// ReplaceDir publishes the directory tmp as final and replaces what is there.
// Both must have the same parent directory, or at least the same file system.
// All files and directories below tmp are synced first; then tmp is renamed and
// the parent of final synced. A crash may leave the replaced directory beside
// it under a name that ends in ".old", which the next ReplaceDir removes.
func ReplaceDir(tmp, final string) error { return replaceDir(disk{}, tmp, final) }

// PublishDir makes the directory final appear whole, or not at all. It creates
// final's parent where that is missing and gives fill an empty directory beside
// final to write into; when fill returns, everything in it is synced, it is
// renamed and the parent synced. A final that is there already is left alone:
// the error is then fs.ErrExist, before fill was called or after another
// process was faster. What killed processes left of the same name is removed.
func PublishDir(final string, fill func(tmp string) error) error {
	return publishDir(disk{}, final, fill)
}

// Name returns the path at which the file will appear.
func (f *AtomicFile) Name() string { return f.path }

// Write implements io.Writer.
func (f *AtomicFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	if err != nil {
		err = fmt.Errorf("write %s: %w", f.path, err)
	}
	return n, err
}

// Commit makes the file appear. After an error nothing has appeared and the
// temporary file is gone, unless the error is about syncing the directory.
func (f *AtomicFile) Commit() error { return f.commit(f.disk.Rename) }

// commitNew is Commit that leaves alone what is already there, with an error
// that is fs.ErrExist.
func (f *AtomicFile) commitNew() error {
	return f.commit(func(from, to string) error {
		if err := f.disk.Link(from, to); err != nil {
			return err
		}
		return f.disk.Remove(from)
	})
}

func (f *AtomicFile) commit(place func(from, to string) error) error {
	if f.state != "" {
		return fmt.Errorf("write %s: the file is already %s", f.path, f.state)
	}
	err := f.file.Sync()
	if cerr := f.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = place(f.tmp, f.path)
	}
	if err != nil {
		f.state = "aborted"
		f.disk.Remove(f.tmp)
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.state = "committed"
	if err := f.disk.SyncDir(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("write %s: sync its directory: %w", f.path, err)
	}
	return nil
}

// Abort forgets the file. After Commit it does nothing, so that it can be
// deferred.
func (f *AtomicFile) Abort() {
	if f.state == "" {
		f.state = "aborted"
		f.file.Close()
		f.disk.Remove(f.tmp)
	}
}

// files is what atomic writes need of a file system; a test puts one in its
// place that watches the order of calls.
type files interface {
	Create(path string, perm fs.FileMode) (file, error) // fails if it exists
	Rename(from, to string) error
	Link(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	Mkdir(path string) error
	SyncFile(path string) error
	SyncDir(path string) error // does nothing where directories cannot be synced
}

type file interface {
	io.Writer
	Sync() error
	Close() error
}

func createAtomic(d files, path string, perm fs.FileMode) (*AtomicFile, error) {
	tmp := path + "." + rand.Text()[:8] + ".tmp"
	f, err := d.Create(tmp, perm)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return &AtomicFile{disk: d, file: f, path: path, tmp: tmp}, nil
}

func writeFileAtomic(d files, path string, data []byte, perm fs.FileMode) error {
	f, err := createAtomic(d, path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

func replaceDir(d files, tmp, final string) error {
	if err := syncTree(d, tmp); err != nil {
		return fmt.Errorf("publish %s: %w", final, err)
	}
	old := final + ".old"
	if err := d.RemoveAll(old); err != nil {
		return fmt.Errorf("publish %s: %w", final, err)
	}
	replaced := true
	if err := d.Rename(final, old); errors.Is(err, fs.ErrNotExist) {
		replaced = false
	} else if err != nil {
		return fmt.Errorf("publish %s: move the old one away: %w", final, err)
	}
	if err := d.Rename(tmp, final); err != nil {
		if replaced {
			d.Rename(old, final)
		}
		return fmt.Errorf("publish %s: %w", final, err)
	}
	if err := d.SyncDir(filepath.Dir(final)); err != nil {
		return fmt.Errorf("publish %s: sync its parent: %w", final, err)
	}
	if replaced {
		if err := d.RemoveAll(old); err != nil {
			return fmt.Errorf("publish %s: remove the old one: %w", final, err)
		}
	}
	return nil
}

func publishDir(d files, final string, fill func(tmp string) error) (err error) {
	if _, err := os.Lstat(final); err == nil {
		return fmt.Errorf("publish %s: %w", final, fs.ErrExist)
	}
	parent := filepath.Dir(final)
	if err := mkdirAll(d, parent); err != nil {
		return fmt.Errorf("publish %s: %w", final, err)
	}
	clearAbandoned(d, final)
	tmp := filepath.Join(parent, fmt.Sprintf("%s%d-%s", unfinished(final), os.Getpid(), rand.Text()[:8]))
	if err := d.Mkdir(tmp); err != nil {
		return fmt.Errorf("publish %s: %w", final, err)
	}
	defer func() {
		if err != nil {
			d.RemoveAll(tmp)
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := syncTree(d, tmp); err != nil {
		return fmt.Errorf("publish %s: %w", final, err)
	}
	if err := d.Rename(tmp, final); err != nil {
		if occupied(err) {
			err = fs.ErrExist
		}
		return fmt.Errorf("publish %s: %w", final, err)
	}
	if err := d.SyncDir(parent); err != nil {
		return fmt.Errorf("publish %s: sync its parent: %w", final, err)
	}
	return nil
}

// unfinished begins the names of directories that are to become final, before
// the writing process's id.
func unfinished(final string) string {
	name := filepath.Base(final)
	return ".tmp-" + name[:min(len(name), 16)] + "-"
}

// clearAbandoned removes what killed processes left of final. What cannot be
// removed is only in the way of the disk's space.
func clearAbandoned(d files, final string) {
	entries, err := os.ReadDir(filepath.Dir(final))
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), unfinished(final))
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(digits); err == nil && pid != os.Getpid() && gone(pid) {
			d.RemoveAll(filepath.Join(filepath.Dir(final), e.Name()))
		}
	}
}

// syncTree syncs all files below dir, and the directories after what is in
// them.
func syncTree(d files, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = syncTree(d, path)
		case e.Type().IsRegular():
			err = d.SyncFile(path)
		}
		if err != nil {
			return err
		}
	}
	return d.SyncDir(dir)
}

// mkdirAll creates dir and its missing parents, each durable in its own parent.
func mkdirAll(d files, dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("create directory %s: a file is in its place", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirAll(d, parent); err != nil {
			return err
		}
	}
	if err := d.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.SyncDir(parent)
}

// disk is the real file system.
type disk struct{}

func (disk) Create(path string, perm fs.FileMode) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
}
func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Link(from, to string) error   { return os.Link(from, to) }
func (disk) Remove(path string) error     { return os.Remove(path) }
func (disk) RemoveAll(path string) error  { return os.RemoveAll(path) }
func (disk) Mkdir(path string) error      { return os.Mkdir(path, 0o755) }

func (disk) SyncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(path) // read-only files can be synced on unix
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
