package segment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/parquet-go/parquet-go"

	"retort/ledger"
)

func TestAFailedSyncPoisonsTheStore(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileSyncData {
			full.Store(false) // the next sync would succeed
			return syscall.ENOSPC
		}
		return nil
	}))
	s := mustOpen(t, "l", Option{FS: fs})
	ctx := context.Background()
	if err := s.Append(ctx, rec(1)); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	for range 2 { // the failure, and after it
		err := s.Append(ctx, rec(2))
		if !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Append returned %v", err)
		}
	}
	if _, err := s.Seal(ctx); !errors.Is(err, ErrPoisoned) {
		t.Errorf("Seal returned %v", err)
	}
	if got := heads(t, s); len(got) != 1 || got[0] != `{"n":1}` {
		t.Errorf("the store shows %v", got)
	}
	if err := s.Close(); !errors.Is(err, ErrPoisoned) {
		t.Errorf("Close returned %v", err)
	}
	again := mustOpen(t, "l", Option{FS: mem})
	if err := again.Append(ctx, rec(3)); err != nil {
		t.Errorf("a new store on the same directory: %v", err)
	}
}

func TestAppendRefusesWhatCouldNotBeReadBack(t *testing.T) {
	s := mustOpen(t, "l", Option{FS: vfs.NewMem()})
	ctx := context.Background()
	for _, r := range []ledger.Record{
		{},
		{Kind: ledger.Kind(strings.Repeat("x", 65))},
		{Kind: "\xff"},
		{Kind: "test", Head: []byte(`{"a":`)},
		{Kind: "test", Head: []byte("\"\xff\"")},
		{Kind: "test", Erased: true},
		{Kind: ledger.KindFragment, Body: make([]byte, ledger.MaxFragment+1)},
	} {
		if err := s.Append(ctx, rec(1), r); err == nil {
			t.Errorf("appended %.80v", r)
		}
	}
	if err := s.Append(ctx); err != nil {
		t.Errorf("appending nothing: %v", err)
	}
	if names, _ := s.fs.List("l"); len(names) > 0 {
		t.Errorf("refused records left %v", names)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Append(cancelled, rec(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, rec(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := s.Seal(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Seal after Close: %v", err)
	}
}

func TestDamageWithoutAListenerIsAnErrorAfterTheRest(t *testing.T) {
	l := build(t, 6, 2, 40, 1<<20, false)
	l.tamper(t, []string{"flip", "3"})
	r, err := OpenReader("l", Option{FS: l.fs})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = r.Scan(context.Background(), func(ledger.Record) error { n++; return nil })
	var damage *DamageError
	if n != 5 || !errors.As(err, &damage) || damage.Damage[0].First != 3 || !strings.Contains(err.Error(), l.logs[0]+" offset 460") {
		t.Errorf("%d records and %v", n, err)
	}
	n = 0
	err = r.Tail(context.Background(), nil, func(ledger.Record) error { n++; return nil })
	if n != 5 || !errors.As(err, &damage) {
		t.Errorf("Tail: %d records and %v", n, err)
	}
}

func TestSealKeepsADamagedLog(t *testing.T) {
	l := build(t, 6, 2, 40, 400, false)
	l.tamper(t, []string{"flip", "2"})
	before := l.read(t, l.logs[0])
	s := mustOpen(t, "l", Option{FS: l.fs})
	done, err := s.Seal(context.Background())
	if err != nil || done.Segments != 2 || len(done.Kept) != 1 || !strings.Contains(done.Kept[0], "offset 307") {
		t.Fatalf("Seal: %+v, %v", done, err)
	}
	if !bytes.Equal(before, l.read(t, l.logs[0])) {
		t.Error("the damaged log was changed")
	}
	names, _ := l.fs.List("l")
	for _, n := range names {
		if strings.HasSuffix(n, tmpSuffix) {
			t.Errorf("left behind: %s", n)
		}
	}
}

func TestSealTakesWhatACrashLeft(t *testing.T) {
	for _, cut := range []int{0, 10, 200, 100_000} {
		l := build(t, 6, 2, 40, 1<<20, true)
		if b := l.read(t, l.logs[0]); cut < len(b) {
			l.write(t, l.logs[0], b[:len(b)-cut])
		} else {
			l.write(t, l.logs[0], nil) // created, and nothing written
		}
		s := mustOpen(t, "l", Option{FS: l.fs})
		want := len(heads(t, s))
		done, err := s.Seal(context.Background())
		if err != nil || len(done.Kept) > 0 || done.Records != uint64(want) {
			t.Fatalf("cut by %d: Seal: %+v, %v", cut, done, err)
		}
		if got := len(heads(t, s)); got != want {
			t.Errorf("cut by %d: %d records after the seal, %d before", cut, got, want)
		}
		names, _ := l.fs.List("l")
		for _, n := range names {
			if strings.HasSuffix(n, logSuffix) || strings.HasSuffix(n, lockSuffix) && n != sealLock {
				t.Errorf("cut by %d: left behind: %s", cut, n)
			}
		}
	}
}

func TestSealLeavesALivingWriterAlone(t *testing.T) {
	fs := vfs.NewMem()
	a, b := mustOpen(t, "l", Option{FS: fs}), mustOpen(t, "l", Option{FS: fs})
	ctx := context.Background()
	if err := b.Append(ctx, rec(1)); err != nil {
		t.Fatal(err)
	}
	done, err := a.Seal(ctx)
	if err != nil || done.Segments != 0 || len(done.Kept) != 0 {
		t.Fatalf("Seal: %+v, %v", done, err)
	}
	if err := b.Append(ctx, rec(2)); err != nil {
		t.Fatal(err)
	}
	lock, err := fs.Lock("l/" + sealLock)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := a.Seal(ctx); !errors.Is(err, ErrSealing) {
		t.Errorf("while another process seals: %v", err)
	}
}

// rewrite changes the rows of an archive and leaves its metadata as they are.
func rewrite(t *testing.T, l *lab, name string, change func(rows []row) []row) {
	t.Helper()
	b := l.read(t, name)
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[row](bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := newArchiveWriter(&out)
	if _, err := w.w.Write(change(rows)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{metaHeader, metaRecords, metaHash, metaClosed} {
		v, _ := f.Lookup(key)
		w.w.SetKeyValueMetadata(key, v)
	}
	if err := w.w.Close(); err != nil {
		t.Fatal(err)
	}
	l.write(t, name, out.Bytes())
}

func sealed(t *testing.T) (*lab, string) {
	t.Helper()
	l := build(t, 6, 2, 40, 1<<20, false)
	s := mustOpen(t, "l", Option{FS: l.fs})
	if done, err := s.Seal(context.Background()); err != nil || done.Segments != 1 {
		t.Fatalf("Seal: %+v, %v", done, err)
	}
	return l, strings.TrimSuffix(l.logs[0], logSuffix) + archiveSuffix
}

func TestABodyCanBeErasedAndTheChainStillVerifies(t *testing.T) {
	l, name := sealed(t)
	rewrite(t, l, name, func(rows []row) []row {
		rows[2].Body, rows[2].Salt = nil, nil
		return rows
	})
	if got, want := l.show(t), "delivered: 1 2 3(erased) 4 5 6\nok\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if rep, err := Verify(context.Background(), "l", Option{FS: l.fs}); err != nil || rep.Erased != 1 || !rep.Segments[0].Sealed || !rep.Segments[0].Closed {
		t.Errorf("Verify: %+v, %v", rep, err)
	}
}

func TestAnAlteredArchiveIsNamed(t *testing.T) {
	for what, c := range map[string]struct {
		change func([]row) []row
		want   string
	}{
		"body":       {func(r []row) []row { r[2].Body[0]++; return r }, "delivered: 1 2 4 5 6\nW-000001.parquet row 2: the body is not the one that was committed to (record 3)\n"},
		"head":       {func(r []row) []row { r[2].Head = `{"n":7}`; return r }, "delivered: 1 2 4 5 6\nW-000001.parquet row 2: does not follow from the record before it: one of the two was altered, or it was inserted (record 3)\n"},
		"commitment": {func(r []row) []row { r[2].Body, r[2].Salt = nil, nil; r[2].Commitment[0] ^= 1; return r }, "delivered: 1 2 4 5 6\nW-000001.parquet row 2: does not follow from the record before it: one of the two was altered, or it was inserted (record 3)\n"},
		"no body":    {func(r []row) []row { r[2].Body = nil; return r }, "delivered: 1 2 4 5 6\nW-000001.parquet row 2: salt of 16 bytes, body of 0 instead of 40 (record 3)\n"},
		"dropped":    {func(r []row) []row { return append(r[:2], r[3:]...) }, "delivered: 1 2 4 5 6\nW-000001.parquet row 2: missing (record 3)\n"},
		"cut":        {func(r []row) []row { return r[:4] }, "delivered: 1 2 3 4\nW-000001.parquet row 4: missing (records 5 to 6)\n"},
		"salt":       {func(r []row) []row { r[5].Salt = r[5].Salt[:3]; return r }, "delivered: 1 2 3 4 5\nW-000001.parquet row 5: salt of 3 bytes, body of 40 instead of 40 (record 6)\n"},
		"id":         {func(r []row) []row { r[0].Exchange = "x"; return r }, "delivered: 2 3 4 5 6\nW-000001.parquet row 0: exchange id \"x\": ulid: bad data size when unmarshaling (record 1)\n"},
	} {
		l, name := sealed(t)
		rewrite(t, l, name, c.change)
		if got := l.show(t); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", what, got, c.want)
		}
	}
}

// Any damage to an archive is an error or a report, never a panic and never a
// record that was not written.
func TestAFlippedBitInAnArchiveIsNoticed(t *testing.T) {
	l, name := sealed(t)
	good := l.read(t, name)
	step := 7
	for i := 0; i < len(good); i += step {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		l.write(t, name, bad)
		r, err := OpenReader("l", Option{FS: l.fs, OnDamage: func(Damage) {}})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Scan(context.Background(), func(r ledger.Record) error {
			if want := fmt.Sprintf(`{"n":%d}`, r.Time); string(r.Head) != want || !bytes.Equal(r.Body, body(int(r.Time), 40)) {
				t.Errorf("bit flipped at %d: delivered %s", i, r.Head)
			}
			return nil
		})
		if err != nil {
			t.Errorf("bit flipped at %d: %v", i, err)
		}
	}
}

func TestAnUnreadableRowGroupCostsOnlyItself(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "l", Option{FS: fs})
	big := func(n int) ledger.Record {
		return ledger.Record{Kind: "test", Time: int64(n), Body: body(n, groupBytes/2+1000)}
	}
	for n := 1; n <= 6; n++ {
		if err := s.Append(context.Background(), big(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	all, _ := list(fs, "l")
	l := &lab{fs: fs, logs: []string{all[0].archiveName()}}
	b := l.read(t, l.logs[0])
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.RowGroups()); n != 3 {
		t.Fatalf("%d row groups, want 3", n)
	}
	at := f.Metadata().RowGroups[1].Columns[5].MetaData.DataPageOffset
	clear(b[at : at+64])
	l.write(t, l.logs[0], b)
	if got := l.show(t); !strings.HasPrefix(got, "delivered: 1 2 5 6\n") || !strings.Contains(got, "(records 3 to 4)") {
		t.Errorf("got %s", got)
	}
}

func TestReadersNeedALedger(t *testing.T) {
	if _, err := OpenReader("nowhere", Option{FS: vfs.NewMem()}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("OpenReader: %v", err)
	}
	if _, err := Verify(context.Background(), "nowhere", Option{FS: vfs.NewMem()}); err == nil {
		t.Error("Verify of nothing succeeded")
	}
}

// FuzzReadLog feeds hostile bytes to the reader of a log.
func FuzzReadLog(f *testing.F) {
	f.Add([]byte{})
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 40, 300, 33_000} {
		b := fuzzSeed(f, size)
		f.Add(b)
		f.Add(b[:len(b)-20])
		f.Add(append(bytes.Clone(b[:len(b)-20]), make([]byte, 40_000)...))
		for range 4 {
			c := bytes.Clone(b)
			c[rng.IntN(len(c))] ^= 1
			f.Add(c)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		total, torn, damage, err := readHostile(b)
		if err != nil {
			t.Fatal(err)
		}
		if torn > 0 {
			return
		}
		// Zeros behind a log that came to its end are free space.
		if n, torn, more, err := readHostile(append(bytes.Clone(b), make([]byte, 70_000)...)); err != nil || n != total || torn > chunkSize || len(more) != len(damage) {
			t.Fatalf("with zeros behind it: %d bytes of records and not %d, torn end of %d bytes, %v, damage %v and not %v", n, total, torn, err, more, damage)
		}
	})
}

func fuzzSeed(f *testing.F, size int) []byte {
	fs := vfs.NewMem()
	s, err := Open("l", Option{FS: fs})
	if err != nil {
		f.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		if err := s.Append(context.Background(), ledger.Record{Kind: "test", Head: []byte(`{}`), Body: bytes.Repeat([]byte("ab"), size/2)}); err != nil {
			f.Fatal(err)
		}
	}
	s.Close()
	all, err := list(fs, "l")
	if err != nil {
		f.Fatal(err)
	}
	b, err := fs.UnsafeGetFileDataBuffer("l/" + all[0].logName())
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// readHostile reads a log of any bytes and returns how many bytes of records
// came out, how many were torn off, and what is broken. Nothing may be larger than
// the stored bytes allow.
func readHostile(b []byte) (total int, torn int64, found []Damage, err error) {
	l := &logReader{src: source{writer: "W", segment: 1, log: true}, file: vfs.NewMemFile(b)}
	defer l.Close()
	l.check = checker{file: "W", report: func(d Damage) { found = append(found, d) }, deliver: func(e *entry, _ int64) error {
		total += len(e.rec.Head) + len(e.rec.Body)
		return nil
	}}
	err = l.run(context.Background(), int64(len(b)), 0)
	var version *VersionError
	if errors.As(err, &version) {
		return total, 0, nil, nil
	}
	if err == nil {
		err = l.finish()
	}
	if err == nil && total > maxRatio*len(b) {
		err = fmt.Errorf("%d bytes of records out of %d", total, len(b))
	}
	return total, l.torn, found, err
}

func TestAHostileLengthAllocatesNothing(t *testing.T) {
	// A frame whose compressed body claims to be 2⁴⁰ bytes long.
	e := entry{rec: ledger.Record{Kind: "test"}, bodyLen: 1 << 40}
	f := appendRecord(nil, &e, false)
	f[1] |= flagBodyZstd
	f = appendPlace(f, 1, 0, hash{})
	allocated := testing.AllocsPerRun(10, func() {
		if _, err := parseRecord(f); err == nil {
			t.Error("accepted")
		}
	})
	if allocated > 20 {
		t.Errorf("%v allocations", allocated)
	}
	if _, err := expand(make([]byte, 10), maxRatio*10+1, true); err == nil || !strings.Contains(err.Error(), "claim") {
		t.Errorf("expanding beyond the ratio: %v", err)
	}
}

func TestALogStaysWhoseArchiveDoesNotReadBack(t *testing.T) {
	l := build(t, 6, 2, 40, 1<<20, false)
	fs := errorfs.Wrap(l.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, tmpSuffix) { // it is about to be read back
			rewrite(t, l, strings.TrimPrefix(op.Path, "l/"), func(rows []row) []row { return rows[:5] })
		}
		return nil
	}))
	s := mustOpen(t, "l", Option{FS: fs})
	if _, err := s.Seal(context.Background()); err == nil || !strings.Contains(err.Error(), "read") {
		t.Errorf("Seal returned %v", err)
	}
	if got, want := l.show(t), "delivered: 1 2 3 4 5 6\nok\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if names, _ := l.fs.List("l"); strings.Contains(strings.Join(names, " "), archiveSuffix) {
		t.Errorf("left behind: %v", names)
	}
}

// Without the salt a short body could be guessed from its commitment after it
// was erased.
func TestCommitmentsAreSaltedAndHashesAreAsDocumented(t *testing.T) {
	salt, text := [saltSize]byte{1, 2, 3}, []byte("body")
	if got, want := commit(salt, text), hash(sha256.Sum256(append(salt[:], text...))); got != want {
		t.Errorf("commitment %x, want %x", got, want)
	}
	l := build(t, 2, 1, 40, 1<<20, false)
	all, _ := frames(t, l.read(t, l.logs[0]))
	a, err := parseRecord(all[1])
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseRecord(all[2])
	if err != nil {
		t.Fatal(err)
	}
	if a.salt == b.salt || a.salt == [saltSize]byte{} {
		t.Errorf("salts %x and %x are not drawn anew", a.salt, b.salt)
	}
	u64 := func(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	content := sha256.Sum256(slices.Concat(u64(4), []byte("test"), make([]byte, 16), u64(1), u64(7), []byte(`{"n":1}`), u64(40), a.commitment[:]))
	start := sha256.Sum256(append([]byte("retort ledger chain 1\n"), all[0][1:]...))
	if want := hash(sha256.Sum256(slices.Concat(start[:], u64(1), content[:]))); a.hash != want {
		t.Errorf("hash %x, want %x", a.hash, want)
	}
}
