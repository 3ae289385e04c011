package modelfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

// ggufScanner reads a header forwards and knows how many bytes are left, so that
// no count is believed that the rest of the file could not hold. Its first error
// sticks.
type ggufScanner struct {
	r    *bufio.Reader
	at   int64
	size int64
	err  error
	buf  [8]byte
}

// ReadGGUF reads and checks the header of a file of size bytes.
func ReadGGUF(r io.ReaderAt, size int64) (*GGUF, error) {
	s := &ggufScanner{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16), size: size}
	g := &GGUF{r: r, byKey: map[string]int{}, byName: map[string]int{}}
	if magic := s.bytes(4); s.err != nil || string(magic) != ggufMagic {
		return nil, formatError("the file does not begin with %q", ggufMagic)
	}
	g.Version = s.uint32()
	switch {
	case s.err != nil:
		return nil, s.err
	case g.Version > 0 && g.Version&0xffff == 0:
		return nil, formatError("a big-endian GGUF, which is not read")
	case g.Version != 2 && g.Version != 3:
		return nil, formatError("GGUF version %d, want 2 or 3", g.Version)
	}
	tensors := s.count("tensors", 8+1+4+8+4+8)
	pairs := s.count("metadata pairs", 8+1+4+1)
	for range pairs {
		if err := g.readPair(s); err != nil {
			return nil, err
		}
	}
	alignment, err := g.alignment()
	if err != nil {
		return nil, err
	}
	for range tensors {
		if err := g.readTensor(s, alignment); err != nil {
			return nil, err
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	base := (s.at + alignment - 1) / alignment * alignment
	if len(g.Tensors) > 0 && base > size {
		return nil, formatError("the file ends before its data")
	}
	for i := range g.Tensors {
		t := &g.Tensors[i]
		if t.Offset > size-base || t.Size > size-base-t.Offset {
			return nil, formatError("tensor %q lies at bytes %d to %d of %d", t.Name, t.Offset, t.Offset+t.Size, size-base)
		}
		t.Offset += base
	}
	if err := refuseOverlaps(g.Tensors); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *GGUF) readPair(s *ggufScanner) error {
	key := s.text("metadata key", ggufMaxKey)
	if s.err == nil && (key == "" || !utf8.ValidString(key)) {
		return formatError("metadata key %q is empty or not UTF-8", key)
	}
	if _, ok := g.byKey[key]; ok {
		return formatError("metadata key %q comes twice", key)
	}
	v := s.value(key, s.uint32(), 0)
	if s.err != nil {
		return s.err
	}
	g.byKey[key] = len(g.Metadata)
	g.Metadata = append(g.Metadata, KV{key, v})
	return nil
}

func (g *GGUF) alignment() (int64, error) {
	v := g.Value("general.alignment")
	if v == nil {
		return ggufAlignment, nil
	}
	n, ok := v.(uint32)
	if !ok || n < 8 || n > 1<<20 || n&(n-1) != 0 {
		return 0, formatError("general.alignment is %v, want a power of two from 8 to 1048576", v)
	}
	return int64(n), nil
}

func (g *GGUF) readTensor(s *ggufScanner, alignment int64) error {
	name := s.text("tensor name", maxName)
	dims := s.uint32()
	if s.err != nil {
		return s.err
	}
	if _, ok := g.byName[name]; ok || !goodName(name) {
		return formatError("tensor name %q comes twice, is empty, too long or not printable", name)
	}
	if dims < 1 || dims > ggufMaxDims {
		return formatError("tensor %q has %d dimensions, want 1 to %d", name, dims, ggufMaxDims)
	}
	shape := make([]int, dims)
	for i := range shape {
		d := s.uint64()
		if s.err == nil && (d < 1 || d > math.MaxInt32) {
			return formatError("tensor %q has a dimension of %d", name, d)
		}
		shape[len(shape)-1-i] = int(d)
	}
	id, offset := s.uint32(), s.uint64()
	if s.err != nil {
		return s.err
	}
	typ, ok := ggufTypes[id]
	if !ok {
		return formatError("tensor %q has the unknown type %d", name, id)
	}
	n, ok := elements(shape)
	if row := int64(shape[len(shape)-1]); !ok || row%typ.block != 0 {
		return formatError("tensor %q has the impossible shape %v for type %s", name, shape, typ.name)
	}
	if offset > uint64(s.size) || offset%uint64(alignment) != 0 {
		return formatError("tensor %q begins at byte %d, outside of the file or not a multiple of %d", name, offset, alignment)
	}
	blocks := n / typ.block
	if blocks > s.size/typ.bytes {
		return formatError("tensor %q of shape %v and type %s is larger than the file", name, shape, typ.name)
	}
	g.byName[name] = len(g.Tensors)
	g.Tensors = append(g.Tensors, Info{name, shape, typ.name, int64(offset), blocks * typ.bytes})
	return nil
}

func (s *ggufScanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = formatError(format, args...)
	}
}

// bytes returns the next n ≤ 8 bytes, valid until the next call.
func (s *ggufScanner) bytes(n int) []byte {
	b := s.buf[:n]
	clear(b)
	if s.err != nil {
		return b
	}
	if int64(n) > s.size-s.at {
		s.fail("the file ends inside of its header, at byte %d", s.at)
		return b
	}
	if _, err := io.ReadFull(s.r, b); err != nil {
		s.err = fmt.Errorf("read GGUF header: %w", err)
	}
	s.at += int64(n)
	return b
}

func (s *ggufScanner) uint32() uint32 { return binary.LittleEndian.Uint32(s.bytes(4)) }
func (s *ggufScanner) uint64() uint64 { return binary.LittleEndian.Uint64(s.bytes(8)) }

// count reads a number of things that take at least least bytes each.
func (s *ggufScanner) count(what string, least int64) int {
	n := s.uint64()
	if s.err == nil && n > uint64((s.size-s.at)/least) {
		s.fail("%d %s in the %d bytes that are left", n, what, s.size-s.at)
	}
	if s.err != nil {
		return 0
	}
	return int(n)
}

func (s *ggufScanner) text(what string, most uint64) string {
	n := s.uint64()
	if s.err == nil && (n > most || n > uint64(s.size-s.at)) {
		s.fail("%s of %d bytes at byte %d", what, n, s.at)
	}
	if s.err != nil {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		s.err = fmt.Errorf("read GGUF header: %w", err)
	}
	s.at += int64(n)
	return string(b)
}

// value reads a metadata value of the given type.
func (s *ggufScanner) value(key string, typ uint32, depth int) any {
	switch typ {
	case ggufUint8:
		return s.bytes(1)[0]
	case ggufInt8:
		return int8(s.bytes(1)[0])
	case ggufUint16:
		return binary.LittleEndian.Uint16(s.bytes(2))
	case ggufInt16:
		return int16(binary.LittleEndian.Uint16(s.bytes(2)))
	case ggufUint32:
		return s.uint32()
	case ggufInt32:
		return int32(s.uint32())
	case ggufFloat32:
		return math.Float32frombits(s.uint32())
	case ggufBool:
		b := s.bytes(1)[0]
		if b > 1 {
			s.fail("metadata %q is the boolean %d", key, b)
		}
		return b == 1
	case ggufString:
		return s.text("metadata "+key, math.MaxInt64)
	case ggufUint64:
		return s.uint64()
	case ggufInt64:
		return int64(s.uint64())
	case ggufFloat64:
		return math.Float64frombits(s.uint64())
	case ggufArray:
		return s.array(key, depth+1)
	}
	s.fail("metadata %q has the unknown type %d", key, typ)
	return nil
}

func (s *ggufScanner) array(key string, depth int) any {
	typ := s.uint32()
	least, ok := map[uint32]int64{
		ggufUint8: 1, ggufInt8: 1, ggufUint16: 2, ggufInt16: 2, ggufUint32: 4, ggufInt32: 4, ggufFloat32: 4, ggufBool: 1,
		ggufString: 8, ggufArray: 12, ggufUint64: 8, ggufInt64: 8, ggufFloat64: 8,
	}[typ]
	if s.err == nil && (!ok || depth > ggufMaxDepth) {
		s.fail("metadata %q is an array of the unknown type %d, or nested more than %d deep", key, typ, ggufMaxDepth)
	}
	if s.err != nil {
		return nil
	}
	n := s.count("elements of metadata "+key, least)
	switch typ {
	case ggufUint8:
		return elementsOf[uint8](s, key, typ, depth, n)
	case ggufInt8:
		return elementsOf[int8](s, key, typ, depth, n)
	case ggufUint16:
		return elementsOf[uint16](s, key, typ, depth, n)
	case ggufInt16:
		return elementsOf[int16](s, key, typ, depth, n)
	case ggufUint32:
		return elementsOf[uint32](s, key, typ, depth, n)
	case ggufInt32:
		return elementsOf[int32](s, key, typ, depth, n)
	case ggufFloat32:
		return elementsOf[float32](s, key, typ, depth, n)
	case ggufBool:
		return elementsOf[bool](s, key, typ, depth, n)
	case ggufString:
		return elementsOf[string](s, key, typ, depth, n)
	case ggufUint64:
		return elementsOf[uint64](s, key, typ, depth, n)
	case ggufInt64:
		return elementsOf[int64](s, key, typ, depth, n)
	case ggufFloat64:
		return elementsOf[float64](s, key, typ, depth, n)
	}
	return elementsOf[any](s, key, typ, depth, n)
}

func elementsOf[T any](s *ggufScanner, key string, typ uint32, depth, n int) []T {
	out := make([]T, 0, n)
	for range n {
		v := s.value(key, typ, depth)
		if s.err != nil {
			return nil
		}
		out = append(out, v.(T))
	}
	return slices.Clip(out)
}
