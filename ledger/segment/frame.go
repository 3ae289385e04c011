package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"retort/exchange"
	"retort/ledger"
)

// A frame is the payload of one record of pebble's record format. The first
// byte is its type.
const (
	frameHeader = 1 // first frame of a segment: JSON
	frameRecord = 2 // one ledger record
	frameClose  = 3 // last frame of a finished segment: number of records and last hash
)

const (
	formatName    = "retort-ledger"
	formatVersion = 1

	hashSize = sha256.Size
	saltSize = 16

	flagHeadZstd = 1 << 0
	flagBodyZstd = 1 << 1

	// compressFrom is the length from which compressing is tried.
	compressFrom = 256
	// maxRatio bounds what a stored byte may expand to, so that a hostile file
	// cannot make a reader allocate more than a multiple of its size. The
	// writer stores raw what would exceed it.
	maxRatio = 200
	maxKind  = 64
)

// hash is a link of the chain.
type hash [hashSize]byte

// header is the first frame of a segment. Its raw bytes start the chain, so
// fields of later versions are covered too.
type header struct {
	Format   string `json:"format"`
	Version  int    `json:"version"`
	Writer   string `json:"writer"`   // ULID of the writing process's store
	Segment  int    `json:"segment"`  // from 1, contiguous within a writer
	Previous []byte `json:"previous"` // last hash of the writer's previous segment; absent in the first
	Records  uint64 `json:"records"`  // records in the writer's segments before this one
	Created  int64  `json:"created"`  // UTC nanoseconds
}

func parseHeader(raw []byte) (header, error) {
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("segment header: %w", err)
	}
	switch {
	case h.Format != formatName:
		return h, fmt.Errorf("segment header names the format %q, want %q", h.Format, formatName)
	case h.Version != formatVersion:
		return h, &VersionError{Version: h.Version}
	}
	return h, nil
}

// VersionError says that a file was written by a later version of the program.
type VersionError struct {
	File    string
	Version int
}

// Error implements error.
func (e *VersionError) Error() string {
	file := e.File
	if file == "" {
		file = "the segment"
	}
	return fmt.Sprintf("%s has version %d of the ledger format, this program reads version %d: use a newer one", file, e.Version, formatVersion)
}

// chainStart is the hash before a segment's first record.
func chainStart(rawHeader []byte) hash {
	h := sha256.New()
	h.Write([]byte("retort ledger chain 1\n"))
	h.Write(rawHeader)
	return hash(h.Sum(nil))
}

// commit is the salted commitment to a body.
func commit(salt [saltSize]byte, body []byte) hash {
	h := sha256.New()
	h.Write(salt[:])
	h.Write(body)
	return hash(h.Sum(nil))
}

// entry is a record with what its store adds. A record without a body has no
// salt, and a commitment of zeros.
type entry struct {
	rec        ledger.Record
	number     uint64 // within the segment, from 1
	bodyLen    uint64 // also of an erased body
	salt       [saltSize]byte
	commitment hash
	hash       hash
	synced     uint64 // offset up to which the file was known to be durable when this was written
}

// content is SHA-256(kind ‖ exchange id ‖ time ‖ head ‖ body length ‖
// commitment), integers in 8 bytes little-endian, kind and head prefixed with
// their lengths.
func (e *entry) content() hash {
	h := sha256.New()
	var n [8]byte
	put := func(v uint64) {
		binary.LittleEndian.PutUint64(n[:], v)
		h.Write(n[:])
	}
	put(uint64(len(e.rec.Kind)))
	h.Write([]byte(e.rec.Kind))
	h.Write(e.rec.Exchange[:])
	put(uint64(e.rec.Time))
	put(uint64(len(e.rec.Head)))
	h.Write(e.rec.Head)
	put(e.bodyLen)
	h.Write(e.commitment[:])
	return hash(h.Sum(nil))
}

// link is the hash of the record with a number and content that follows
// previous: SHA-256(previous ‖ number ‖ content).
func link(previous hash, number uint64, content hash) hash {
	var b [2*hashSize + 8]byte
	copy(b[:], previous[:])
	binary.LittleEndian.PutUint64(b[hashSize:], number)
	copy(b[hashSize+8:], content[:])
	return sha256.Sum256(b[:])
}

// follows reports whether the entry is the one after the record with the given
// hash and number.
func (e *entry) follows(previous hash, number uint64) bool {
	return e.number == number+1 && link(previous, e.number, e.content()) == e.hash
}

// check refuses records that could not be read back or exported.
func check(rec *ledger.Record) error {
	switch {
	case rec.Kind == "" || len(rec.Kind) > maxKind || !utf8.ValidString(string(rec.Kind)):
		return fmt.Errorf("kind %q is not 1 to %d bytes of UTF-8", rec.Kind, maxKind)
	case len(rec.Head) > 0 && (!json.Valid(rec.Head) || !utf8.Valid(rec.Head)):
		return fmt.Errorf("%s record of exchange %s: the head is not valid JSON", rec.Kind, rec.Exchange)
	case rec.Kind == ledger.KindFragment && len(rec.Body) > ledger.MaxFragment:
		return fmt.Errorf("fragment record of exchange %s: body of %d bytes, at most %d are allowed", rec.Exchange, len(rec.Body), ledger.MaxFragment)
	case rec.Erased:
		return fmt.Errorf("%s record of exchange %s: an erased record cannot be appended", rec.Kind, rec.Exchange)
	}
	return nil
}

var (
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(2))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(1<<30))
)

// compress returns what is to be stored for b, and whether it is compressed.
func compress(b []byte, raw bool) ([]byte, bool) {
	if raw || len(b) < compressFrom {
		return b, false
	}
	z := encoder.EncodeAll(b, make([]byte, 0, len(b)/2))
	if len(z) >= len(b)-len(b)/16 || len(b) > maxRatio*len(z) {
		return b, false
	}
	return z, true
}

// appendRecord encodes a record frame up to the number, which, like the hash,
// is only known when the record's turn comes.
//
//	type 1B | flags 1B | kind length uvarint, kind | exchange id 16B | time 8B |
//	head length uvarint, stored length uvarint, bytes |
//	body length uvarint, and if it is not 0: salt 16B, stored length uvarint, bytes |
//	number 8B | synced 8B | hash 32B
func appendRecord(b []byte, e *entry, raw bool) []byte {
	start := len(b)
	b = append(b, frameRecord, 0)
	b = binary.AppendUvarint(b, uint64(len(e.rec.Kind)))
	b = append(b, e.rec.Kind...)
	b = append(b, e.rec.Exchange[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.rec.Time))
	stored, z := compress(e.rec.Head, raw)
	if z {
		b[start+1] |= flagHeadZstd
	}
	b = binary.AppendUvarint(b, uint64(len(e.rec.Head)))
	b = binary.AppendUvarint(b, uint64(len(stored)))
	b = append(b, stored...)
	b = binary.AppendUvarint(b, e.bodyLen)
	if e.bodyLen == 0 {
		return b
	}
	if stored, z = compress(e.rec.Body, raw); z {
		b[start+1] |= flagBodyZstd
	}
	b = append(b, e.salt[:]...)
	b = binary.AppendUvarint(b, uint64(len(stored)))
	return append(b, stored...)
}

// appendPlace encodes what follows: the record's place in the chain.
func appendPlace(b []byte, number, synced uint64, h hash) []byte {
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, synced)
	return append(b, h[:]...)
}

var errShort = errors.New("frame ends too early")

// parseRecord decodes a record frame. The record's slices alias b or are new.
func parseRecord(b []byte) (entry, error) {
	var e entry
	p := parser{b: b}
	if p.byte() != frameRecord {
		return e, errors.New("not a record frame")
	}
	flags := p.byte()
	kind := p.bytes(p.uvarint())
	if len(kind) == 0 || len(kind) > maxKind {
		return e, errors.New("kind has an impossible length")
	}
	e.rec.Kind = ledger.Kind(kind)
	e.rec.Exchange = exchange.ID(p.array(16))
	e.rec.Time = int64(p.uint64())
	n := p.uvarint()
	head, err := expand(p.bytes(p.uvarint()), n, flags&flagHeadZstd != 0)
	if err != nil {
		return e, fmt.Errorf("head: %w", err)
	}
	if len(head) > 0 {
		e.rec.Head = head
	}
	if e.bodyLen = p.uvarint(); e.bodyLen > 0 && p.err == nil {
		e.salt = [saltSize]byte(p.array(saltSize))
		if e.rec.Body, err = expand(p.bytes(p.uvarint()), e.bodyLen, flags&flagBodyZstd != 0); err != nil {
			return e, fmt.Errorf("body: %w", err)
		}
		e.commitment = commit(e.salt, e.rec.Body)
	}
	e.number = p.uint64()
	e.synced = p.uint64()
	e.hash = hash(p.array(hashSize))
	if p.err == nil && len(p.b) > 0 {
		p.err = fmt.Errorf("%d bytes too many", len(p.b))
	}
	return e, p.err
}

// expand returns the n bytes that were stored as b.
func expand(b []byte, n uint64, compressed bool) ([]byte, error) {
	if !compressed {
		if uint64(len(b)) != n {
			return nil, fmt.Errorf("%d bytes stored, %d expected", len(b), n)
		}
		return b, nil
	}
	if n > maxRatio*uint64(len(b)) {
		return nil, fmt.Errorf("%d bytes claim to expand to %d", len(b), n)
	}
	var h zstd.Header
	if err := h.Decode(b); err != nil || !h.HasFCS || h.FrameContentSize != n {
		return nil, fmt.Errorf("compressed length is not %d", n)
	}
	out, err := decoder.DecodeAll(b, make([]byte, 0, n))
	if err != nil {
		return nil, err
	}
	if uint64(len(out)) != n {
		return nil, fmt.Errorf("%d bytes, %d expected", len(out), n)
	}
	return out, nil
}

// A close frame: type 1B | records in this segment 8B | synced 8B | hash of the
// last record 32B. Like a record's, it ends with synced and hash.
func closeFrame(records, synced uint64, last hash) []byte {
	return appendPlace([]byte{frameClose}, records, synced, last)
}

func parseClose(b []byte) (records uint64, last hash, err error) {
	if len(b) != 1+8+8+hashSize {
		return 0, hash{}, fmt.Errorf("closing frame of %d bytes, want %d", len(b), 1+8+8+hashSize)
	}
	return binary.LittleEndian.Uint64(b[1:]), hash(b[17:]), nil
}

// parser reads a frame's fields; its first error sticks.
type parser struct {
	b   []byte
	err error
}

func (p *parser) bytes(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.err = errShort
		p.b = nil
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

// array returns n bytes, zeros after an error.
func (p *parser) array(n int) []byte {
	if b := p.bytes(uint64(n)); b != nil {
		return b
	}
	return make([]byte, n)
}

func (p *parser) byte() byte     { return p.array(1)[0] }
func (p *parser) uint64() uint64 { return binary.LittleEndian.Uint64(p.array(8)) }

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.err = errShort
		p.b = nil
		return 0
	}
	p.b = p.b[n:]
	return v
}
