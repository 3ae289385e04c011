package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logReader reads one log segment, and goes on reading it as it grows.
type logReader struct {
	src   source
	file  vfs.File
	check checker

	offset    int64 // behind the last frame that was read
	header    header
	rawHeader []byte
	started   bool  // the first frame has been read
	scanned   int64 // what lookAhead has read ended here
	durable   int64 // how far it was durable, by what its frames say
	lastValid int64 // offset of the last valid frame

	closed  bool // the closing frame has been read
	records uint64
	last    hash
	torn    int64 // bytes at the end that are no frame, without the free space behind them

	end    int64 // where what was written ended when that was last looked at
	looked int64 // the size of the file then
	buf    []byte
	ended  bool // Tail has finished it
}

func openLog(fs vfs.FS, dir string, src source, report func(Damage), deliver func(*entry, int64) error) (*logReader, error) {
	f, err := fs.Open(fs.PathJoin(dir, src.logName()), vfs.SequentialReadsOption)
	if err != nil {
		return nil, fmt.Errorf("open ledger segment %s: %w", src.logName(), err)
	}
	return &logReader{src: src, file: f, check: checker{file: src.logName(), report: report, deliver: deliver}}, nil
}

func (l *logReader) Close() error { return l.file.Close() }

// size returns the file's length.
func (l *logReader) size() (int64, error) {
	info, err := l.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("read ledger segment %s: %w", l.src.logName(), err)
	}
	return info.Size(), nil
}

// run reads on up to the given size of the file. The first durable bytes are
// known to have been synced, whatever the file says itself. A broken place
// beyond what was durable, with nothing valid behind it, is the torn end of a
// crash or a write under way: reading stops there, and may go on later. It also
// stops where free space begins; behind a closing that may be known to be durable.
//
// A writer may be at work meanwhile. What is judged is therefore what was there
// before anything was read: a frame of which some came later is not broken.
func (l *logReader) run(ctx context.Context, size, durable int64) error {
	if err := l.look(size); err != nil {
		return err
	}
	chunks := newChunkReader(l.file, size, l.offset)
	passed := int64(0) // behind the last broken place that was reported
	for n := 0; ; n++ {
		if n%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		frame, at, err := chunks.read()
		var bad *badChunk
		switch {
		case err == io.EOF:
			l.torn = 0
			return nil
		case errors.Is(err, errIncomplete), errors.As(err, &bad):
			what := "the file ends within a frame"
			if bad != nil {
				what = bad.what
			}
			if at < l.end {
				if err := l.lookAhead(chunks.next, size); err != nil {
					return err
				}
			}
			proven := at < max(durable, l.durable)
			if l.lastValid <= at && !proven || l.closed && at >= l.end {
				l.torn = max(0, l.end-max(l.offset, passed))
				return nil
			}
			l.check.breakAt(at, what, !proven)
			passed = chunks.next
		case err != nil:
			return fmt.Errorf("read ledger segment %s: %w", l.src.logName(), err)
		default:
			if err := l.frame(frame, at); err != nil {
				return err
			}
			l.offset = chunks.next
		}
	}
}

// finish ends the reading of a segment of which no more will come.
func (l *logReader) finish() error {
	return l.check.finish(l.closed, l.records, l.last, l.offset)
}

func (l *logReader) frame(b []byte, at int64) error {
	broken := func(what string) error {
		l.check.breakAt(at, what, false)
		return nil
	}
	first := !l.started
	l.started = true
	if len(b) == 0 {
		return broken("empty frame")
	}
	if l.closed {
		return broken("frame behind the closing of the segment")
	}
	switch {
	case b[0] == frameHeader && first && at == 0:
		return l.begin(b[1:], at)
	case b[0] == frameHeader:
		return broken("header within a segment")
	case b[0] == frameRecord:
		e, err := parseRecord(b)
		if err != nil {
			return broken(err.Error())
		}
		return l.check.add(&e, at)
	case b[0] == frameClose:
		records, last, err := parseClose(b)
		if err != nil {
			return broken(err.Error())
		}
		l.closed, l.records, l.last = true, records, last
		return nil
	}
	return broken(fmt.Sprintf("frame of unknown type %d", b[0]))
}

func (l *logReader) begin(raw []byte, at int64) error {
	h, err := parseHeader(raw)
	var version *VersionError
	if errors.As(err, &version) {
		version.File = l.src.logName()
		return err
	}
	if err != nil {
		l.check.breakAt(at, err.Error(), false)
		return nil
	}
	if h.Writer != l.src.writer || h.Segment != l.src.segment {
		l.check.report(Damage{File: l.src.logName(), Offset: at,
			What: fmt.Sprintf("the file is segment %d of writer %s under another name", h.Segment, h.Writer)})
	}
	l.header, l.rawHeader = h, append([]byte(nil), raw...)
	l.check.anchored, l.check.hash = true, chainStart(raw)
	return nil
}

// lookAhead reads what was written behind a broken place, once: how far frames
// prove it to have been synced, and where the last valid frame is.
func (l *logReader) lookAhead(from, size int64) error {
	if l.scanned == l.end {
		return nil
	}
	for chunks := newChunkReader(l.file, size, from); chunks.next < l.end; {
		frame, at, err := chunks.read()
		var bad *badChunk
		switch {
		case err == io.EOF, errors.Is(err, errIncomplete):
			l.scanned = l.end
			return nil
		case errors.As(err, &bad):
			continue
		case err != nil:
			return fmt.Errorf("read ledger segment %s: %w", l.src.logName(), err)
		}
		l.lastValid = at
		const place = 8 + hashSize // of the synced offset, from the end of the frame
		if len(frame) > place && (frame[0] == frameRecord || frame[0] == frameClose) {
			if synced := binary.LittleEndian.Uint64(frame[len(frame)-place:]); synced <= uint64(size) {
				l.durable = max(l.durable, int64(synced))
			}
		}
	}
	l.scanned = l.end
	return nil
}

// look finds out where what was written ends. Behind it the file is zeros, which
// its writer has set aside, or a crash has left of it: free space. Of fewer zeros
// than a chunk has at least, nobody can say what they are: they are no free space.
//
// What lay free when it was last looked at need not be read again, since a writer
// goes on where it left off and each block that it comes to begins with a chunk,
// which is never all zeros.
func (l *logReader) look(size int64) error {
	known := l.looked == size
	from := max(l.end, l.offset)
	l.end, l.looked = from, size
	if known {
		for at := from; at < size; {
			next := min(size, at&^(blockSize-1)+blockSize)
			end, err := l.lastByte(at, next)
			if err != nil {
				return err
			}
			if end == at && at%blockSize == 0 {
				break
			}
			if end > at {
				l.end = end
			}
			at = next
		}
	} else {
		for at := size; at > from && l.end == from; {
			begin := max(from, (at-1)&^(blockSize-1))
			end, err := l.lastByte(begin, at)
			if err != nil {
				return err
			}
			if end > begin {
				l.end = end
			}
			at = begin
		}
	}
	if size-l.end < chunkSize && l.end > l.offset {
		l.end = size
	}
	return nil
}

// lastByte returns the offset behind the last byte in a part of the file, of one
// block at most, that is not zero, or where the part begins if all are.
func (l *logReader) lastByte(begin, end int64) (int64, error) {
	if l.buf == nil {
		l.buf = make([]byte, blockSize)
	}
	n, err := l.file.ReadAt(l.buf[:end-begin], begin)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read ledger segment %s: %w", l.src.logName(), err)
	}
	return begin + int64(len(bytes.TrimRight(l.buf[:n], "\x00"))), nil
}
