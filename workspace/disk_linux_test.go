package workspace

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// Nothing in /proc can be synced, and the kernel says so to who asks: that is
// how one sees that the real disk is asked at all.
func TestTheRealDiskIsAskedToSync(t *testing.T) {
	if err := (disk{}).SyncFile("/proc/self/comm"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a file that cannot be synced: %v, want %v", err, unix.EINVAL)
	}
	if err := (disk{}).SyncDir("/proc"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a directory that cannot be synced: %v, want %v", err, unix.EINVAL)
	}
	if err := (disk{}).SyncDir(t.TempDir()); err != nil {
		t.Errorf("a directory that can: %v", err)
	}
}
