package segment

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"retort/ledger"
)

// pebbleReads reads a log with pebble's own reader and returns its frames and what
// it ends with.
func pebbleReads(b []byte) (all [][]byte, end error) {
	r := record.NewReader(bytes.NewReader(b), 0)
	for {
		next, err := r.Next()
		if err != nil {
			return all, err
		}
		f, err := io.ReadAll(next)
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

// On a disk a log has zeros behind it while it is written, and none when it is
// finished. Pebble's reader reads both.
func TestSpaceIsSetAsideAndCutOff(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Option{Raw: true, SegmentBytes: 2 << 20})
	const n = 40
	for i := range n {
		if err := s.Append(context.Background(), ledger.Record{Kind: "test", Body: body(i, 10_000)}); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, s.id+"-000001.log")
	read := func() []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	open := read()
	if step := 2 << 20 / asideShare; len(open)%step != 0 || len(open)-int(s.durable) < step/2 || len(open)-int(s.durable) > 2*step {
		t.Errorf("%d bytes of records in a file of %d", s.durable, len(open))
	}
	if all, err := pebbleReads(open); len(all) != n+1 || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, record.ErrUnexpectedEOF) {
		t.Errorf("while it is written pebble reads %d frames and ends with %v", len(all), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := read()
	if all, err := pebbleReads(closed); len(all) != n+2 || err != io.EOF {
		t.Errorf("pebble reads %d frames of the finished log and ends with %v", len(all), err)
	}
	if want := int(s.durable); len(closed) != want+chunkSize+1+8+8+hashSize {
		t.Errorf("the finished log has %d bytes, and its records end at %d", len(closed), want)
	}
	if !bytes.Equal(closed[:s.durable], open[:s.durable]) {
		t.Error("the records were changed")
	}
}

// Wherever a crash cuts off what was set aside, and whatever of the closing it
// leaves: no record is lost and nothing is damaged.
func TestFreeSpaceMayEndAnywhere(t *testing.T) {
	for _, crash := range []bool{true, false} {
		l := buildWith(t, Option{SegmentBytes: 1 << 20, Raw: true}, 6, 2, 3000, crash)
		name := l.logs[0]
		whole := l.read(t, name)
		all, offsets := frames(t, whole)
		last := len(all) - 1
		end := int(offsets[last]) + chunkSize + len(all[last])
		if len(whole)-end < 4<<10 {
			t.Fatalf("%d bytes were set aside", len(whole)-end)
		}
		check := func(b []byte, good int, closed bool) {
			t.Helper()
			l.write(t, name, b)
			rep, err := Verify(context.Background(), "l", Option{FS: l.fs})
			if err != nil || len(rep.Damage) > 0 || rep.Records != 6 {
				t.Fatalf("file of %d bytes: %+v, %v", len(b), rep, err)
			}
			written := max(good, len(bytes.TrimRight(b, "\x00")))
			few := 0 // zeros at the end, of which nobody can say what they are
			if len(b)-written < chunkSize {
				few = len(b) - written
			}
			s := rep.Segments[0]
			torn, more := int(s.Torn)-(written-good), int(s.Bytes)-written
			if s.Closed != closed || torn < 0 || torn > few || more < 0 || more > few {
				t.Fatalf("file of %d bytes, of which %d are good and %d written: %+v", len(b), good, written, s)
			}
		}
		for size := end; size <= len(whole); size++ {
			if size < end+100 || size > len(whole)-100 || size%97 == 0 {
				check(whole[:size], end, !crash)
			}
		}
		if crash {
			continue
		}
		for cut := int(offsets[last]); cut < end; cut++ { // of the closing only a part was written
			b := slices.Clone(whole)
			if clear(b[cut:end]); b[end-1] != whole[end-1] {
				check(b, int(offsets[last]), false)
			}
		}
	}
}

// A reader that has found out how long a file is reads it to its end although its
// writer finishes it and cuts it meanwhile.
func TestALogIsCutWhileItIsRead(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Option{Raw: true})
	const n = 30
	for i := range n {
		if err := s.Append(context.Background(), rec(i)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenReader(dir, Option{})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	src := source{writer: s.id, segment: 1, log: true}
	l, err := openLog(r.fs, r.dir, src, func(d Damage) { t.Error(d) }, func(*entry, int64) error { got++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	size, err := l.size()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if now, err := l.size(); err != nil || now >= size {
		t.Fatalf("%d bytes, then %d, %v", size, now, err)
	}
	if err := l.run(context.Background(), size, 0); err != nil || got != n || !l.closed || l.torn != 0 {
		t.Errorf("%d records, closed %v, torn end of %d bytes, %v", got, l.closed, l.torn, err)
	}
	if err := l.finish(); err != nil {
		t.Error(err)
	}
}

// A log of another process is followed while it is written, in and beyond the space
// that was set aside: each record once, in its order, and nothing seems broken.
func TestAFollowerSeesEachRecordOnce(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Option{Raw: true, SegmentBytes: 4 << 20})
	n := 1500
	if testing.Short() {
		n = 300
	}
	go func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for i := 0; i < n; {
			var recs []ledger.Record
			for range 1 + rng.IntN(3) {
				r := ledger.Record{Kind: "test", Time: int64(i)}
				switch rng.IntN(4) {
				case 0:
				case 1:
					r.Body = body(i, rng.IntN(90_000))
				case 2:
					r.Body = make([]byte, rng.IntN(90_000)) // zeros, as free space is
				default:
					r.Body = body(i, rng.IntN(3000))
				}
				recs = append(recs, r)
				i++
			}
			if err := s.Append(context.Background(), recs...); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	r, err := OpenReader(dir, Option{Poll: 50 * time.Microsecond, OnDamage: func(d Damage) { t.Error(d) }})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	next := 0
	if err := r.Tail(t.Context(), nil, func(r ledger.Record) error {
		if r.Time != int64(next) {
			t.Errorf("record %d where %d was expected", r.Time, next)
			return stop
		}
		if next++; next >= n {
			return stop
		}
		return nil
	}); err != stop {
		t.Fatal(err)
	}
}

// Following a log in which nothing happens reads a block or two of what lies free,
// however much that is; and what comes into it is found.
func TestFollowingIsCheapWhileNothingHappens(t *testing.T) {
	mem := vfs.NewMem()
	var reads atomic.Int64
	s := mustOpen(t, "l", Option{FS: mem, Raw: true})
	r, err := OpenReader("l", Option{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt { // of a block at most
			reads.Add(1)
		}
		return nil
	}))})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	tail := r.newTail(nil, func(ledger.Record) error { got++; return nil })
	defer tail.close()
	look := func() int64 {
		t.Helper()
		reads.Store(0)
		if err := tail.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return reads.Load()
	}
	for i := range 20 {
		if err := s.Append(t.Context(), rec(i)); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // at the second, what it has set aside is there
			continue
		}
		switch n := look(); {
		case i == 1 && n < 32:
			t.Errorf("the first look made %d reads: nothing was set aside", n)
		case i > 1 && n > 6:
			t.Errorf("a look at a new record made %d reads", n)
		}
		if got != i+1 {
			t.Fatalf("%d records of %d", got, i+1)
		}
		for range 3 {
			if n := look(); n > 2 {
				t.Errorf("a look at nothing new made %d reads", n)
			}
		}
	}
}

// What a follower has seen a part of, in what lay free, it delivers once all of it is
// there, also if the rest of the block that it ends in stays zeros.
func TestAWriteUnderWayIsFoundOnceItIsThere(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "l", Option{FS: mem, Raw: true})
	for _, r := range []ledger.Record{rec(1), {Kind: "test", Body: make([]byte, 100_000)}, rec(2)} {
		if err := s.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	name := "l/" + s.id + "-000001.log"
	whole, err := mem.UnsafeGetFileDataBuffer(name)
	if err != nil {
		t.Fatal(err)
	}
	_, offsets := frames(t, whole)
	at, next := offsets[2], offsets[3] // of the zeros, and behind them
	fs := vfs.NewMem()
	if err := fs.MkdirAll("l", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := OpenReader("l", Option{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	tail := r.newTail(nil, func(ledger.Record) error { got++; return nil })
	defer tail.close()
	free := make([]byte, int64(len(whole))-at-300)
	for i, step := range []struct {
		b    []byte
		at   int64
		want int
	}{
		{whole[:at+300], 0, 1},
		{free, at + 300, 1},
		{nil, 0, 1},
		{whole[at+300 : next], at + 300, 2},
		{whole[next:], next, 3},
	} {
		if _, err := f.WriteAt(step.b, step.at); err != nil {
			t.Fatal(err)
		}
		if err := tail.look(t.Context()); err != nil || got != step.want {
			t.Fatalf("step %d: %d records, want %d, %v", i, got, step.want, err)
		}
	}
}

// That no space can be set aside is no reason to record nothing. What stops the
// records themselves is.
func TestSpaceThatCannotBeSetAsideIsDoneWithout(t *testing.T) {
	for what, kind := range map[string]errorfs.OpKind{"write": errorfs.OpFileWriteAt, "sync": errorfs.OpFileSyncData} {
		mem := vfs.NewCrashableMem()
		var aside, full atomic.Bool
		failed := make(chan struct{}, 100)
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch {
			case op.Kind == errorfs.OpFileWriteAt:
				aside.Store(true)
			case op.Kind == errorfs.OpFileWrite:
				aside.Store(false)
			}
			if op.Kind == kind && aside.Load() || op.Kind == errorfs.OpFileWrite && full.Load() {
				failed <- struct{}{}
				return syscall.ENOSPC
			}
			return nil
		}))
		s := mustOpen(t, "l", Option{FS: fs, Raw: true, SegmentBytes: 1 << 20})
		for i := range 20 {
			if err := s.Append(t.Context(), rec(i)); err != nil {
				t.Fatalf("%s: record %d: %v", what, i, err)
			}
			if i == 0 { // space is set aside once nobody waits
				<-failed
			}
		}
		if n := len(failed); n > 0 {
			t.Errorf("%s: %d failures more than that of the first attempt", what, n)
		}
		full.Store(true)
		if err := s.Append(t.Context(), rec(20)); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: on a full disk: %v", what, err)
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		if rep, err := Verify(t.Context(), "l", Option{FS: crashed}); err != nil || len(rep.Damage) > 0 || rep.Records != 20 || rep.Segments[0].Torn > 0 {
			t.Errorf("%s: %+v, %v", what, rep, err)
		}
	}
}

// What a crash left with free space behind it seals to an archive, whose bodies can
// be erased.
func TestFreeSpaceIsNotSealed(t *testing.T) {
	l := buildWith(t, Option{SegmentBytes: 1 << 20, Raw: true}, 6, 2, 3000, true)
	want := l.show(t)
	s := mustOpen(t, "l", Option{FS: l.fs, Raw: true})
	if done, err := s.Seal(t.Context()); err != nil || done.Segments != 1 || done.Records != 6 || len(done.Kept) > 0 {
		t.Fatalf("Seal: %+v, %v", done, err)
	}
	if got := l.show(t); got != want {
		t.Errorf("sealed:\n%sbefore:\n%s", got, want)
	}
	if done, err := s.Erase(t.Context(), func(ledger.Record) bool { return true }); err != nil || done.Bodies != 6 {
		t.Errorf("Erase: %+v, %v", done, err)
	}
	if rep, err := Verify(t.Context(), "l", Option{FS: l.fs}); err != nil || !rep.OK() || rep.Erased != 6 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// appendUntilKilled is the other process of TestAKilledWriterLosesNothing: it says
// of each record that it is durable.
func appendUntilKilled(dir string) int {
	s, err := Open(dir, Option{Raw: true, SegmentBytes: 1 << 20})
	for i := 0; err == nil; i++ {
		if err = s.Append(context.Background(), ledger.Record{Kind: "test", Time: int64(i), Body: body(i, i*i%50_000)}); err == nil {
			fmt.Println(i)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// A process is killed at any moment of its work, while it is followed: what it said
// was durable is there, and what was delivered of it stays.
func TestAKilledWriterLosesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	kills := 6
	if testing.Short() {
		kills = 2
	}
	followed := 0
	follower, err := OpenReader(dir, Option{Poll: time.Millisecond, OnDamage: func(d Damage) { t.Error(d) }})
	if err != nil {
		t.Fatal(err)
	}
	var cursor Cursor
	acked := 0
	for range kills {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "RETORT_TEST_APPEND="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- follower.Tail(ctx, &cursor, func(ledger.Record) error { followed++; return nil })
		}()
		in := bufio.NewScanner(out)
		last, at := 0, 20+rng.IntN(200)
		for in.Scan() {
			if last++; last == at {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		if last < at {
			t.Fatalf("it ended by itself after %d records: %s", last, stderr.String())
		}
		acked += last
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if err := follower.CatchUp(t.Context(), &cursor, func(ledger.Record) error { followed++; return nil }); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(t.Context(), dir, Option{})
	if err != nil || len(rep.Damage) > 0 || int(rep.Records) < acked || int(rep.Records) > acked+kills {
		t.Fatalf("%d records were acknowledged, %d kills: %+v, %v", acked, kills, rep, err)
	}
	if followed != int(rep.Records) {
		t.Errorf("the follower saw %d records of %d", followed, rep.Records)
	}
	s := mustOpen(t, dir, Option{})
	if done, err := s.Seal(t.Context()); err != nil || len(done.Kept) > 0 || done.Records != rep.Records {
		t.Errorf("Seal: %+v, %v", done, err)
	}
}
