package segment

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"retort/ledger"
)

const (
	logSuffix     = ".log"
	archiveSuffix = ".parquet"
	lockSuffix    = ".lock"
	tmpSuffix     = ".tmp"
	sealLock      = "seal" + lockSuffix
)

// source is one segment: a log, an archive, or for a moment both.
type source struct {
	writer  string
	segment int
	log     bool
	archive bool
}

func (s source) name() string        { return fmt.Sprintf("%s-%06d", s.writer, s.segment) }
func (s source) logName() string     { return s.name() + logSuffix }
func (s source) archiveName() string { return s.name() + archiveSuffix }

// fileName is the file that readers read.
func (s source) fileName() string {
	if s.archive {
		return s.archiveName()
	}
	return s.logName()
}

// parseName reads the name of a segment's file.
func parseName(name string) (s source, ok bool) {
	base, log := strings.CutSuffix(name, logSuffix)
	base, archive := strings.CutSuffix(base, archiveSuffix)
	writer, number, found := strings.Cut(base, "-")
	if log == archive || !found {
		return s, false
	}
	n, err := strconv.Atoi(number)
	if _, idErr := ulid.ParseStrict(writer); err != nil || idErr != nil || n < 1 {
		return s, false
	}
	s = source{writer: writer, segment: n, log: log, archive: archive}
	return s, s.fileName() == name
}

// list returns the segments in the order in which they are read: by writer, and
// writers by the time at which they began.
func list(fs vfs.FS, dir string) ([]source, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list ledger %s: %w", dir, err)
	}
	byName := make(map[string]source)
	for _, name := range names {
		if s, ok := parseName(name); ok {
			have := byName[s.name()]
			s.log, s.archive = s.log || have.log, s.archive || have.archive
			byName[s.name()] = s
		}
	}
	all := make([]source, 0, len(byName))
	for _, s := range byName {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.writer, b.writer), cmp.Compare(a.segment, b.segment))
	})
	return all, nil
}

// Reader reads a ledger without writing to it.
type Reader struct {
	fs  vfs.FS
	dir string
	opt Option

	// synced returns how much of this process's own current segment is
	// durable: that and no more of it is read. It is nil without a writer.
	synced  func(source) (int64, bool)
	changed func() <-chan struct{}
}

var _ ledger.Reader = (*Reader)(nil)

// OpenReader opens a ledger for reading. Writers may be at work on it.
func OpenReader(dir string, opt Option) (*Reader, error) {
	opt.fill()
	dir, err := place(opt.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if info, err := opt.FS.Stat(dir); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("open ledger: %s is not a directory", dir)
	}
	return &Reader{fs: opt.FS, dir: dir, opt: opt}, nil
}

// place gives one directory one name, since locks are known by theirs.
func place(fs vfs.FS, dir string) (string, error) {
	if fs != vfs.Default {
		return dir, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	return abs, nil
}

// Scan implements ledger.Reader: writer by writer, in the order in which they
// began, and each one's records in the order in which they were appended.
// Damage goes to Option.OnDamage; without it, Scan delivers what can be read
// and then returns a *DamageError.
func (r *Reader) Scan(ctx context.Context, fn func(ledger.Record) error) error {
	var found []Damage
	report := r.opt.OnDamage
	if report == nil {
		report = func(d Damage) {
			if !d.Unsynced {
				found = append(found, d)
			}
		}
	}
	err := r.walk(ctx, report, func(e *entry, _ int64) error { return fn(e.rec) }, nil)
	if err == nil && len(found) > 0 {
		return &DamageError{found}
	}
	return err
}

// walked is what was found in one segment.
type walked struct {
	src    source
	header header
	end    archiveEnd // records, last hash, closed, bytes
	torn   int64
}

// walk reads all segments, and checks that each continues the one before.
func (r *Reader) walk(ctx context.Context, report func(Damage), deliver func(*entry, int64) error, each func(walked)) error {
	all, err := list(r.fs, r.dir)
	if err != nil {
		return err
	}
	var before walked
	for i, src := range all {
		followed := i+1 < len(all) && all[i+1].writer == src.writer
		w, err := r.segment(ctx, src, followed, report, deliver)
		if err != nil {
			return err
		}
		continues(before, w, report)
		before = w
		if each != nil {
			each(w)
		}
	}
	return nil
}

// continues reports where w is not the continuation of the segment before it.
func continues(before, w walked, report func(Damage)) {
	want := 1
	if before.src.writer == w.src.writer {
		want = before.src.segment + 1
	}
	if w.src.segment != want {
		gone := source{writer: w.src.writer, segment: want, log: true}
		what := "the segment is missing"
		if n := w.src.segment - want; n > 1 {
			what = fmt.Sprintf("%d segments are missing from here on", n)
		}
		report(Damage{File: gone.name(), What: what})
		return
	}
	if want > 1 && before.header.Format != "" && !before.end.closed {
		report(Damage{File: before.src.fileName(), Offset: before.end.bytes, What: "the segment has no closing although another follows it: its end was cut off"})
		return
	}
	if want > 1 && w.header.Format != "" && before.header.Format != "" && !bytes.Equal(w.header.Previous, before.end.last[:]) {
		report(Damage{File: w.src.fileName(), What: fmt.Sprintf("does not continue segment %d, of which %d records were read: the end of that segment was cut off or altered, or one of the two was exchanged", before.src.segment, before.end.records)})
	}
}

// segment reads one segment, as archive if there is one. A segment that is
// followed by another is complete.
func (r *Reader) segment(ctx context.Context, src source, followed bool, report func(Damage), deliver func(*entry, int64) error) (walked, error) {
	if !src.archive {
		l, err := openLog(r.fs, r.dir, src, report, deliver)
		if err == nil {
			return r.log(ctx, src, l, followed)
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return walked{}, err
		}
		src.archive = true // sealed since it was listed
	}
	check := &checker{file: src.archiveName(), report: report, deliver: deliver}
	end, err := readArchive(ctx, r.fs, r.dir, src.archiveName(), src, check)
	end.records, end.last = check.number, check.hash
	return walked{src: src, header: end.header, end: end}, err
}

// log reads one open log and closes it.
func (r *Reader) log(ctx context.Context, src source, l *logReader, followed bool) (walked, error) {
	defer l.Close()
	size, durable, err := r.extent(l, followed)
	if err == nil {
		err = l.run(ctx, size, durable)
	}
	if err == nil {
		err = l.finish()
	}
	end := archiveEnd{records: l.check.number, last: l.check.hash, closed: l.closed, bytes: max(l.end, l.offset)}
	return walked{src: src, header: l.header, end: end, torn: l.torn}, err
}

// extent says how much of a log is to be read, and how much of that is known to
// have been synced.
func (r *Reader) extent(l *logReader, followed bool) (size, durable int64, err error) {
	if r.synced != nil {
		if n, own := r.synced(l.src); own {
			return n, n, nil
		}
	}
	if size, err = l.size(); err != nil {
		return 0, 0, err
	}
	if followed {
		durable = size
	}
	return size, durable, nil
}
