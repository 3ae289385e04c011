package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Segments are framed in the record format of LevelDB and pebble: blocks of 32
// KiB that hold chunks, and frames of one or several chunks. They are written
// by pebble's record.Writer. They are read here, since pebble's reader gives up
// a file at its first invalid chunk, as a write-ahead log must, while a ledger
// names the place and reads on; and since a reader that follows a writer must
// be able to start again in the middle of a block.
const (
	blockSize  = 32 << 10
	chunkSize  = 7 // of a chunk's header: CRC 4B, length 2B, type 1B
	chunkFull  = 1
	chunkFirst = 2
	chunkMid   = 3
	chunkLast  = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunkCRC is the masked CRC-32C of pebble's record format.
func chunkCRC(b []byte) uint32 {
	c := crc32.Update(0, castagnoli, b)
	return (c>>15 | c<<17) + 0xa282ead8
}

// badChunk is a place at which the framing is broken. The reader that returned
// it goes on behind that place.
type badChunk struct {
	offset int64
	what   string
}

func (e *badChunk) Error() string { return fmt.Sprintf("offset %d: %s", e.offset, e.what) }

// errIncomplete says that the file ends within a frame: torn off, or not yet
// written.
var errIncomplete = errors.New("the file ends within a frame")

// chunkReader reads frames from a file of which size bytes are looked at. Its
// memory is bounded by one block and the largest frame that is really there.
type chunkReader struct {
	r     io.ReaderAt
	size  int64
	next  int64 // offset of the next chunk
	block int64 // offset of the block in buf, or -1
	n     int   // valid bytes of buf
	buf   [blockSize]byte
	frame []byte
}

func newChunkReader(r io.ReaderAt, size, offset int64) *chunkReader {
	return &chunkReader{r: r, size: size, next: offset, block: -1}
}

// read returns the next frame and the offset of its first chunk. It returns
// io.EOF at the end of the last frame, errIncomplete with the offset of the
// frame that is cut off, a *badChunk where the framing is broken, and other
// errors if the file cannot be read. The frame is valid until the next call.
func (c *chunkReader) read() (frame []byte, offset int64, err error) {
	c.frame = c.frame[:0]
	start := int64(-1)
	for {
		at, kind, payload, err := c.chunk()
		switch {
		case errors.Is(err, io.EOF) && start >= 0, errors.Is(err, errIncomplete) && start >= 0:
			return nil, start, errIncomplete
		case err != nil:
			return nil, at, err
		}
		switch {
		case kind == chunkFull || kind == chunkFirst:
			if start >= 0 { // the frame before never ended: come back to this chunk
				c.next = at
				return nil, start, &badChunk{start, "frame without an end"}
			}
			if kind == chunkFull {
				return payload, at, nil
			}
			start = at
		case start < 0:
			return nil, at, &badChunk{at, "chunk within a frame without its beginning"}
		}
		c.frame = append(c.frame, payload...)
		if kind == chunkLast {
			return c.frame, start, nil
		}
	}
}

// chunk returns the next chunk. After a broken one it goes on at the next valid
// chunk of the block, or else at the next block.
func (c *chunkReader) chunk() (at int64, kind byte, payload []byte, err error) {
	for {
		at = c.next
		if at >= c.size {
			return at, 0, nil, io.EOF
		}
		if err := c.load(at &^ (blockSize - 1)); err != nil {
			return at, 0, nil, err
		}
		if at >= c.size {
			return at, 0, nil, io.EOF
		}
		i := int(at - c.block)
		if blockSize-i < chunkSize { // unused end of a block
			c.next = c.block + blockSize
			continue
		}
		kind, payload, what := c.parse(i)
		if what == "" {
			c.next = at + chunkSize + int64(len(payload))
			return at, kind, payload, nil
		}
		if next := c.resync(i); next >= 0 {
			c.next = c.block + int64(next)
		} else {
			c.next = c.block + blockSize
			if what == cutOff && c.next >= c.size {
				return at, 0, nil, errIncomplete
			}
		}
		return at, 0, nil, &badChunk{at, what}
	}
}

// resync finds the next valid chunk of the block behind the broken one at
// buf[i:]: where its length says, or else at any byte.
func (c *chunkReader) resync(i int) int {
	if c.n-i >= chunkSize {
		j := i + chunkSize + int(binary.LittleEndian.Uint16(c.buf[i+4:]))
		if c.valid(j) {
			return j
		}
	}
	for j := i + 1; j+chunkSize <= c.n; j++ {
		if c.valid(j) {
			return j
		}
	}
	return -1
}

func (c *chunkReader) valid(i int) bool {
	if c.n-i < chunkSize || c.buf[i+6] < chunkFull || c.buf[i+6] > chunkLast {
		return false
	}
	_, _, what := c.parse(i)
	return what == ""
}

// cutOff is parse's finding where the file ends within a chunk.
const cutOff = "cut off"

// parse reads the chunk at buf[i:]; what says what is wrong with it.
func (c *chunkReader) parse(i int) (kind byte, payload []byte, what string) {
	if c.n-i < chunkSize {
		return 0, nil, cutOff
	}
	h := c.buf[i:c.n]
	n := int(binary.LittleEndian.Uint16(h[4:]))
	kind = h[6]
	switch {
	case kind == 0 && n == 0 && binary.LittleEndian.Uint32(h) == 0:
		return 0, nil, "zeros where a frame was expected"
	case kind < chunkFull || kind > chunkLast:
		return 0, nil, fmt.Sprintf("unknown chunk type %d", kind)
	case i+chunkSize+n > blockSize:
		return 0, nil, "chunk reaches beyond its block"
	case chunkSize+n > len(h):
		return 0, nil, cutOff
	case chunkCRC(h[6:chunkSize+n]) != binary.LittleEndian.Uint32(h):
		return 0, nil, "checksum mismatch"
	}
	return kind, h[chunkSize : chunkSize+n], ""
}

func (c *chunkReader) load(block int64) error {
	if c.block == block {
		return nil
	}
	n := int(min(blockSize, c.size-block))
	m, err := c.r.ReadAt(c.buf[:n], block)
	if m < n {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c.size = block + int64(m) // its writer has closed it and cut off what was free
	}
	c.block, c.n = block, m
	return nil
}
