package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"retort/ledger"
)

// lab holds one ledger of which files are tampered with.
type lab struct {
	fs   *vfs.MemFS
	logs []string // names, in order
}

// build appends records in calls of batch each. With crash the segment is left
// without its closing.
func build(t *testing.T, records, batch, size int, segmentBytes int64, crash bool) *lab {
	t.Helper()
	return buildWith(t, Option{SegmentBytes: segmentBytes}, records, batch, size, crash)
}

// buildWith is build with other options. With Option.Raw it must not be the last
// call that has space set aside, since nothing waits for that.
func buildWith(t *testing.T, opt Option, records, batch, size int, crash bool) *lab {
	t.Helper()
	fs := vfs.NewCrashableMem()
	opt.FS = fs
	s, err := Open("l", opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= records; i += batch {
		var recs []ledger.Record
		for j := i; j < i+batch && j <= records; j++ {
			recs = append(recs, ledger.Record{Kind: "test", Time: int64(j), Head: fmt.Appendf(nil, `{"n":%d}`, j), Body: body(j, size)})
		}
		if err := s.Append(context.Background(), recs...); err != nil {
			t.Fatal(err)
		}
	}
	l := &lab{fs: fs}
	if crash {
		l.fs = fs.CrashClone(vfs.CrashCloneCfg{})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := list(l.fs, "l")
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range all {
		l.logs = append(l.logs, src.logName())
	}
	return l
}

// body is n bytes that do not compress.
func body(seed, n int) []byte {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func (l *lab) read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := l.fs.UnsafeGetFileDataBuffer("l/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b)
}

func (l *lab) write(t *testing.T, name string, b []byte) {
	t.Helper()
	f, err := l.fs.Create("l/"+name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(slices.Clone(b)) // which may change it
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// frames splits a log into its frames.
func frames(t *testing.T, b []byte) (all [][]byte, offsets []int64) {
	t.Helper()
	c := newChunkReader(bytes.NewReader(b), int64(len(b)), 0)
	for {
		f, at, err := c.read()
		if err == io.EOF || err != nil && len(bytes.Trim(b[at:], "\x00")) == 0 {
			return all, offsets
		}
		if err != nil {
			t.Fatal(err)
		}
		all, offsets = append(all, slices.Clone(f)), append(offsets, at)
	}
}

// reframe writes frames with valid checksums, as a forger would.
func reframe(t *testing.T, all [][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, f := range all {
		r, err := w.Next()
		if err == nil {
			_, err = r.Write(f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// show prints what a Scan delivers and what Verify finds.
func (l *lab) show(t *testing.T) string {
	var out, found strings.Builder
	name := strings.NewReplacer()
	if len(l.logs) > 0 {
		name = strings.NewReplacer(l.logs[0][:26], "W")
	}
	r, err := OpenReader("l", Option{FS: l.fs, OnDamage: func(d Damage) {
		fmt.Fprintln(&found, d)
	}})
	if err != nil {
		t.Fatal(err)
	}
	out.WriteString("delivered:")
	if err := r.Scan(context.Background(), func(r ledger.Record) error {
		fmt.Fprintf(&out, " %d", r.Time)
		if r.Erased {
			out.WriteString("(erased)")
		}
		return nil
	}); err != nil {
		fmt.Fprintf(&out, "\nerror: %v", err)
		return name.Replace(out.String()) + "\n"
	}
	out.WriteString("\n" + found.String())
	rep, err := Verify(context.Background(), "l", Option{FS: l.fs})
	if err != nil {
		t.Fatal(err)
	}
	var again strings.Builder
	for _, d := range rep.Damage {
		fmt.Fprintln(&again, d)
	}
	if again.String() != found.String() {
		t.Errorf("Verify finds\n%sand Scan\n%s", again.String(), found.String())
	}
	for _, s := range rep.Segments {
		if s.Torn > 0 {
			fmt.Fprintf(&out, "%s: torn end of %d bytes\n", s.File, s.Torn)
		}
	}
	switch {
	case rep.OK() && len(rep.Damage) > 0:
		out.WriteString("a crash explains it\n")
	case rep.OK():
		out.WriteString("ok\n")
	}
	return name.Replace(out.String())
}

func TestDamageIsNamedAndReadPast(t *testing.T) {
	datadriven.RunTest(t, "testdata/damage", func(t *testing.T, d *datadriven.TestData) string {
		records, batch, size, roll := 6, 2, 40, int64(1<<20)
		d.MaybeScanArgs(t, "records", &records)
		d.MaybeScanArgs(t, "batch", &batch)
		d.MaybeScanArgs(t, "size", &size)
		d.MaybeScanArgs(t, "roll", &roll)
		l := buildWith(t, Option{SegmentBytes: roll, Raw: d.HasArg("raw")}, records, batch, size, d.HasArg("crash"))
		for line := range strings.Lines(d.Input) {
			l.tamper(t, strings.Fields(line))
		}
		got := l.show(t)
		if d.HasArg("roll") && strings.Contains(got, "was cut off") {
			return got // free space before a segment's successor is damage of its own
		}
		// Whatever was found: zeros behind it are free space.
		for _, name := range l.logs {
			if _, err := l.fs.Stat("l/" + name); err == nil {
				l.write(t, name, append(l.read(t, name), make([]byte, 40_000)...))
			}
		}
		torn := regexp.MustCompile(`of \d+ bytes`) // the last byte that was torn off may be zero
		if more := l.show(t); torn.ReplaceAllString(more, "") != torn.ReplaceAllString(got, "") {
			t.Errorf("%s: with free space behind it:\n%sand without:\n%s", d.Pos, more, got)
		}
		return got
	})
}

// tamper carries out one line of testdata: what to do, and to which frames of
// the first log (0 is its header, i its ith record).
func (l *lab) tamper(t *testing.T, words []string) {
	t.Helper()
	num := func(i int) (n int) {
		if _, err := fmt.Sscan(words[i], &n); err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return n
	}
	name := l.logs[0]
	b := l.read(t, name)
	all, offsets := frames(t, b)
	switch words[0] {
	case "flip": // a bit of each frame's payload
		for i := range words[1:] {
			b[offsets[num(1+i)]+chunkSize+20] ^= 4
		}
	case "flip-length": // of the chunk
		b[offsets[num(1)]+4] ^= 1
	case "flip-type":
		b[offsets[num(1)]+6] ^= 0x40
	case "zero": // the whole frame
		clear(b[offsets[num(1)]:offsets[num(1)+1]])
	case "cut": // the last bytes of the file
		b = b[:len(b)-num(1)]
	case "truncate-at": // a frame's beginning
		b = b[:offsets[num(1)]]
	case "garbage": // behind the end, and zeros behind that
		b = append(b, body(7, num(1))...)
		if len(words) > 2 {
			b = append(b, make([]byte, num(2))...)
		}
	case "spill": // garbage into the free space, right behind the last frame; and a bit of a frame flips
		if len(words) > 2 {
			b[offsets[num(2)]+chunkSize+20] ^= 4
		}
		end := len(bytes.TrimRight(b, "\x00"))
		copy(b[max(end, int(offsets[len(offsets)-1])+chunkSize+len(all[len(all)-1])):], body(7, num(1)))
	case "zeros": // behind the end
		b = append(b, make([]byte, num(1))...)
	case "alter": // time of a record, with a valid checksum
		all[num(1)][2+1+4+16] ^= 1
		b = reframe(t, all)
	case "alter-body":
		f := all[num(1)]
		f[len(f)-8-8-hashSize-1] ^= 1
		b = reframe(t, all)
	case "rehash": // alter, with a hash that fits
		f := all[num(1)]
		f[2+1+4+16] ^= 1
		before, err := parseRecord(all[num(1)-1])
		if err != nil {
			t.Fatal(err)
		}
		e, err := parseRecord(f)
		if err != nil {
			t.Fatal(err)
		}
		h := link(before.hash, e.number, e.content())
		copy(f[len(f)-hashSize:], h[:])
		b = reframe(t, all)
	case "drop":
		b = reframe(t, slices.Delete(all, num(1), num(1)+1))
	case "swap":
		all[num(1)], all[num(2)] = all[num(2)], all[num(1)]
		b = reframe(t, all)
	case "repeat":
		b = reframe(t, slices.Insert(all, num(1), all[num(1)]))
	case "insert": // a forged record of the given number in front of a frame
		f := slices.Clone(all[1])
		binary.LittleEndian.PutUint64(f[len(f)-hashSize-16:], uint64(num(2)))
		b = reframe(t, slices.Insert(all, num(1), f))
	case "unknown-type":
		all[num(1)][0] = 77
		b = reframe(t, all)
	case "version":
		all[0] = bytes.Replace(all[0], []byte(`"version":1`), []byte(`"version":2`), 1)
		b = reframe(t, all)
	case "remove-log":
		if err := l.fs.Remove("l/" + l.logs[num(1)]); err != nil {
			t.Fatal(err)
		}
		return
	case "exchange-logs":
		b = l.read(t, l.logs[num(1)])
		l.write(t, l.logs[num(1)], l.read(t, name))
	default:
		t.Fatalf("unknown: %v", words)
	}
	l.write(t, name, b)
}

// Whatever single bit of a finished log is flipped: it is noticed, and only the
// record that it belongs to is lost.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	l := build(t, 5, 2, 30, 1<<20, false)
	name := l.logs[0]
	good := l.read(t, name)
	_, offsets := frames(t, good)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		l.write(t, name, bad)
		frame := 0
		for frame+1 < len(offsets) && offsets[frame+1] <= int64(i) {
			frame++
		}
		rep, err := Verify(context.Background(), "l", Option{FS: l.fs})
		if err != nil {
			t.Fatal(err)
		}
		torn := rep.Segments[0].Torn > 0
		want := uint64(5)
		if 1 <= frame && frame <= 5 {
			want = 4
		}
		if rep.Records != want || rep.OK() && !(torn && frame == 6) {
			t.Fatalf("bit flipped at %d (frame %d): %d records, torn %v, damage %v", i, frame, rep.Records, torn, rep.Damage)
		}
		if 1 <= frame && frame <= 5 && (rep.Damage[0].File != name || rep.Damage[0].Offset != offsets[frame] || rep.Damage[0].First != uint64(frame) || rep.Damage[0].Last != uint64(frame)) {
			t.Fatalf("bit flipped at %d in record %d at %d: reported as %v", i, frame, offsets[frame], rep.Damage[0])
		}
	}
}

// Our logs are readable by pebble's own reader, frame for frame, also where
// frames reach over blocks and end just before their ends.
func TestPebbleReadsOurFrames(t *testing.T) {
	for size := 32400; size < 32700; size += 3 {
		l := build(t, 4, 3, size, 1<<20, false)
		b := l.read(t, l.logs[0])
		all, _ := frames(t, b)
		r := record.NewReader(bytes.NewReader(b), 0)
		for i, want := range all {
			next, err := r.Next()
			if err != nil {
				t.Fatalf("size %d, frame %d: %v", size, i, err)
			}
			if got, err := io.ReadAll(next); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("size %d, frame %d differs, %v", size, i, err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("size %d: pebble finds more: %v", size, err)
		}
	}
}
