package workspace

import (
	"os"
	"testing"
)

func TestHoldersAreThoseWhoHoldALockNow(t *testing.T) {
	w, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if who, err := w.Holders(); err != nil || len(who) != 0 {
		t.Errorf("in a new workspace: %v, %v", who, err)
	}
	lock, err := w.Lock("runs/a-1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.Lock("runs/b 2")
	if err != nil {
		t.Fatal(err)
	}
	// A file that a killed process left behind is no lock.
	if err := os.WriteFile(w.Path("locks", "runs%2Fdead.lock"), []byte(`{"pid":1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	who, err := w.Holders()
	if err != nil || len(who) != 2 || who[0].Name != "runs/a-1" || who[1].Name != "runs/b 2" || who[0].Holder.PID != os.Getpid() {
		t.Errorf("%v, %v", who, err)
	}
	for _, l := range []*Lock{lock, other} {
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
	if who, err := w.Holders(); err != nil || len(who) != 0 {
		t.Errorf("after all have let go: %v, %v", who, err)
	}
}
