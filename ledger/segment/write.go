package segment

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// writer writes one segment.
//
// With Option.Raw it has space set aside ahead: zeros that it writes into later. A
// sync of what lies in space that was written before costs the disk one write; one
// of what made the file longer costs it a commit of the file system's journal too.
// Space is set aside when the callers of a commit have been answered, so that none
// waits for it but who comes meanwhile.
type writer struct {
	src    source
	file   vfs.File
	rec    *record.Writer
	count  uint64 // records in it
	synced int64
	step   int64 // how much space is set aside at a time; 0: none
	limit  int64 // up to where
	aside  int64 // up to where it is
}

const (
	// asideShare is which share of a segment is set aside at a time: of one of 64
	// MiB, one MiB, which takes about a millisecond to write and sync.
	asideShare = 64
	asideLeast = 4 << 10
	// asidePiece is how much of it is written at a time.
	asidePiece = 256 << 10
)

// commitLoop is the one goroutine that writes. It takes whatever has been
// queued while the last sync was under way, writes it, syncs once and answers
// all callers.
func (s *Store) commitLoop() {
	defer close(s.done)
	open := true
	for open {
		select {
		case _, open = <-s.wake:
			s.serve()
		case answer := <-s.roll:
			s.serve()
			s.fail(s.finish())
			answer <- s.poison()
		}
	}
	s.serve()
	s.fail(s.finish())
	s.unlock()
}

// serve commits what is queued.
func (s *Store) serve() {
	s.mu.Lock()
	batch := s.queue
	s.queue = nil
	s.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := s.poison()
	if err == nil {
		err = s.fail(s.commit(batch))
	}
	for _, req := range batch {
		req.release()
		req.done(err)
	}
	if err == nil && s.active != nil {
		s.active.setAside(s.idle)
	}
}

// idle reports whether nothing is queued.
func (s *Store) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0
}

func (s *Store) poison() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail makes err, if it is one, the last word of this store. The kernel may
// have dropped pages that it could not write, so that a later sync would
// succeed without them.
func (s *Store) fail(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("%w: ledger %s: %w", ErrPoisoned, s.dir, err)
	}
	return s.err
}

func (s *Store) commit(batch []*request) error {
	for _, req := range batch {
		for _, f := range req.frames {
			if s.active != nil && s.active.rec.Size() >= s.opt.SegmentBytes {
				if err := s.finish(); err != nil {
					return err
				}
			}
			if s.active == nil {
				if err := s.begin(); err != nil {
					return err
				}
			}
			w := s.active
			w.count++
			s.last = link(s.last, w.count, f.content)
			if err := w.write(appendPlace(*f.buf, w.count, uint64(w.synced), s.last)); err != nil {
				return err
			}
		}
	}
	if err := s.active.sync(); err != nil {
		return err
	}
	s.publish()
	return nil
}

// publish lets readers of this process see what has become durable.
func (s *Store) publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = s.active.synced
	close(s.news)
	s.news = make(chan struct{})
}

// begin starts the next segment. Its first records are acknowledged only after
// its name is durable in the directory.
func (s *Store) begin() error {
	if s.lock == nil {
		lock, err := s.fs.Lock(s.fs.PathJoin(s.dir, s.id+lockSuffix))
		if err != nil {
			return fmt.Errorf("lock writer %s: %w", s.id, err)
		}
		s.lock = lock
	}
	h := header{
		Format: formatName, Version: formatVersion, Writer: s.id, Segment: s.number + 1,
		Records: s.count, Created: time.Now().UnixNano(),
	}
	if s.number > 0 {
		h.Previous = s.last[:]
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("header of segment %d: %w", h.Segment, err)
	}
	w := &writer{src: source{writer: s.id, segment: h.Segment, log: true}}
	path := s.fs.PathJoin(s.dir, w.src.logName())
	if w.file, err = s.fs.Create(path, vfs.WriteCategoryUnspecified); err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	if s.opt.Raw {
		w.step, w.limit = max(s.opt.SegmentBytes/asideShare, asideLeast), s.opt.SegmentBytes
	}
	s.active, s.number = w, h.Segment
	w.rec = record.NewWriter(w.file)
	s.mu.Lock()
	s.current, s.durable = w.src, 0
	s.mu.Unlock()
	if err := w.write(append([]byte{frameHeader}, raw...)); err != nil {
		return err
	}
	s.last = chainStart(raw)
	return syncDir(s.fs, s.dir)
}

// finish closes the current segment, if there is one. It is complete on the
// disk before anything else is done.
func (s *Store) finish() error {
	if s.active == nil {
		return nil
	}
	w := s.active
	s.active = nil
	if s.poison() != nil {
		w.file.Close()
		return nil
	}
	var err error
	if w.rec.Size() > w.synced { // the closing frame vouches for what is before it
		err = w.sync()
	}
	if err == nil {
		err = w.write(closeFrame(w.count, uint64(w.synced), s.last))
	}
	if err == nil {
		err = w.cut()
	}
	if err == nil {
		err = w.sync()
	}
	if cerr := w.file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close segment %s: %w", w.src.logName(), cerr)
	}
	if err != nil {
		return err
	}
	s.count += w.count
	s.mu.Lock()
	s.current = source{} // it is read like any other from here on
	close(s.news)
	s.news = make(chan struct{})
	s.mu.Unlock()
	return nil
}

// unlock gives the writer's lock up and removes it.
func (s *Store) unlock() {
	if s.lock == nil {
		return
	}
	name := s.fs.PathJoin(s.dir, s.id+lockSuffix)
	if err := s.fs.Remove(name); err != nil {
		s.lock.Close()
		_ = s.fs.Remove(name) // where open files cannot be removed; else Seal removes it
	} else {
		s.lock.Close()
	}
	s.lock = nil
}

func (w *writer) write(frame []byte) error {
	r, err := w.rec.Next()
	if err == nil {
		_, err = r.Write(frame)
	}
	if err != nil {
		return fmt.Errorf("write segment %s: %w", w.src.logName(), err)
	}
	return nil
}

func (w *writer) sync() error {
	err := w.rec.Flush()
	if err == nil {
		err = w.file.SyncData()
	}
	if err != nil {
		return fmt.Errorf("write segment %s: %w", w.src.logName(), err)
	}
	w.synced = w.rec.Size()
	return nil
}

// setAside writes zeros behind what was written, if little is left of those that
// were. Without anybody waiting it syncs them; else the next commit does.
//
// That it fails is no failure to record: everything acknowledged was synced before,
// and what is written later is synced for itself, into zeros or not. The segment
// then grows with what is written, and a full disk fails that.
func (w *writer) setAside(idle func() bool) {
	at := max(w.aside, w.rec.Size())
	if w.step == 0 || at >= w.limit || at-w.rec.Size() >= w.step/2 {
		return
	}
	end := min(w.limit, (at+w.step)/w.step*w.step)
	for zeros := make([]byte, min(asidePiece, w.step)); at < end; at = w.aside {
		clear(zeros) // a file may change what it is given
		n, err := w.file.WriteAt(zeros[:min(int64(len(zeros)), end-at)], at)
		if w.aside = at + int64(n); err != nil {
			w.step = 0
			return
		}
	}
	if idle() && w.file.SyncData() != nil {
		w.step = 0
	}
}

// cut ends the file behind what was written. Where files cannot be cut the zeros
// stay, which readers do not mind.
func (w *writer) cut() error {
	if w.aside == 0 {
		return nil
	}
	if err := w.rec.Flush(); err != nil {
		return fmt.Errorf("write segment %s: %w", w.src.logName(), err)
	}
	if f, ok := w.file.(interface{ Truncate(size int64) error }); ok {
		_ = f.Truncate(w.rec.Size())
	}
	return nil
}
