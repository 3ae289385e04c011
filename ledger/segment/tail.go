package segment

import (
	"context"
	"errors"
	iofs "io/fs"
	"time"

	"retort/ledger"
)

// Cursor is a place in a ledger: how far each writer has been followed. Its
// zero value is the beginning. It can be stored as JSON.
type Cursor struct {
	Writers map[string]Position `json:"writers"`
}

// Position is a place in one writer's sequence of segments.
type Position struct {
	Segment int    `json:"segment"`
	Record  uint64 `json:"record"` // the last one that was delivered, 0 if none in this segment
}

// End returns the cursor behind everything that is there now.
func (r *Reader) End(ctx context.Context) (*Cursor, error) {
	c := &Cursor{Writers: make(map[string]Position)}
	err := r.walk(ctx, func(Damage) {}, func(*entry, int64) error { return nil }, func(w walked) {
		c.Writers[w.src.writer] = Position{w.src.segment, w.end.records}
	})
	return c, err
}

// Tail calls fn for every record behind the cursor and goes on with what is
// appended, by whatever process, until ctx ends or fn returns an error, which
// it returns. Each record is delivered once, those of one writer in their
// order. The cursor, if not nil, is moved along after each record.
//
// Records of other processes may be seen a moment before their sync.
//
// Damage goes to Option.OnDamage; without it Tail ends with a *DamageError.
func (r *Reader) Tail(ctx context.Context, c *Cursor, fn func(ledger.Record) error) error {
	t := r.newTail(c, fn)
	defer t.close()
	timer := time.NewTimer(r.opt.Poll)
	defer timer.Stop()
	for {
		var news <-chan struct{}
		if r.changed != nil {
			news = r.changed() // before looking, so that nothing is missed
		}
		if err := t.look(ctx); err != nil {
			return err
		}
		timer.Reset(r.opt.Poll)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-timer.C:
		}
	}
}

// CatchUp is Tail that returns when it has delivered what is there.
func (r *Reader) CatchUp(ctx context.Context, c *Cursor, fn func(ledger.Record) error) error {
	t := r.newTail(c, fn)
	defer t.close()
	return t.look(ctx)
}

func (r *Reader) newTail(c *Cursor, fn func(ledger.Record) error) *tail {
	if c == nil {
		c = &Cursor{}
	}
	if c.Writers == nil {
		c.Writers = make(map[string]Position)
	}
	return &tail{r: r, cursor: c, fn: fn, open: make(map[string]*logReader)}
}

type tail struct {
	r      *Reader
	cursor *Cursor
	fn     func(ledger.Record) error
	open   map[string]*logReader // the log that is being followed, by writer
	damage *DamageError
}

func (t *tail) close() {
	for _, l := range t.open {
		l.Close()
	}
}

func (t *tail) report(d Damage) {
	switch {
	case t.r.opt.OnDamage != nil:
		t.r.opt.OnDamage(d)
	case !d.Unsynced && t.damage == nil:
		t.damage = &DamageError{[]Damage{d}}
	}
}

// look delivers all that is new.
func (t *tail) look(ctx context.Context) error {
	all, err := list(t.r.fs, t.r.dir)
	if err != nil {
		return err
	}
	for i := 0; i < len(all); {
		j := i + 1
		for j < len(all) && all[j].writer == all[i].writer {
			j++
		}
		if err := t.follow(ctx, all[i:j]); err != nil {
			return err
		}
		if t.damage != nil {
			return t.damage
		}
		i = j
	}
	return nil
}

// follow reads on in one writer's segments.
func (t *tail) follow(ctx context.Context, segments []source) error {
	id := segments[0].writer
	for i, src := range segments {
		at := t.cursor.Writers[id]
		if src.segment < at.Segment {
			continue
		}
		if src.segment > at.Segment {
			t.cursor.Writers[id] = Position{Segment: src.segment}
		}
		done, err := t.read(ctx, src, i+1 < len(segments))
		if err != nil || !done {
			return err
		}
	}
	return nil
}

// read reads on in one segment and reports whether it is at its end for good.
func (t *tail) read(ctx context.Context, src source, followed bool) (done bool, err error) {
	l := t.open[src.writer]
	if l != nil && l.src.segment != src.segment {
		l.Close()
		delete(t.open, src.writer)
		l = nil
	}
	if l == nil && !src.archive {
		l, err = openLog(t.r.fs, t.r.dir, src, t.report, t.deliver(src))
		if errors.Is(err, iofs.ErrNotExist) {
			src.archive = true
		} else if err != nil {
			return false, err
		} else {
			t.open[src.writer] = l
		}
	}
	if l == nil {
		check := &checker{file: src.archiveName(), report: t.report, deliver: t.deliver(src)}
		_, err := readArchive(ctx, t.r.fs, t.r.dir, src.archiveName(), src, check)
		return true, err
	}
	if l.ended {
		return true, nil
	}
	size, durable, err := t.r.extent(l, followed)
	if err != nil {
		return false, err
	}
	if size == l.looked && !followed { // something new may still be in what lay free
		end := max(l.end, l.offset)
		if err := l.look(size); err != nil || l.end == end {
			return false, err
		}
	}
	if err := l.run(ctx, size, durable); err != nil {
		return false, err
	}
	if !l.closed && !followed {
		return false, nil
	}
	l.ended = true
	return true, l.finish()
}

// deliver passes on what is behind the cursor.
func (t *tail) deliver(src source) func(*entry, int64) error {
	return func(e *entry, _ int64) error {
		if at := t.cursor.Writers[src.writer]; e.number <= at.Record {
			return nil
		}
		if err := t.fn(e.rec); err != nil {
			return err
		}
		t.cursor.Writers[src.writer] = Position{src.segment, e.number}
		return nil
	}
}
