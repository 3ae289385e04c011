package segment

import (
	"context"
	"fmt"

	"retort/ledger"
)

// Report is what Verify found.
type Report struct {
	Segments []SegmentReport
	Records  uint64
	Bytes    int64
	Kinds    map[ledger.Kind]uint64
	Erased   uint64   // bodies that were erased
	Damage   []Damage // in the order of files and of places in them
}

// OK reports whether everything that was ever acknowledged is there, as far as
// the ledger itself can tell. Torn ends and unsynced damage, which a crash
// explains, are no contradiction.
func (r Report) OK() bool {
	for _, d := range r.Damage {
		if !d.Unsynced {
			return false
		}
	}
	return true
}

// SegmentReport is what Verify found in one segment.
type SegmentReport struct {
	File    string
	Writer  string
	Segment int
	Sealed  bool   // it is an archive
	Closed  bool   // its writer finished it; otherwise it is being written, or a crash ended it
	Records uint64 // that were read
	Bytes   int64  // of its file, without the free space at its end
	Torn    int64  // bytes at their end that are no records: the last write of a crash, or one under way
	First   int64  // time of its first record, UTC nanoseconds
	Last    int64  // time of its last record
}

// Verify reads the whole ledger in dir and checks every frame and every link of
// the chain. It returns an error only if the ledger could not be read at all;
// what is wrong in it is in the report.
func Verify(ctx context.Context, dir string, opt Option) (Report, error) {
	rep := Report{Kinds: make(map[ledger.Kind]uint64)}
	r, err := OpenReader(dir, opt)
	if err != nil {
		return rep, err
	}
	var first, last int64
	report := func(d Damage) { rep.Damage = append(rep.Damage, d) }
	deliver := func(e *entry, _ int64) error {
		rep.Kinds[e.rec.Kind]++
		if e.rec.Erased {
			rep.Erased++
		}
		if first == 0 {
			first = e.rec.Time
		}
		last = e.rec.Time
		rep.Records++
		return nil
	}
	counted := uint64(0)
	err = r.walk(ctx, report, deliver, func(w walked) {
		rep.Segments = append(rep.Segments, SegmentReport{
			File: w.src.fileName(), Writer: w.src.writer, Segment: w.src.segment, Sealed: w.src.archive,
			Closed: w.end.closed, Records: rep.Records - counted, Bytes: w.end.bytes, Torn: w.torn,
			First: first, Last: last,
		})
		rep.Bytes += w.end.bytes
		counted = rep.Records
		first, last = 0, 0
	})
	if err != nil {
		return rep, fmt.Errorf("verify ledger %s: %w", dir, err)
	}
	return rep, nil
}
