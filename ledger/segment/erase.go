package segment

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"

	"retort/ledger"
)

// Erased says what Erase has done.
type Erased struct {
	Bodies   int      // that were erased
	Bytes    int64    // of them
	Segments int      // that were rewritten
	Waiting  int      // bodies in logs, which are erased once those are sealed
	Kept     []string // archives that were left as they are, and why
}

// Erase erases bodies for good, with their salts, and leaves the records, whose
// chain verifies as before. Expired is asked about every record of the ledger, in
// order, and says whether its body is to go. What lies in logs waits until they are
// sealed.
//
// An archive with something to erase is rewritten under a temporary name, synced,
// read back and compared, and then put in the place of the old one. An archive with
// damage is left as it is. Readers that have the old file open read it to its end.
func (s *Store) Erase(ctx context.Context, expired func(ledger.Record) bool) (Erased, error) {
	var done Erased
	lock, err := s.fs.Lock(s.fs.PathJoin(s.dir, sealLock))
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrSealing, err)
	}
	defer lock.Close()
	if err := s.eraseAll(ctx, expired, &done); err != nil {
		return done, fmt.Errorf("erase bodies of ledger %s: %w", s.dir, err)
	}
	return done, nil
}

func (s *Store) eraseAll(ctx context.Context, expired func(ledger.Record) bool, done *Erased) error {
	if err := s.sweep(); err != nil {
		return err
	}
	all, err := list(s.fs, s.dir)
	if err != nil {
		return err
	}
	for i, src := range all {
		var damage []Damage
		rows := make(map[uint64]bool)
		followed := i+1 < len(all) && all[i+1].writer == src.writer
		_, err := s.segment(ctx, src, followed, func(d Damage) { damage = append(damage, d) }, func(e *entry, _ int64) error {
			switch {
			case !expired(e.rec) || e.bodyLen == 0 || e.rec.Erased:
			case src.archive:
				rows[e.number] = true
			default:
				done.Waiting++
			}
			return nil
		})
		if err != nil {
			return err
		}
		switch {
		case len(rows) == 0:
		case len(damage) > 0:
			done.Kept = append(done.Kept, src.archiveName()+": damaged: "+damage[0].String())
		default:
			if err := s.rewrite(ctx, src, rows, done); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewrite puts an archive in the place of one, without the bodies of some rows.
func (s *Store) rewrite(ctx context.Context, src source, rows map[uint64]bool, done *Erased) error {
	name := s.fs.PathJoin(s.dir, src.archiveName())
	tmp := name + tmpSuffix
	f, err := s.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	end, bytes, err := s.copyArchive(ctx, f, src, rows)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.compareErased(ctx, src, end, rows)
	}
	if err == nil {
		err = s.fs.Rename(tmp, name)
	}
	if err != nil {
		_ = s.fs.Remove(tmp) // else the next one does
		return err
	}
	done.Bodies += len(rows)
	done.Bytes += bytes
	done.Segments++
	return syncDir(s.fs, s.dir)
}

// copyArchive writes an archive without the bodies of some rows, whose bytes it
// counts.
func (s *Store) copyArchive(ctx context.Context, f vfs.File, src source, rows map[uint64]bool) (end archiveEnd, bytes int64, err error) {
	out := newArchiveWriter(f)
	check := &checker{file: src.archiveName(), report: func(Damage) {}, deliver: func(e *entry, _ int64) error {
		if rows[e.number] {
			bytes += int64(len(e.rec.Body))
			e.rec.Body, e.rec.Erased = nil, true
		}
		return out.add(e)
	}}
	if end, err = readArchive(ctx, s.fs, s.dir, src.archiveName(), src, check); err != nil {
		return end, 0, err
	}
	return end, bytes, out.closeWith(end.rawHeader, end.records, end.last, end.closed)
}

// compareErased reads a rewritten archive back: the same chain, and of the bodies
// those that are to be there.
func (s *Store) compareErased(ctx context.Context, src source, want archiveEnd, rows map[uint64]bool) error {
	name := src.archiveName() + tmpSuffix
	var found []Damage
	gone := 0
	check := &checker{file: name, report: func(d Damage) { found = append(found, d) }, deliver: func(e *entry, _ int64) error {
		if rows[e.number] && e.rec.Erased {
			gone++
		}
		return nil
	}}
	end, err := readArchive(ctx, s.fs, s.dir, name, src, check)
	switch {
	case err != nil:
		return err
	case len(found) > 0:
		return fmt.Errorf("the rewritten archive does not read back, the old one stays: %s", found[0])
	case check.number != want.records || check.hash != want.last || end.closed != want.closed || gone != len(rows):
		return fmt.Errorf("the rewritten archive %s reads back otherwise than the old one, which stays", name)
	}
	return nil
}

// closeWith writes an archive's metadata and ends it.
func (a *archiveWriter) closeWith(rawHeader []byte, records uint64, last hash, closed bool) error {
	a.w.SetKeyValueMetadata(metaHeader, string(rawHeader))
	a.w.SetKeyValueMetadata(metaRecords, strconv.FormatUint(records, 10))
	a.w.SetKeyValueMetadata(metaHash, hex.EncodeToString(last[:]))
	a.w.SetKeyValueMetadata(metaClosed, strconv.FormatBool(closed))
	return a.w.Close()
}
