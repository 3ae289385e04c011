package reference

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTheBillsNameIsDurable: a crash must not take the file away with its lines.
// /proc is a directory that says so when it is asked to sync.
func TestTheBillsNameIsDurable(t *testing.T) {
	if err := syncDir("/proc"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("syncing /proc gives %v: it was not asked to", err)
	}
	if err := syncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	path, lost := filepath.Join(t.TempDir(), "bill.jsonl"), errors.New("lost")
	asked := ""
	_, err := openBill(path, func(dir string) error { asked = dir; return lost })
	if !errors.Is(err, lost) || asked != filepath.Dir(path) {
		t.Errorf("opening a bill in a directory that cannot be synced: %v; %q was synced", err, asked)
	}
}
