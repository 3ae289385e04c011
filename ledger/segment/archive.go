package segment

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"retort/exchange"
	"retort/ledger"
)

// row is a record in an archive.
type row struct {
	Number     int64  `parquet:"number"`
	Kind       string `parquet:"kind,dict"`
	Exchange   string `parquet:"exchange"` // ULID, or ""
	Time       int64  `parquet:"time,timestamp(nanosecond)"`
	Head       string `parquet:"head"`
	Body       []byte `parquet:"body,optional"` // null if there is none, or if it was erased
	BodyBytes  int64  `parquet:"body_bytes"`
	Salt       []byte `parquet:"salt,optional"` // null without a body, and erased with it
	Commitment []byte `parquet:"commitment,optional"`
	Hash       []byte `parquet:"hash"`
}

// The metadata of an archive.
const (
	metaHeader  = "retort.ledger.header"  // the segment's header, byte for byte
	metaRecords = "retort.ledger.records" // their number
	metaHash    = "retort.ledger.hash"    // the last hash, in hexadecimal
	metaClosed  = "retort.ledger.closed"  // whether the writer closed the segment, or a crash did

	// groupBytes bounds a row group, and with it the memory of writer and reader.
	groupBytes = 8 << 20
	readRows   = 64
)

func toRow(e *entry) row {
	r := row{
		Number: int64(e.number), Kind: string(e.rec.Kind), Exchange: e.rec.Exchange.String(),
		Time: e.rec.Time, Head: string(e.rec.Head), BodyBytes: int64(e.bodyLen), Hash: e.hash[:],
	}
	if e.bodyLen > 0 {
		r.Commitment = e.commitment[:]
	}
	if e.bodyLen > 0 && !e.rec.Erased {
		r.Body, r.Salt = e.rec.Body, e.salt[:]
	}
	return r
}

func fromRow(r *row) (*entry, error) {
	e := &entry{number: uint64(r.Number), bodyLen: uint64(r.BodyBytes)}
	e.rec = ledger.Record{Kind: ledger.Kind(r.Kind), Time: r.Time, Body: r.Body}
	if r.Head != "" {
		e.rec.Head = []byte(r.Head)
	}
	if r.Exchange != "" {
		id, err := exchange.ParseID(r.Exchange)
		if err != nil {
			return nil, err
		}
		e.rec.Exchange = id
	}
	if len(r.Hash) != hashSize {
		return nil, fmt.Errorf("hash of %d bytes", len(r.Hash))
	}
	e.hash = hash(r.Hash)
	switch {
	case r.BodyBytes < 0:
		return nil, fmt.Errorf("body of %d bytes", r.BodyBytes)
	case r.BodyBytes == 0:
		e.rec.Body = nil
		return e, nil
	case len(r.Commitment) != hashSize:
		return nil, fmt.Errorf("commitment of %d bytes", len(r.Commitment))
	}
	e.commitment = hash(r.Commitment)
	if r.Body == nil && r.Salt == nil {
		e.rec.Erased = true
		return e, nil
	}
	if len(r.Salt) != saltSize || len(r.Body) != int(r.BodyBytes) {
		return nil, fmt.Errorf("salt of %d bytes, body of %d instead of %d", len(r.Salt), len(r.Body), r.BodyBytes)
	}
	e.salt = [saltSize]byte(r.Salt)
	if commit(e.salt, e.rec.Body) != e.commitment {
		return nil, errors.New("the body is not the one that was committed to")
	}
	return e, nil
}

// archiveWriter writes one segment to Parquet.
type archiveWriter struct {
	w     *parquet.GenericWriter[row]
	bytes int
}

func newArchiveWriter(w io.Writer) *archiveWriter {
	return &archiveWriter{w: parquet.NewGenericWriter[row](w,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}),
		parquet.CreatedBy("retort", "1", ""),
		parquet.SkipPageBounds("body"), parquet.SkipPageBounds("head"), parquet.SkipPageBounds("salt"),
	)}
}

func (a *archiveWriter) add(e *entry) error {
	if _, err := a.w.Write([]row{toRow(e)}); err != nil {
		return err
	}
	if a.bytes += len(e.rec.Head) + len(e.rec.Body) + 200; a.bytes < groupBytes {
		return nil
	}
	a.bytes = 0
	return a.w.Flush()
}

func (a *archiveWriter) close(l *logReader) error {
	return a.closeWith(l.rawHeader, l.check.number, l.check.hash, l.closed)
}

// archiveEnd is what an archive's metadata say of its segment.
type archiveEnd struct {
	header    header
	rawHeader []byte
	records   uint64
	last      hash
	closed    bool
	bytes     int64
}

// readArchive reads a sealed segment through check. Row groups that cannot be
// read are reported and passed over.
func readArchive(ctx context.Context, fs vfs.FS, dir, name string, src source, check *checker) (end archiveEnd, err error) {
	f, err := fs.Open(fs.PathJoin(dir, name), vfs.SequentialReadsOption)
	if err != nil {
		return end, fmt.Errorf("open ledger archive %s: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return end, fmt.Errorf("read ledger archive %s: %w", name, err)
	}
	end.bytes = info.Size()
	input := &faithful{r: f}
	defer func() { // a disk that cannot be read is not a file that is damaged
		if input.err != nil {
			err = fmt.Errorf("read ledger archive %s: %w", name, input.err)
		}
	}()
	var file *parquet.File
	err = guard(func() (err error) {
		file, err = parquet.OpenFile(input, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		return err
	})
	if err != nil {
		check.breakAt(0, "not a readable Parquet file: "+err.Error(), false)
		return end, check.finish(false, 0, hash{}, 0)
	}
	end.parse(file, src, check)
	at, err := follow(ctx, file.RowGroups(), check)
	if err != nil {
		return end, err
	}
	return end, check.finish(true, end.records, end.last, at)
}

// decoded is what became of one row: an entry, or what is broken at it.
type decoded struct {
	entry  *entry
	at     int64
	broken string
}

// batchBytes bounds the bodies of rows that are handed on together.
const batchBytes = 1 << 20

// follow gives the rows of all groups to check and returns how many there are.
// Decoding goes on beside the checking and whatever is done with the records,
// a few batches ahead: each takes about half of the time.
func follow(ctx context.Context, groups []parquet.RowGroup, check *checker) (rows int64, err error) {
	ahead, stop := context.WithCancel(ctx)
	batches := make(chan []decoded, 2)
	var all int64
	go func() {
		defer close(batches)
		all = decodeGroups(ahead, groups, batches)
	}()
	defer func() { // the file is the caller's again only when decoding has ended
		stop()
		for range batches {
		}
	}()
	for batch := range batches {
		for _, d := range batch {
			if d.broken != "" {
				check.breakAt(d.at, d.broken, false)
			} else if err := check.add(d.entry, d.at); err != nil {
				return 0, err
			}
		}
	}
	return all, ctx.Err()
}

// decodeGroups decodes the rows of all groups in order. A group that cannot be
// read ends with what is broken.
func decodeGroups(ctx context.Context, groups []parquet.RowGroup, out chan<- []decoded) (at int64) {
	var batch []decoded
	size := 0
	add := func(d decoded) error {
		batch = append(batch, d)
		if d.entry != nil {
			size += len(d.entry.rec.Body)
		}
		if len(batch) < readRows && size < batchBytes {
			return nil
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
		batch, size = nil, 0
		return nil
	}
	for i, group := range groups {
		n := int64(0)
		err := guard(func() error {
			return readGroup(ctx, group, func(r *row) error {
				d := decoded{at: at + n}
				n++
				e, err := fromRow(r)
				if err != nil {
					d.broken = err.Error()
				} else {
					d.entry = e
				}
				return add(d)
			})
		})
		if err != nil && ctx.Err() == nil {
			err = add(decoded{at: at + n, broken: fmt.Sprintf("row group %d: %v", i, err)})
		}
		if err != nil {
			return at // nobody listens any more
		}
		at += group.NumRows()
	}
	select {
	case out <- batch:
	case <-ctx.Done():
	}
	return at
}

// parse reads the metadata.
func (end *archiveEnd) parse(file *parquet.File, src source, check *checker) {
	broken := func(what string) { check.breakAt(0, what, false) }
	raw, ok := file.Lookup(metaHeader)
	if !ok {
		broken("no " + metaHeader + " in its metadata")
		return
	}
	// Nothing but the chain guards the metadata against damage, so a version
	// that is not ours does not end the reading here, as it does in a log.
	h, err := parseHeader([]byte(raw))
	if err != nil {
		broken(err.Error())
		return
	}
	if h.Writer != src.writer || h.Segment != src.segment {
		check.report(Damage{File: check.file, What: fmt.Sprintf("the file is segment %d of writer %s under another name", h.Segment, h.Writer)})
	}
	end.header, end.rawHeader = h, []byte(raw)
	check.anchored, check.hash = true, chainStart([]byte(raw))
	records, _ := file.Lookup(metaRecords)
	last, _ := file.Lookup(metaHash)
	closed, _ := file.Lookup(metaClosed)
	end.closed = closed == "true"
	if end.records, err = strconv.ParseUint(records, 10, 64); err != nil {
		broken(metaRecords + " in its metadata: " + err.Error())
	}
	if b, err := hex.DecodeString(last); err != nil || len(b) != hashSize {
		broken(metaHash + " in its metadata is not a hash")
	} else {
		end.last = hash(b)
	}
}

// faithful keeps the first error of a file that is not about its end.
type faithful struct {
	r   io.ReaderAt
	err error
}

// ReadAt implements io.ReaderAt.
func (f *faithful) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.r.ReadAt(p, off)
	if err != nil && err != io.EOF && f.err == nil {
		f.err = err
	}
	return n, err
}

// readGroup calls fn for the rows of a group.
func readGroup(ctx context.Context, group parquet.RowGroup, fn func(*row) error) error {
	r := parquet.NewGenericRowGroupReader[row](group)
	defer r.Close()
	rows := make([]row, readRows)
	for ctx.Err() == nil {
		clear(rows)
		n, err := r.Read(rows)
		for i := range rows[:n] {
			if err := fn(&rows[i]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.ErrNoProgress
		}
	}
	return ctx.Err()
}

// guard turns a panic of the Parquet library over a damaged file into an error.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged Parquet: %v", p)
		}
	}()
	return fn()
}
