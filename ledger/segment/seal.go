package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrSealing is returned by Seal while another process is sealing.
var ErrSealing = errors.New("another process is sealing the ledger")

// Sealed says what Seal has done.
type Sealed struct {
	Segments int      // turned into archives
	Records  uint64   // in them
	Kept     []string // logs that were left as they are, and why
}

// Seal finishes the current segment and turns all finished segments, this
// process's and those of processes that have ended, into Parquet archives. Logs
// of writers that are at work are left alone, but for the segments that they
// have finished. A log with damage is left as it is, as evidence.
//
// Each archive is written to a temporary name, synced, read back and compared
// with the log's chain, renamed, and its name made durable; only then the log
// is removed. A crash at any point leaves the log, the archive or both, and
// readers prefer the archive.
func (s *Store) Seal(ctx context.Context) (Sealed, error) {
	var done Sealed
	answer := make(chan error, 1)
	select {
	case s.roll <- answer:
		if err := <-answer; err != nil {
			return done, err
		}
	case <-s.done:
		return done, ErrClosed
	case <-ctx.Done():
		return done, ctx.Err()
	}
	lock, err := s.fs.Lock(s.fs.PathJoin(s.dir, sealLock))
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrSealing, err)
	}
	defer lock.Close()
	if err := s.sealAll(ctx, &done); err != nil {
		return done, fmt.Errorf("seal ledger %s: %w", s.dir, err)
	}
	return done, nil
}

func (s *Store) sealAll(ctx context.Context, done *Sealed) error {
	if err := s.sweep(); err != nil {
		return err
	}
	all, err := list(s.fs, s.dir)
	if err != nil {
		return err
	}
	ended := make(map[string]bool)
	for _, src := range all {
		if _, known := ended[src.writer]; !known {
			var lock io.Closer
			if lock, ended[src.writer] = s.lockEnded(src.writer); lock != nil {
				defer s.unlockEnded(src.writer, lock)
			}
		}
	}
	// What was listed may have grown before its writer's lock was taken.
	if all, err = list(s.fs, s.dir); err != nil {
		return err
	}
	for i, src := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		followed := i+1 < len(all) && all[i+1].writer == src.writer
		switch {
		case src.archive && src.log:
			err = s.trim(src)
		case src.log:
			err = s.seal(ctx, src, followed, ended[src.writer], done)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a crash left of an earlier Seal.
func (s *Store) sweep() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, archiveSuffix+tmpSuffix) {
			if err := s.fs.Remove(s.fs.PathJoin(s.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// lockEnded reports whether a writer has ended, and if so takes its lock, so
// that this stays true. This process's own writer never has.
func (s *Store) lockEnded(writer string) (io.Closer, bool) {
	if writer == s.id {
		return nil, false
	}
	lock, err := s.fs.Lock(s.fs.PathJoin(s.dir, writer+lockSuffix))
	return lock, err == nil
}

func (s *Store) unlockEnded(writer string, lock io.Closer) {
	name := s.fs.PathJoin(s.dir, writer+lockSuffix)
	err := s.fs.Remove(name)
	lock.Close()
	if err != nil {
		_ = s.fs.Remove(name) // a lock file without a lock does no harm
	}
}

// seal turns one log into an archive.
func (s *Store) seal(ctx context.Context, src source, followed, ended bool, done *Sealed) error {
	tmp := s.fs.PathJoin(s.dir, src.archiveName()+tmpSuffix)
	l, reason, err := s.convert(ctx, src, followed, ended, tmp)
	if err != nil || reason != "" {
		if rerr := s.fs.Remove(tmp); rerr != nil && !errors.Is(rerr, iofs.ErrNotExist) && err == nil {
			err = rerr
		}
		if reason != "" {
			done.Kept = append(done.Kept, src.logName()+": "+reason)
		}
		return err
	}
	if l == nil { // still being written, or nothing to keep
		return nil
	}
	if err := s.compare(ctx, src, l); err != nil {
		_ = s.fs.Remove(tmp)
		return err
	}
	if err := s.fs.Rename(tmp, s.fs.PathJoin(s.dir, src.archiveName())); err != nil {
		_ = s.fs.Remove(tmp)
		return err
	}
	src.archive = true
	if err := s.trim(src); err != nil {
		return err
	}
	done.Segments++
	done.Records += l.check.number
	return nil
}

// trim removes a log whose archive is in place, once the archive's name is
// durable.
func (s *Store) trim(src source) error {
	if err := syncDir(s.fs, s.dir); err != nil {
		return err
	}
	return s.fs.Remove(s.fs.PathJoin(s.dir, src.logName()))
}

// convert writes the archive of a log to tmp and syncs it. It returns the
// reader of the log at its end; nil if there is nothing to do; or the reason
// for which the log must stay.
func (s *Store) convert(ctx context.Context, src source, followed, ended bool, tmp string) (l *logReader, reason string, err error) {
	var found []Damage
	var out *archiveWriter
	l, err = openLog(s.fs, s.dir, src, func(d Damage) { found = append(found, d) }, func(e *entry, _ int64) error { return out.add(e) })
	if err != nil {
		return nil, "", err
	}
	defer l.Close()
	size, err := l.size()
	if err != nil {
		return nil, "", err
	}
	if !ended && !followed { // finished only if it says so
		if closed, err := isClosed(ctx, s, src); err != nil || !closed {
			return nil, "", err
		}
	}
	f, err := s.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	out = newArchiveWriter(f)
	durable := int64(0)
	if followed {
		durable = size
	}
	if err := l.run(ctx, size, durable); err != nil {
		return nil, "", err
	}
	if err := l.finish(); err != nil {
		return nil, "", err
	}
	switch {
	case len(found) > 0:
		return nil, "damaged: " + found[0].String(), nil
	case l.check.number == 0 && !l.closed && ended && !followed:
		// A process crashed before its first record was acknowledged.
		_ = s.fs.Remove(tmp)
		return nil, "", s.fs.Remove(s.fs.PathJoin(s.dir, src.logName()))
	case !l.started:
		return nil, "it has no header", nil
	}
	if err := out.close(l); err != nil {
		return nil, "", err
	}
	return l, "", f.Sync()
}

// isClosed reports whether a log ends with its closing frame.
func isClosed(ctx context.Context, s *Store, src source) (bool, error) {
	l, err := openLog(s.fs, s.dir, src, func(Damage) {}, func(*entry, int64) error { return nil })
	if err != nil {
		return false, err
	}
	defer l.Close()
	size, err := l.size()
	if err == nil {
		err = l.run(ctx, size, 0)
	}
	return l.closed, err
}

// compare reads an archive back and compares it with the log that it was made
// of: the same chain means the same records.
func (s *Store) compare(ctx context.Context, src source, l *logReader) error {
	name := src.archiveName() + tmpSuffix
	var found []Damage
	check := &checker{file: name, report: func(d Damage) { found = append(found, d) }, deliver: func(e *entry, _ int64) error {
		if e.rec.Erased {
			found = append(found, Damage{File: name, First: e.number, Last: e.number, What: "body is missing"})
		}
		return nil
	}}
	end, err := readArchive(ctx, s.fs, s.dir, name, src, check)
	switch {
	case err != nil:
		return err
	case len(found) > 0:
		return fmt.Errorf("the archive does not read back, the log stays: %s", found[0])
	case check.number != l.check.number || check.hash != l.check.hash || end.records != l.check.number:
		return fmt.Errorf("the archive %s reads back with other records than its log, which stays", name)
	}
	return nil
}
