package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"

	"retort/internal/text"
)

// samples is how many refusals of a reason, and how many texts of a leak, a
// report shows.
const samples = 5

// inFlight bounds the bytes of rows that were read and not yet delivered, but
// for one batch, which may hold a single long row.
const inFlight = 8 << 20

// Read reads r and calls fn for every item in the file's order, from one
// goroutine: the caller's. A row with several items has them one after the
// other. Items are the callee's to keep, but for their Raw bytes.
//
// The error of fn ends the reading and is returned, as is ctx's. The report is
// never nil and holds what was counted until then. Read returns when nothing
// reads from r any more, so that a reader that blocks forever must be closed.
func Read(ctx context.Context, r io.Reader, opt Options, fn func(*Item) error) (*Report, error) {
	rd := reader{opt: opt, report: &Report{
		Name: opt.Name, Format: opt.Format,
		Refused: make(map[Reason]int64), Samples: make(map[Reason][]Refusal), Notes: make(map[string]int64),
	}}
	err := rd.read(ctx, r, fn)
	rd.finish()
	var f *FormatError
	if errors.As(err, &f) && f.Name == "" {
		f.Name = opt.Name
	}
	return rd.report, err
}

// reader is one call of Read.
type reader struct {
	opt      Options
	report   *Report
	split    *splitter
	requests *requests
	answered map[uint64]bool // custom_ids of a batch that were kept
	leaks    map[string]*Leak
	free     chan []byte // memory of batches that were delivered
}

func (rd *reader) read(ctx context.Context, r io.Reader, fn func(*Item) error) error {
	format, err := ParseFormat(string(rd.opt.Format))
	if err != nil {
		return err
	}
	rd.opt.MaxRow = cmp.Or(rd.opt.MaxRow, DefaultMaxRow)
	if rd.opt.MaxRow < 1 || rd.opt.MaxRow > math.MaxInt32/2 {
		return fmt.Errorf("import: the longest row may have %d bytes: give 1 to %d", rd.opt.MaxRow, math.MaxInt32/2)
	}
	switch rd.opt.Turns = cmp.Or(rd.opt.Turns, TurnsLast); rd.opt.Turns {
	case TurnsLast, TurnsAll:
	default:
		return fmt.Errorf("import: turns %q are neither %q nor %q", rd.opt.Turns, TurnsLast, TurnsAll)
	}
	rd.split = newSplitter(r, rd.opt.MaxRow)
	rd.split.large = make(chan []byte, 1)
	if err := rd.split.begin(); err != nil {
		return rd.wrap(err)
	}
	rd.report.Layout = rd.split.layout
	first, err := rd.split.next(ctx, nil)
	if err != nil {
		return rd.wrap(err)
	}
	if format == Auto {
		if format, rd.report.Why, err = detect(first, rd.split.layout); err != nil {
			return err
		}
		rd.report.Detected = true
	}
	rd.report.Format = format
	if rd.opt.Requests != nil {
		if format != Batch {
			return &FormatError{What: fmt.Sprintf("a file of requests was given, and this is no batch output but %s", format)}
		}
		if rd.requests, err = newRequests(ctx, rd.opt.Requests, rd.opt.MaxRow); err != nil {
			return err
		}
		rd.report.Notes[NoteUnsentRequests] = rd.requests.count
	}
	rd.answered, rd.leaks = make(map[uint64]bool), make(map[string]*Leak)
	if first == nil {
		return nil
	}
	return rd.pipeline(ctx, first, format, fn)
}

// wrap says at which row reading failed.
func (rd *reader) wrap(err error) error {
	var f *FormatError
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("import %s: read behind row %d: %w", rd.opt.Name, rd.split.row, err)
}

// pipeline splits, parses and delivers at the same time: one goroutine splits,
// each worker parses whole batches, and the caller delivers them in order.
func (rd *reader) pipeline(ctx context.Context, first *batch, format Format, fn func(*Item) error) error {
	ctx, cancel := context.WithCancel(ctx)
	workers := rd.opt.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	depth := 2*workers + 2
	var (
		ordered = make(chan *batch, depth)
		work    = make(chan *batch, depth)
		room    = newRoom(inFlight)
		wg      sync.WaitGroup
		failed  error // of the splitter; read after ordered is closed
	)
	rd.free = make(chan []byte, depth)
	wg.Go(func() {
		defer close(ordered)
		defer close(work)
		for b, err := first, error(nil); ; b, err = rd.split.next(ctx, rd.spare()) {
			if err != nil {
				failed = rd.wrap(err)
			}
			if b == nil || err != nil || !room.take(ctx, len(b.data)) {
				return
			}
			long := len(b.data) > inFlight
			work <- b // both have room for all that may be in flight, or their readers go on
			ordered <- b
			if long && !room.drained(ctx) { // nor is another one read beside it
				return
			}
		}
	})
	for range workers {
		wg.Go(func() {
			rr := &rowReader{format: format, choice: rd.opt.Turns, requests: rd.requests}
			for b := range work {
				if ctx.Err() == nil {
					rr.batchOf(b)
				}
				close(b.done)
			}
		})
	}
	var err error
	for b := range ordered {
		<-b.done
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = rd.deliver(b, fn)
		}
		if err != nil {
			cancel() // the others come to their ends, and this loop to its
		}
		room.give(len(b.data))
		rd.reuse(b)
	}
	cancel()
	wg.Wait()
	return cmp.Or(err, failed)
}

// batchOf reads all rows of a batch.
func (r *rowReader) batchOf(b *batch) {
	b.results = make([]result, len(b.rows))
	for i, sp := range b.rows {
		if sp.fault != nil {
			b.results[i].fault = sp.fault
			continue
		}
		b.results[i] = r.read(b.data[sp.start:sp.end:sp.end], sp.row, sp.line)
	}
}

func (rd *reader) spare() []byte {
	select {
	case b := <-rd.free:
		return b
	default:
		return nil
	}
}

func (rd *reader) reuse(b *batch) {
	to := rd.free
	if cap(b.data) > longRow {
		to = rd.split.large
	}
	select {
	case to <- b.data:
	default:
	}
}

// deliver counts a batch's rows and hands their items on.
func (rd *reader) deliver(b *batch, fn func(*Item) error) error {
	rep := rd.report
	for i := range b.rows {
		sp, res := &b.rows[i], &b.results[i]
		if res.fault == nil && rd.requests != nil {
			if h := xxh3.HashString(res.key); rd.answered[h] {
				res.fault = refuse(ReasonDuplicateID, "a row before it has the custom_id %s too", quote(res.key))
			} else {
				rd.answered[h] = true
				rep.Notes[NoteUnsentRequests]--
			}
		}
		rep.Rows++
		if f := res.fault; f != nil {
			rep.Refused[f.reason]++
			if len(rep.Samples[f.reason]) < samples {
				rep.Samples[f.reason] = append(rep.Samples[f.reason], Refusal{sp.row, sp.line, f.reason, f.detail})
			}
			continue
		}
		rep.Kept++
		for _, n := range res.notes {
			rep.Notes[n]++
		}
		rd.leak(sp, res.leaks)
		for j := range res.items {
			rep.Items++
			if err := fn(&res.items[j]); err != nil {
				return fmt.Errorf("import %s: row %d on line %d: %w", rd.opt.Name, sp.row, sp.line, err)
			}
		}
		*res = result{} // the callee's now
	}
	return nil
}

func (rd *reader) leak(sp *span, found []text.Identity) {
	for _, id := range found {
		l := rd.leaks[id.Pattern]
		if l == nil {
			l = &Leak{Pattern: id.Pattern}
			rd.leaks[id.Pattern] = l
		}
		l.Count++
		if len(l.Samples) < samples {
			l.Samples = append(l.Samples, LeakSample{sp.row, sp.line, id.Snippet})
		}
	}
}

// finish fills in what is known at the end.
func (rd *reader) finish() {
	rep := rd.report
	if rd.split != nil {
		rep.Bytes, rep.Damage = rd.split.total, rd.split.damage
	}
	for n, count := range rep.Notes {
		if count == 0 {
			delete(rep.Notes, n)
		}
	}
	rep.Leaks = []Leak{}
	for _, p := range text.IdentityPatterns() {
		if l := rd.leaks[p]; l != nil {
			rep.Leaks = append(rep.Leaks, *l)
		}
	}
	slices.SortStableFunc(rep.Leaks, func(a, b Leak) int { return cmp.Compare(b.Count, a.Count) })
}

// room bounds the bytes in flight. Whoever asks for more than all of it waits
// until it is empty.
type room struct {
	mu   sync.Mutex
	used int
	size int
	more chan struct{} // signals that some was given back
}

func newRoom(size int) *room { return &room{size: size, more: make(chan struct{}, 1)} }

// take waits until n bytes fit, and reports whether ctx let it.
func (r *room) take(ctx context.Context, n int) bool {
	return r.wait(ctx, n, func() bool { return r.used == 0 || r.used+n <= r.size })
}

// drained waits until nothing is in flight, and reports whether ctx let it.
func (r *room) drained(ctx context.Context) bool {
	return r.wait(ctx, 0, func() bool { return r.used == 0 })
}

func (r *room) wait(ctx context.Context, n int, until func() bool) bool {
	for {
		r.mu.Lock()
		if until() {
			r.used += n
			r.mu.Unlock()
			return true
		}
		r.mu.Unlock()
		select {
		case <-r.more:
		case <-ctx.Done():
			return false
		}
	}
}

func (r *room) give(n int) {
	r.mu.Lock()
	r.used -= n
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}
