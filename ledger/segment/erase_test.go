package segment

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"retort/ledger"
)

func TestErasedBodiesAreGoneAndTheChainVerifies(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	s := mustOpen(t, "l", Option{FS: fs, SegmentBytes: 8 << 10})
	const n = 60
	for i := range n {
		if err := s.Append(ctx, rec(i)); err != nil {
			t.Fatal(err)
		}
	}
	expired := func(r ledger.Record) bool { return r.Time < 1000+40 && r.Time%2 == 0 }
	if done, err := s.Erase(ctx, expired); err != nil || done.Bodies != 0 || done.Waiting != 20 {
		t.Errorf("before they are sealed: %+v %v", done, err)
	}
	if _, err := s.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	done, err := s.Erase(ctx, expired)
	if err != nil || done.Bodies != 20 || done.Waiting != 0 || done.Segments < 2 || done.Bytes == 0 {
		t.Errorf("%+v %v", done, err)
	}
	if again, err := s.Erase(ctx, expired); err != nil || again.Bodies != 0 || again.Segments != 0 {
		t.Errorf("again: %+v %v", again, err)
	}
	i := 0
	if err := s.Scan(ctx, func(r ledger.Record) error {
		want := rec(i)
		if gone := expired(want); gone != r.Erased || gone == (len(r.Body) > 0) || !gone && string(r.Body) != string(want.Body) || string(r.Head) != string(want.Head) {
			t.Errorf("record %d: %+v", i, r)
		}
		i++
		return nil
	}); err != nil || i != n {
		t.Errorf("%d records, %v", i, err)
	}
	if rep, err := Verify(ctx, "l", Option{FS: fs}); err != nil || !rep.OK() || rep.Erased != 20 {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestAnErasureThatFailsLeavesTheArchive has each operation on the disk fail in its
// turn.
func TestAnErasureThatFailsLeavesTheArchive(t *testing.T) {
	ctx := context.Background()
	all := func(ledger.Record) bool { return true }
	for k := 0; ; k++ {
		left := -1
		failing := errors.New("the disk says no")
		mem := vfs.NewMem()
		s, err := Open("l", Option{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if left < 0 {
				return nil
			}
			if left--; left < 0 {
				return failing
			}
			return nil
		}))})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if err := s.Append(ctx, rec(i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		left = k
		_, err = s.Erase(ctx, all)
		done := left >= 0 // no operation failed any more
		left = -1
		if done && err != nil {
			t.Fatal(err)
		}
		rep, verr := Verify(ctx, "l", Option{FS: mem})
		if verr != nil || !rep.OK() || rep.Records != 5 || rep.Erased != 0 && rep.Erased != 5 {
			t.Fatalf("after operation %d failed (%v): %+v %v", k, err, rep, verr)
		}
		if again, err := s.Erase(ctx, all); err != nil || again.Bodies+int(rep.Erased) != 5 {
			t.Fatalf("again, after operation %d failed: %+v %v", k, again, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if done {
			if k < 10 {
				t.Errorf("only %d operations", k)
			}
			return
		}
	}
}
