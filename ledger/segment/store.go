// Package segment keeps a ledger on one machine's disk: log segments of its
// own that seal to Parquet.
//
// Each writing process has a sequence of segments of its own, named by a ULID
// that it draws when it opens the store, so that several processes write to one
// directory and others read it at the same time, without a server. A writer
// appends to its newest segment, syncs once for all the callers that are
// waiting, and starts another segment after SegmentBytes. It never touches a
// segment again that it finished, or that another process left behind: a crash
// costs what was not acknowledged, and the next process begins a new segment.
//
// Every record carries a SHA-256 over itself and the record before it. A body
// enters it only as a salted commitment, so that it can be erased later.
// Readers check the chain as they read; they name what is broken by file,
// offset and record, and read on behind it.
//
// Seal rewrites finished segments as Parquet, one file each, reads them back,
// and only then removes the logs.
//
// The formats are described in docs/formats. The package knows nothing of what
// records mean; that is package ledger's.
package segment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"retort/ledger"
)

// Option configures a store. The zero value is good.
type Option struct {
	FS           vfs.FS        // default: the operating system's
	SegmentBytes int64         // a segment that has reached it is finished; default 64 MiB
	Poll         time.Duration // how often Tail looks for what other processes wrote; default 100 ms
	Raw          bool          // records lie uncompressed in the log until it is sealed, in space that is set aside ahead: for who appends much and must wait for neither processor nor disk
	OnDamage     func(Damage)  // told of every damage that a Scan or Tail meets; default: they return a *DamageError
}

func (o *Option) fill() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.Poll <= 0 {
		o.Poll = 100 * time.Millisecond
	}
}

var (
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("the ledger is closed")
	// ErrPoisoned is returned by Append once a write or a sync has failed.
	// What is on the disk is then uncertain, so nothing is acknowledged any
	// more until the store has been opened anew.
	ErrPoisoned = errors.New("the ledger takes no more records after a failed write")
)

// Store is a writing process's view of a ledger. It is safe for concurrent use.
type Store struct {
	*Reader
	id   string // of this writer
	wake chan struct{}
	done chan struct{} // closed when the committer has ended

	mu      sync.Mutex
	queue   []*request
	closed  bool
	err     error         // the failure that poisoned the store
	current source        // the segment being written
	durable int64         // how much of it has been synced
	news    chan struct{} // closed and replaced when more is durable

	roll chan chan error // asks the committer to finish the current segment

	// Owned by the committer.
	lock   io.Closer
	active *writer
	last   hash
	count  uint64 // records in finished segments
	number int    // of the newest segment
}

var (
	_ ledger.Submitter = (*Store)(nil)
	_ ledger.Reader    = (*Store)(nil)
)

// request is one call of Submit.
type request struct {
	frames []frame
	done   func(error)
}

// frame is a record that is encoded but for its place in the chain.
type frame struct {
	buf     *[]byte
	content hash
}

// Open opens the ledger in dir for writing, and creates dir if need be. Nothing
// is written before the first Append.
func Open(dir string, opt Option) (*Store, error) {
	opt.fill()
	dir, err := place(opt.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := makeDir(opt.FS, dir); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	id, err := newWriter(opt.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	s := &Store{
		Reader: &Reader{fs: opt.FS, dir: dir, opt: opt},
		id:     id,
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		news:   make(chan struct{}),
		roll:   make(chan chan error),
	}
	s.Reader.synced = s.ownSynced
	s.Reader.changed = s.ownNews
	go s.commitLoop()
	return s, nil
}

// newWriter draws a writer's id. It sorts behind those of all writers that are
// there, also if they began within the same millisecond or the clock was set
// back, so that what one process writes after another is read after it.
func newWriter(fs vfs.FS, dir string) (string, error) {
	all, err := list(fs, dir)
	if err != nil {
		return "", err
	}
	now := ulid.Now()
	if len(all) > 0 {
		if latest, err := ulid.ParseStrict(all[len(all)-1].writer); err == nil && latest.Time() < ulid.MaxTime() {
			now = max(now, latest.Time()+1)
		}
	}
	id, err := ulid.New(now, rand.Reader)
	if err != nil {
		return "", fmt.Errorf("draw a writer id: %w", err)
	}
	return id.String(), nil
}

// makeDir creates dir and its missing parents, each made durable in its own
// parent. It syncs dir's parent in any case, since the process that created dir
// may have crashed before it did.
func makeDir(fs vfs.FS, dir string) error {
	parent := fs.PathDir(dir)
	if _, err := fs.Stat(dir); err != nil {
		if parent != dir {
			if err := makeDir(fs, parent); err != nil {
				return err
			}
		}
		if err := fs.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if parent == dir {
		return nil
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Append implements ledger.Appender. Calls that wait at the same time share a
// sync. If ctx ends first, the records may or may not become durable.
func (s *Store) Append(ctx context.Context, recs ...ledger.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	s.Submit(func(err error) { done <- err }, recs...)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Submit implements ledger.Submitter. The committer calls done; it waits
// meanwhile, so done must not block.
func (s *Store) Submit(done func(error), recs ...ledger.Record) {
	req := &request{frames: make([]frame, len(recs)), done: done}
	for i := range recs {
		f, err := encode(&recs[i], s.opt.Raw)
		if err != nil {
			done(fmt.Errorf("append to the ledger: %w", err))
			return
		}
		req.frames[i] = f
	}
	if err := s.enqueue(req); err != nil || len(recs) == 0 {
		done(err)
	}
}

func encode(rec *ledger.Record, raw bool) (frame, error) {
	if err := check(rec); err != nil {
		return frame{}, err
	}
	e := entry{rec: *rec, bodyLen: uint64(len(rec.Body))}
	if len(rec.Body) > 0 {
		rand.Read(e.salt[:]) // never fails
		e.commitment = commit(e.salt, rec.Body)
	}
	f := frame{buf: frameBuffers.Get().(*[]byte), content: e.content()}
	*f.buf = appendRecord(slices.Grow((*f.buf)[:0], 256+len(rec.Head)+len(rec.Body)), &e, raw)
	return f, nil
}

// frameBuffers are the buffers of frames that have been written.
var frameBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is how long a buffer may be to be used again.
const maxPooled = 64 << 10

// release gives the buffers of a request back.
func (r *request) release() {
	for _, f := range r.frames {
		if cap(*f.buf) <= maxPooled {
			frameBuffers.Put(f.buf)
		}
	}
	r.frames = nil
}

func (s *Store) enqueue(req *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.closed {
		return ErrClosed
	}
	if len(req.frames) == 0 {
		return nil
	}
	s.queue = append(s.queue, req)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Close finishes the current segment and ends the writing. Waiting calls of
// Append are served first.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	close(s.wake)
	s.mu.Unlock()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Store) ownSynced(src source) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.writer != s.current.writer || src.segment != s.current.segment {
		return 0, false
	}
	return s.durable, true
}

func (s *Store) ownNews() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}
