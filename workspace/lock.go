package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// ErrInUse says that somebody else holds a lock. The error that wraps it is an
// *InUseError.
var ErrInUse = errors.New("in use")

// InUseError names the holder of a lock.
type InUseError struct {
	Name   string // what is locked
	Holder Holder // zero if the holder has not yet said who it is
}

// Holder is the process that holds a lock.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// Error implements error.
func (e *InUseError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("%s is in use by another process", e.Name)
	}
	return fmt.Sprintf("%s is in use by process %d on %s since %s: wait for it, or stop it",
		e.Name, e.Holder.PID, e.Holder.Host, e.Holder.Since.Local().Format(time.DateTime))
}

// Unwrap returns ErrInUse.
func (e *InUseError) Unwrap() error { return ErrInUse }

// Lock is a held lock. The operating system releases it when the process ends,
// however it ends.
type Lock struct {
	file *os.File
	path string
}

// Lock takes the exclusive advisory lock of a name, such as "runs/quickstart",
// without waiting. It excludes other processes and other callers in this one.
func (w *Workspace) Lock(name string) (*Lock, error) {
	dir := w.Path("locks")
	if err := mkdirAll(disk{}, dir); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	path := filepath.Join(dir, url.PathEscape(name)+".lock")
	for {
		l, again, err := tryPath(name, path)
		if err != nil || !again {
			return l, err
		}
	}
}

// tryPath tries once. The holder removes the file as it unlocks, so a lock
// counts only if the file is still the one at path; otherwise try again.
func tryPath(name, path string) (l *Lock, again bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	ok, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	if !ok {
		e := &InUseError{Name: name}
		if text, err := io.ReadAll(io.LimitReader(f, 4096)); err == nil {
			// What cannot be read leaves the holder unnamed.
			_ = json.Unmarshal(text, &e.Holder)
		}
		f.Close()
		return nil, false, e
	}
	mine, err := f.Stat()
	if err == nil {
		there, serr := os.Stat(path)
		if serr != nil || !os.SameFile(mine, there) {
			f.Close()
			return nil, true, nil
		}
		err = sign(f)
	}
	if err != nil {
		f.Close()
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	return &Lock{file: f, path: path}, false, nil
}

func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	text, err := json.Marshal(Holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, '\n'), 0)
	return err
}

// Unlock releases the lock. A second call does nothing.
func (l *Lock) Unlock() error {
	if l.file == nil {
		return nil
	}
	// Removed while it is held, so that nobody locks a file that is about to
	// go; where open files cannot be removed it stays, unlocked.
	os.Remove(l.path)
	err := l.file.Close()
	l.file = nil
	return err
}
