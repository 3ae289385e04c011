package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of its own, or skips where that is not
// allowed.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small disk cannot be mounted here (%v): run as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room that a disk has left and returns the file that does.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := bytes.Repeat([]byte{1}, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestAFullDiskInAnyStageIsSaidAndNothingIsLost(t *testing.T) {
	path := write(t, tiny)
	disk := smallDisk(t, "256m")
	undisturbed := summary(t, t.TempDir(), path)
	ws := filepath.Join(disk, "ws")
	for _, stage := range []string{"collect", "dataset", "tokenizer", "train", "eval", "export"} {
		if killIn(t, ws, path, []string{stage}, 0) == "" {
			t.Fatalf("the run ended before it could be stopped in %s", stage)
		}
		ballast := fill(t, disk)
		r := retort(t, ws, "run", path)
		if r.code != exitFailed || !strings.Contains(r.stderr, "no space left on device") {
			t.Errorf("%s on a full disk: code %d: %s", stage, r.code, r.stderr)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
	s := summary(t, ws, path)
	if s.Dataset.Hash != undisturbed.Dataset.Hash || s.Model.Hash != undisturbed.Model.Hash {
		t.Error("with room again the run ended elsewhere")
	}
	checkBill(t, ws)
	if err := filepath.WalkDir(ws, func(p string, d fs.DirEntry, err error) error {
		if strings.Contains(d.Name(), ".tmp") {
			t.Errorf("something half-written is left: %s", p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
