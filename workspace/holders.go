package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Holders lists who holds which lock now, by name. A lock whose holder died is
// nobody's. It looks for as long as a lock takes to be tried: a process that
// takes the same free lock at that very moment finds it in use.
func (w *Workspace) Holders() ([]InUseError, error) {
	dir := w.Path("locks")
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("who holds %s: %w", w.Dir, err)
	}
	var out []InUseError
	for _, f := range files {
		escaped, ok := strings.CutSuffix(f.Name(), ".lock")
		name, err := url.PathUnescape(escaped)
		if !ok || err != nil {
			continue // not a lock of ours
		}
		lock, _, err := tryPath(name, filepath.Join(dir, f.Name()))
		var held *InUseError
		switch {
		case errors.As(err, &held):
			out = append(out, *held)
		case err != nil:
			return nil, err
		case lock != nil:
			if err := lock.Unlock(); err != nil {
				return nil, fmt.Errorf("who holds %s: %w", name, err)
			}
		}
	}
	return out, nil
}
