package importer

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// The two ways in which rows stand in a file.
const (
	layoutArray = "array" // one JSON array of them
	layoutLines = "lines" // each on a line of its own
)

// batchSize is how many bytes are split and handed on at a time, unless one row
// is longer.
const batchSize = 1 << 20

// firstRead is how much of a file is read at first: most are short.
const firstRead = 64 << 10

// longRow is the length from which memory is not kept with that of other batches.
const longRow = 4 * batchSize

// span is one row of a batch.
type span struct {
	start, end int // in the batch's bytes
	row, line  int64
	fault      *refused // why it cannot be parsed, known from its extent alone
}

// batch is a stretch of whole rows.
type batch struct {
	base    int64  // where in the file its bytes begin, unless bytes of a row were thrown away
	data    []byte // from which rows are cut; given back after they are delivered
	rows    []span
	results []result
	done    chan struct{} // closed when results are there
}

// splitter finds where rows begin and end, in one pass and without parsing them.
//
// In lines every line feed ends a row, since JSON text has none inside of
// strings. In an array a row ends at the comma or the bracket outside of
// strings and of all that the row opened; which kind of bracket closes which is
// left to the parser. A row that never ends takes the rest of the file with it.
type splitter struct {
	r     io.Reader
	max   int64
	large chan []byte // memory of one long row; nil if none is kept

	layout string
	buf    []byte // what was read and not yet handed on
	base   int64  // where in the file it begins
	pos    int    // how much of it was scanned
	start  int    // where the row begins that is under way; -1 outside of rows
	line   int64  // of buf[lineAt]
	lineAt int
	row    int64 // the number of rows so far
	eof    bool
	total  int64

	// Of an array.
	state     arrayState
	depth     int
	inString  bool
	escaped   bool // an odd number of backslashes stands right before pos
	needValue bool // a comma was read: another row must follow

	skipping bool // the row under way is too long: its bytes are thrown away
	skipped  int64
	skipLine int64
	ended    bool   // no row follows
	err      error  // of the reader
	damage   string // what is wrong beside the rows
}

type arrayState uint8

const (
	arrayInside arrayState = iota
	arrayClosed            // behind the closing bracket
	arrayTrail             // in what follows it, which is one row that is refused
)

func newSplitter(r io.Reader, maxRow int64) *splitter {
	return &splitter{r: r, max: maxRow, start: -1, line: 1}
}

// begin reads enough to know the layout. It refuses what is no text that JSON
// could be in.
func (s *splitter) begin() error {
	for len(s.buf) < 4 && !s.eof {
		if err := s.fill(); err != nil {
			return err
		}
	}
	if what := foreign(s.buf); what != "" {
		return &FormatError{What: what}
	}
	if bytes.HasPrefix(s.buf, []byte("\xef\xbb\xbf")) {
		s.pos = 3
	}
	s.layout = layoutLines
	for {
		for s.pos < len(s.buf) && isSpace(s.buf[s.pos]) {
			s.pos++
		}
		switch {
		case s.pos == len(s.buf) && s.eof:
			s.ended = true
			return nil
		case s.pos == len(s.buf):
			s.forget()
			if err := s.fill(); err != nil {
				return err
			}
			continue
		case s.buf[s.pos] == '[':
			s.layout = layoutArray
			s.pos++
		}
		return nil
	}
}

// forget throws the bytes away that were scanned and belong to no row.
func (s *splitter) forget() {
	s.advance(s.pos)
	s.base += int64(s.pos)
	s.buf = s.buf[:copy(s.buf, s.buf[s.pos:])]
	s.pos, s.lineAt = 0, 0
}

// foreign names a file that is no UTF-8 JSON by its first bytes.
func foreign(head []byte) string {
	for _, f := range []struct{ magic, what string }{
		{"\x1f\x8b", "the file is compressed with gzip: decompress it first (gzip -d)"},
		{"\x28\xb5\x2f\xfd", "the file is compressed with zstd: decompress it first (zstd -d)"},
		{"PK\x03\x04", "the file is a ZIP archive: unpack it first"},
		{"PAR1", "the file is Parquet: write its rows as JSON lines first (in pandas: to_json(orient=\"records\", lines=True))"},
		{"\xff\xfe", "the file is UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"},
		{"\xfe\xff", "the file is UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.what
		}
	}
	return ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// fill reads more behind buf, whose capacity grows by doubling.
func (s *splitter) fill() error {
	if len(s.buf) == cap(s.buf) {
		s.buf = append(s.larger(), s.buf...)
	}
	for range 100 { // readers may return nothing, though not forever
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		s.total += int64(n)
		switch {
		case err == io.EOF:
			s.eof = true
			return nil
		case err != nil:
			return err
		case n > 0:
			return nil
		}
	}
	return io.ErrNoProgress
}

// larger returns empty memory with more room than buf has: what a long row before
// this one was read into, if that is there.
func (s *splitter) larger() []byte {
	if cap(s.buf) >= longRow {
		select {
		case b := <-s.large:
			if cap(b) > cap(s.buf) {
				return b[:0]
			}
		default:
		}
	}
	most := max(int(s.max)+2*batchSize, cap(s.buf)+batchSize) // a row under way is never longer
	return make([]byte, 0, max(firstRead, min(2*cap(s.buf), most)))
}

// next returns the next batch, or nil at the end. spare is memory for what is
// read after it. Rows that stand before a failed read come before its error.
func (s *splitter) next(ctx context.Context, spare []byte) (*batch, error) {
	b := &batch{done: make(chan struct{})}
	for !s.ended {
		if s.err = ctx.Err(); s.err != nil {
			s.ended = true
			break
		}
		if s.layout == layoutArray {
			s.scanArray(b)
		} else {
			s.scanLines(b)
		}
		switch {
		case s.eof && s.pos == len(s.buf):
			s.finish(b)
			continue
		case s.skipping:
			s.drop()
		case s.start < 0 && len(b.rows) == 0:
			s.forget()
		}
		if len(b.rows) >= maxBatchRows || len(b.rows) > 0 && len(s.buf) >= batchSize {
			break
		}
		if s.err = s.fill(); s.err != nil {
			s.ended = true
		}
	}
	if len(b.rows) == 0 {
		return nil, s.err
	}
	s.cut(b, spare)
	return b, nil
}

// cut hands the bytes of b's rows over and moves those behind them into spare.
func (s *splitter) cut(b *batch, spare []byte) {
	keep := s.pos
	if s.start >= 0 {
		keep = s.start
	}
	s.advance(keep)
	rest := s.buf[keep:]
	b.data, b.base = s.buf[:keep], s.base
	s.base += int64(keep)
	if s.ended {
		s.buf = rest
		return
	}
	if cap(spare) < len(rest)+1 || cap(spare) < batchSize {
		spare = make([]byte, 0, max(batchSize, 2*len(rest)))
	}
	s.buf = append(spare[:0], rest...)
	s.pos -= keep
	s.lineAt = 0
	if s.start >= 0 {
		s.start = 0
	}
}

// drop forgets the bytes of a row that is too long. Called when all of buf that
// belongs to it was scanned.
func (s *splitter) drop() {
	s.advance(s.pos)
	s.skipped += int64(s.pos - s.start)
	if s.start > 0 { // rows that are not handed on stand before it
		s.buf = append(s.buf[:s.start], s.buf[s.pos:]...)
		s.pos, s.lineAt = s.start, s.start
		return
	}
	s.buf = s.buf[:copy(s.buf, s.buf[s.pos:])]
	s.pos, s.lineAt = 0, 0
}

// advance counts the lines up to an offset of buf.
func (s *splitter) advance(to int) {
	if to > s.lineAt {
		s.line += int64(bytes.Count(s.buf[s.lineAt:to], []byte{'\n'}))
		s.lineAt = to
	}
}

// beginRow notes that a row begins at an offset of buf.
func (s *splitter) beginRow(at int) {
	s.advance(at)
	s.start = at
}

// endRow adds the row that ends at an offset of buf.
func (s *splitter) endRow(b *batch, end int, fault *refused) {
	line := s.line // of lineAt, which is the row's start unless bytes were dropped
	if s.skipping {
		line = s.skipLine
	}
	if s.skipping && fault == nil {
		fault = refuse(ReasonTooLarge, "%d bytes, and a row may have %d", s.skipped+int64(end-s.start), s.max)
	}
	s.row++
	sp := span{start: s.start, end: end, row: s.row, line: line, fault: fault}
	if fault != nil {
		sp.end = sp.start
	}
	b.rows = append(b.rows, sp)
	s.start, s.skipping, s.skipped = -1, false, 0
	s.depth, s.inString, s.escaped = 0, false, false
}

// tooLong starts to skip when the row under way is longer than it may be.
func (s *splitter) tooLong() {
	if s.start >= 0 && !s.skipping && int64(s.pos-s.start) > s.max {
		s.skipping, s.skipLine = true, s.line
	}
}

func (s *splitter) scanLines(b *batch) {
	for s.pos < len(s.buf) {
		if s.start < 0 {
			for s.pos < len(s.buf) && isSpace(s.buf[s.pos]) {
				s.pos++
			}
			if s.pos == len(s.buf) {
				return
			}
			s.beginRow(s.pos)
		}
		i := bytes.IndexByte(s.buf[s.pos:], '\n')
		if i < 0 {
			s.pos = len(s.buf)
			s.tooLong()
			return
		}
		s.pos += i
		s.tooLong()
		s.endRow(b, s.pos, nil)
		s.pos++
		if len(b.rows) >= maxBatchRows {
			return
		}
	}
}

// maxBatchRows bounds what a batch of very short rows holds.
const maxBatchRows = 1 << 12

func (s *splitter) scanArray(b *batch) {
	for s.pos < len(s.buf) {
		switch {
		case s.inString:
			s.scanString()
		case s.state == arrayTrail:
			s.pos = len(s.buf)
		case s.start < 0:
			s.between(b)
		default:
			s.inside(b)
		}
		if len(b.rows) >= maxBatchRows {
			return
		}
	}
	s.tooLong()
	if s.state == arrayTrail && !s.skipping { // nothing of it is needed
		s.skipping, s.skipLine = true, s.line
	}
}

// scanString goes to the end of a string, or of buf.
func (s *splitter) scanString() {
	if s.escaped {
		s.pos, s.escaped = s.pos+1, false
	}
	for s.pos < len(s.buf) {
		i := bytes.IndexByte(s.buf[s.pos:], '"')
		end := s.pos + i
		if i < 0 {
			end = len(s.buf)
		}
		slashes := 0
		for end-slashes > s.pos && s.buf[end-slashes-1] == '\\' {
			slashes++
		}
		s.pos = end
		if i < 0 {
			s.escaped = slashes%2 == 1
			return
		}
		s.pos++
		if slashes%2 == 0 {
			s.inString = false
			return
		}
	}
}

// between looks for the next row, or the array's end.
func (s *splitter) between(b *batch) {
	for s.pos < len(s.buf) && isSpace(s.buf[s.pos]) {
		s.pos++
	}
	if s.pos == len(s.buf) {
		return
	}
	if s.state == arrayClosed {
		s.beginRow(s.pos)
		s.state = arrayTrail
		return
	}
	switch s.buf[s.pos] {
	case ',':
		s.beginRow(s.pos)
		s.endRow(b, s.pos, refuse(ReasonBadJSON, "nothing stands before a comma"))
		s.needValue = true
		s.pos++
	case ']':
		if s.needValue {
			s.beginRow(s.pos)
			s.endRow(b, s.pos, refuse(ReasonBadJSON, "nothing stands between a comma and the end of the array"))
		}
		s.state = arrayClosed
		s.pos++
	default:
		s.needValue = false
		s.beginRow(s.pos)
	}
}

// inside goes on in a row, outside of strings.
func (s *splitter) inside(b *batch) {
	buf := s.buf
	for i := s.pos; i < len(buf); i++ {
		switch buf[i] {
		case '"':
			s.inString, s.pos = true, i+1
			return
		case '{', '[':
			s.depth++
		case '}':
			s.depth = max(0, s.depth-1)
		case ']':
			if s.depth > 0 {
				s.depth--
				continue
			}
			s.pos = i
			s.tooLong()
			s.endRow(b, i, nil)
			s.state, s.pos = arrayClosed, i+1
			return
		case ',':
			if s.depth > 0 {
				continue
			}
			s.pos = i
			s.tooLong()
			s.endRow(b, i, nil)
			s.needValue, s.pos = true, i+1
			return
		}
	}
	s.pos = len(buf)
}

// finish ends the last row at the end of the file.
func (s *splitter) finish(b *batch) {
	s.ended = true
	if s.layout == layoutLines {
		if s.start >= 0 {
			s.endRow(b, s.pos, nil)
		}
		return
	}
	switch {
	case s.state == arrayTrail:
		s.endRow(b, s.pos, refuse(ReasonBadJSON, "text follows the end of the array"))
	case s.start >= 0 && s.depth == 0 && !s.inString && !s.skipping: // a whole row, it may be
		s.endRow(b, s.pos, nil)
		s.damage = fmt.Sprintf("the array is not closed: the file ends behind row %d", s.row)
	case s.start >= 0:
		line := s.line
		if s.skipping {
			line = s.skipLine
		}
		s.damage = fmt.Sprintf("the file ends inside of the row that begins on line %d: the file is cut off, or a bracket or a quotation mark is missing in that row and what follows was taken to be part of it", line)
		s.endRow(b, s.pos, refuse(ReasonTruncated, "the file ends inside of it"))
	case s.state == arrayInside:
		s.damage = fmt.Sprintf("the array is not closed: the file ends behind row %d", s.row)
		if s.needValue && s.row > 0 {
			s.damage += " and a comma"
		}
	}
}
