package segment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"retort/exchange"
	"retort/ledger"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("RETORT_TEST_APPEND"); dir != "" {
		os.Exit(appendUntilKilled(dir))
	}
	goleak.VerifyTestMain(m)
}

func rec(n int) ledger.Record {
	var id exchange.ID
	id[0], id[15] = 1, byte(n)
	return ledger.Record{
		Kind: "test", Exchange: id, Time: int64(1000 + n),
		Head: fmt.Appendf(nil, `{"n":%d}`, n),
		Body: []byte(strings.Repeat(fmt.Sprintf("body %d ", n), 1+n*n%700)),
	}
}

func heads(t *testing.T, r ledger.Reader) []string {
	t.Helper()
	var got []string
	if err := r.Scan(context.Background(), func(r ledger.Record) error {
		got = append(got, string(r.Head))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func mustOpen(t *testing.T, dir string, opt Option) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRecordsComeBackAsTheyWereAppended(t *testing.T) {
	for name, opt := range map[string]Option{"disk": {}, "memory": {FS: vfs.NewMem()}, "raw, disk": {Raw: true}, "raw, memory": {FS: vfs.NewMem(), Raw: true}} {
		dir := "ledger"
		if opt.FS == nil {
			dir = t.TempDir()
		}
		opt.SegmentBytes = 8 << 10
		s := mustOpen(t, dir, opt)
		want := []ledger.Record{}
		for i := range 60 {
			r := rec(i)
			if i == 7 {
				r.Body = nil
			}
			if i == 8 {
				r.Head = nil
			}
			want = append(want, r)
		}
		ctx := context.Background()
		for i := 0; i < len(want); i += 3 {
			if err := s.Append(ctx, want[i:i+3]...); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, r ledger.Reader) {
			t.Helper()
			i := 0
			err := r.Scan(ctx, func(got ledger.Record) error {
				w := want[i]
				if got.Kind != w.Kind || got.Exchange != w.Exchange || got.Time != w.Time || string(got.Head) != string(w.Head) || string(got.Body) != string(w.Body) || got.Erased {
					t.Fatalf("%s, %s: record %d is %v, want %v", name, when, i, got, w)
				}
				i++
				return nil
			})
			if err != nil || i != len(want) {
				t.Fatalf("%s, %s: %d records, %v, want %d", name, when, i, err, len(want))
			}
		}
		check("while open", s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReader(dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		check("closed", r)
		s2 := mustOpen(t, dir, opt)
		done, err := s2.Seal(ctx)
		if err != nil || done.Segments < 2 || done.Records != uint64(len(want)) || len(done.Kept) > 0 {
			t.Fatalf("%s: Seal = %+v, %v", name, done, err)
		}
		check("sealed", r)
		rep, err := Verify(ctx, dir, opt)
		if err != nil || !rep.OK() || rep.Records != uint64(len(want)) || len(rep.Damage) > 0 {
			t.Fatalf("%s: Verify = %+v, %v", name, rep, err)
		}
		names, _ := s.fs.List(s.dir)
		for _, n := range names {
			if !strings.HasSuffix(n, ".parquet") && n != sealLock {
				t.Errorf("%s: left behind: %s", name, n)
			}
		}
	}
}

func TestConcurrentAppendsKeepEachCallersOrder(t *testing.T) {
	opt := Option{FS: vfs.NewMem(), SegmentBytes: 16 << 10}
	s := mustOpen(t, "ledger", opt)
	const writers, each = 8, 40
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				r := ledger.Record{Kind: "test", Time: 1, Head: fmt.Appendf(nil, `[%d,%d]`, w, i), Body: []byte("x")}
				if err := s.Append(context.Background(), r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	next := make([]int, writers)
	for _, h := range heads(t, s) {
		var w, i int
		fmt.Sscanf(h, "[%d,%d]", &w, &i)
		if i != next[w] {
			t.Fatalf("writer %d: record %d where %d was expected", w, i, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d records of %d", w, n, each)
		}
	}
}

func TestTwoStoresOnOneDirectory(t *testing.T) {
	opt := Option{SegmentBytes: 4 << 10}
	dir := t.TempDir()
	a, b := mustOpen(t, dir, opt), mustOpen(t, dir, opt)
	ctx := context.Background()
	for i := range 30 {
		if err := a.Append(ctx, rec(i)); err != nil {
			t.Fatal(err)
		}
		if err := b.Append(ctx, rec(100+i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(heads(t, a)); n != 60 {
		t.Errorf("%d records, want 60", n)
	}
	// a seals what b has finished, and leaves alone what b is writing.
	if _, err := a.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Append(ctx, rec(130)); err != nil {
		t.Fatal(err)
	}
	if n := len(heads(t, b)); n != 61 {
		t.Errorf("after sealing: %d records, want 61", n)
	}
	if rep, err := Verify(ctx, dir, opt); err != nil || !rep.OK() || rep.Records != 61 {
		t.Errorf("Verify = %+v, %v", rep, err)
	}
}

func TestTailDeliversEachRecordOnceThroughRollsAndSeals(t *testing.T) {
	for _, raw := range []bool{false, true} {
		t.Run(fmt.Sprintf("raw %v", raw), func(t *testing.T) {
			tailOnce(t, Option{FS: vfs.NewMem(), SegmentBytes: 16 << 10, Poll: 1e6, Raw: raw})
		})
	}
}

func tailOnce(t *testing.T, opt Option) {
	a, b := mustOpen(t, "ledger", opt), mustOpen(t, "ledger", opt)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reader, err := OpenReader("ledger", opt)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1000)
	ended := make(chan error, 1)
	var cursor Cursor
	go func() {
		ended <- reader.Tail(ctx, &cursor, func(r ledger.Record) error {
			got <- string(r.Head)
			return nil
		})
	}()
	seen := make(map[string]int)
	const n = 60
	for i := range n {
		if err := a.Append(ctx, rec(i)); err != nil {
			t.Fatal(err)
		}
		if err := b.Append(ctx, rec(100+i)); err != nil {
			t.Fatal(err)
		}
		if i%20 == 19 {
			if _, err := a.Seal(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if i%7 == 0 { // let the tail catch up now and then
			for len(seen) < 2*(i+1) {
				seen[<-got]++
			}
		}
	}
	for len(seen) < 2*n {
		seen[<-got]++
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Tail ended with %v", err)
	}
	for h, times := range seen {
		if times != 1 {
			t.Errorf("record %s was delivered %d times", h, times)
		}
	}
	if len(got) > 0 {
		t.Errorf("%d records more than were appended", len(got))
	}
	// A later Tail goes on where the cursor is.
	if err := a.Append(context.Background(), rec(99)); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := reader.Tail(context.Background(), &cursor, func(r ledger.Record) error {
		if string(r.Head) != `{"n":99}` {
			t.Errorf("the cursor led to %s", r.Head)
		}
		return stop
	}); err != stop {
		t.Error(err)
	}
}

// CatchUp delivers what is there, each record once, and does not wait for more.
func TestCatchUpEndsWhereTheLedgerDoes(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Option{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := OpenReader(dir, Option{})
	if err != nil {
		t.Fatal(err)
	}
	var cursor Cursor
	seen := 0
	for round, n := range []int{0, 3, 0, 5} {
		for range n {
			rec, err := ledger.NewRun(1, "x")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Append(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
		}
		before := seen
		if err := r.CatchUp(t.Context(), &cursor, func(ledger.Record) error { seen++; return nil }); err != nil {
			t.Fatal(err)
		}
		if seen-before != n {
			t.Errorf("round %d: %d records, and %d were appended", round, seen-before, n)
		}
	}
}
