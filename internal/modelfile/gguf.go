package modelfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
)

// GGUF: "GGUF", version, number of tensors, number of metadata pairs; the pairs;
// the tensors' names, shapes, types and offsets; padding to the alignment; the
// tensors' bytes, each aligned. All numbers little-endian. docs/formats/gguf.md
// has the keys that a student needs.

const (
	ggufMagic     = "GGUF"
	ggufVersion   = 3
	ggufAlignment = 32
	ggufMaxDims   = 4  // of ggml
	ggufMaxName   = 63 // of ggml, without its final zero
	ggufMaxKey    = 65535
	ggufMaxDepth  = 4 // arrays in arrays
)

// The value types of GGUF metadata.
const (
	ggufUint8 = iota
	ggufInt8
	ggufUint16
	ggufInt16
	ggufUint32
	ggufInt32
	ggufFloat32
	ggufBool
	ggufString
	ggufArray
	ggufUint64
	ggufInt64
	ggufFloat64
)

// ggufTypes are ggml's tensor types: elements a block and bytes a block.
var ggufTypes = map[uint32]struct {
	name         Type
	block, bytes int64
}{
	0: {F32, 1, 4}, 1: {F16, 1, 2}, 2: {Q4_0, 32, 18}, 3: {Q4_1, 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {Q8_0, 32, 34}, 9: {"Q8_1", 32, 36}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2},
	26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8}, 30: {BF16, 1, 2},
}

// ggufTypeIDs are the numbers of the types that are written.
var ggufTypeIDs = map[Type]uint32{F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 8, BF16: 30}

// KV is one pair of GGUF metadata. Value is a bool, string, (u)int8 to
// (u)int64, float32, float64, or a slice of one of these (not of int, which has
// no size of its own), or, when read, []any of slices for arrays of arrays.
type KV struct {
	Key   string
	Value any
}

// GGUF is an open GGUF file. Its methods may be called concurrently.
type GGUF struct {
	Version  uint32
	Metadata []KV   // in the file's order
	Tensors  []Info // in the file's order

	r      io.ReaderAt
	file   *os.File
	byKey  map[string]int
	byName map[string]int
}

// WriteGGUF writes a file of version 3, streaming the tensors in the given
// order.
func WriteGGUF(w io.Writer, metadata []KV, tensors []Tensor) error {
	header, err := ggufHeader(metadata, tensors)
	if err != nil {
		return fmt.Errorf("write GGUF: %w", err)
	}
	buf := bufio.NewWriterSize(w, 1<<18)
	buf.Write(header) // a failure is kept for Flush
	for _, t := range tensors {
		if err := writeValues(buf, t.Type, t.Data); err != nil {
			return fmt.Errorf("write GGUF: tensor %s: %w", t.Name, err)
		}
		buf.Write(make([]byte, pad(t.size())))
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write GGUF: %w", err)
	}
	return nil
}

// pad is the number of bytes from n to the next aligned offset.
func pad(n int64) int64 { return -n & (ggufAlignment - 1) }

func ggufHeader(metadata []KV, tensors []Tensor) ([]byte, error) {
	le := binary.LittleEndian
	b := append([]byte(nil), ggufMagic...)
	b = le.AppendUint32(b, ggufVersion)
	b = le.AppendUint64(b, uint64(len(tensors)))
	b = le.AppendUint64(b, uint64(len(metadata)))
	keys := map[string]bool{"general.alignment": true} // 32 is the default, and nothing else is written
	for _, kv := range metadata {
		if keys[kv.Key] || !goodName(kv.Key) {
			return nil, fmt.Errorf("metadata key %q is taken, empty or not printable", kv.Key)
		}
		keys[kv.Key] = true
		b = appendString(b, kv.Key)
		var err error
		if b, err = appendValue(b, kv.Value); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", kv.Key, err)
		}
	}
	names := map[string]bool{}
	var at int64
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return nil, err
		}
		switch {
		case names[t.Name] || len(t.Name) > ggufMaxName:
			return nil, fmt.Errorf("tensor name %q is taken or longer than %d bytes", t.Name, ggufMaxName)
		case len(t.Shape) < 1 || len(t.Shape) > ggufMaxDims || len(t.Data) == 0:
			return nil, fmt.Errorf("tensor %s: shape %v, want 1 to %d dimensions and at least one value", t.Name, t.Shape, ggufMaxDims)
		}
		names[t.Name] = true
		b = appendString(b, t.Name)
		b = le.AppendUint32(b, uint32(len(t.Shape)))
		for i := range t.Shape {
			b = le.AppendUint64(b, uint64(t.Shape[len(t.Shape)-1-i]))
		}
		b = le.AppendUint32(b, ggufTypeIDs[t.Type])
		b = le.AppendUint64(b, uint64(at))
		at += t.size() + pad(t.size())
	}
	return append(b, make([]byte, pad(int64(len(b))))...), nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value's type and then the value.
func appendValue(b []byte, v any) ([]byte, error) {
	le := binary.LittleEndian
	switch v := v.(type) {
	case uint8:
		return append(le.AppendUint32(b, ggufUint8), v), nil
	case int8:
		return append(le.AppendUint32(b, ggufInt8), byte(v)), nil
	case uint16:
		return le.AppendUint16(le.AppendUint32(b, ggufUint16), v), nil
	case int16:
		return le.AppendUint16(le.AppendUint32(b, ggufInt16), uint16(v)), nil
	case uint32:
		return le.AppendUint32(le.AppendUint32(b, ggufUint32), v), nil
	case int32:
		return le.AppendUint32(le.AppendUint32(b, ggufInt32), uint32(v)), nil
	case float32:
		return le.AppendUint32(le.AppendUint32(b, ggufFloat32), math.Float32bits(v)), nil
	case bool:
		b = le.AppendUint32(b, ggufBool)
		if v {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case string:
		return appendString(le.AppendUint32(b, ggufString), v), nil
	case uint64:
		return le.AppendUint64(le.AppendUint32(b, ggufUint64), v), nil
	case int64:
		return le.AppendUint64(le.AppendUint32(b, ggufInt64), uint64(v)), nil
	case float64:
		return le.AppendUint64(le.AppendUint32(b, ggufFloat64), math.Float64bits(v)), nil
	case []uint8:
		return appendArray(b, v)
	case []int8:
		return appendArray(b, v)
	case []uint16:
		return appendArray(b, v)
	case []int16:
		return appendArray(b, v)
	case []uint32:
		return appendArray(b, v)
	case []int32:
		return appendArray(b, v)
	case []float32:
		return appendArray(b, v)
	case []bool:
		return appendArray(b, v)
	case []string:
		return appendArray(b, v)
	case []uint64:
		return appendArray(b, v)
	case []int64:
		return appendArray(b, v)
	case []float64:
		return appendArray(b, v)
	}
	return nil, fmt.Errorf("a value of type %T cannot be written", v)
}

// appendArray writes element type, count and elements. The type of an element
// is what appendValue would write before it.
func appendArray[T any](b []byte, values []T) ([]byte, error) {
	var zero T
	typed, err := appendValue(nil, any(zero))
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint32(b, ggufArray)
	b = append(b, typed[:4]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(values)))
	for _, v := range values {
		if typed, err = appendValue(typed[:0], any(v)); err != nil {
			return nil, err
		}
		b = append(b, typed[4:]...)
	}
	return b, nil
}

// OpenGGUF opens a file and checks its whole header.
func OpenGGUF(path string) (*GGUF, error) {
	g, f, err := openFile(path, ReadGGUF)
	if err != nil {
		return nil, err
	}
	g.file = f
	return g, nil
}

// Value returns a metadata value, nil if there is none of that key.
func (g *GGUF) Value(key string) any {
	i, ok := g.byKey[key]
	if !ok {
		return nil
	}
	return g.Metadata[i].Value
}

// Lookup returns a tensor by name.
func (g *GGUF) Lookup(name string) (Info, bool) {
	i, ok := g.byName[name]
	if !ok {
		return Info{}, false
	}
	return g.Tensors[i], true
}

// Read fills dst, which must have as many elements as the tensor.
func (g *GGUF) Read(name string, dst []float32) error {
	info, ok := g.Lookup(name)
	if !ok {
		return fmt.Errorf("there is no tensor %s in the file", name)
	}
	return readValues(g.r, info, dst)
}

// ReadPart fills dst with a tensor's values from the at-th on. Both at and the length of
// dst must be whole blocks of its type.
func (g *GGUF) ReadPart(name string, at int, dst []float32) error {
	info, ok := g.Lookup(name)
	if !ok {
		return fmt.Errorf("there is no tensor %s in the file", name)
	}
	block := blockTypes[info.Type]
	if n := block.elements; n > 0 && (at < 0 || at+len(dst) > info.Len() || at%n != 0 || len(dst)%n != 0) {
		return fmt.Errorf("tensor %s has %d values in blocks of %d; values %d to %d are no part of it", name, info.Len(), n, at, at+len(dst))
	} else if n > 0 {
		info.Offset += int64(at / n * block.bytes)
	}
	info.Shape = []int{len(dst)}
	return readValues(g.r, info, dst)
}

// ReadBytes fills dst with a tensor's bytes as they lie in the file, from the at-th on.
func (g *GGUF) ReadBytes(name string, at int64, dst []byte) error {
	info, ok := g.Lookup(name)
	if !ok {
		return fmt.Errorf("there is no tensor %s in the file", name)
	}
	if at < 0 || at+int64(len(dst)) > info.Size {
		return fmt.Errorf("tensor %s has %d bytes; bytes %d to %d are no part of it", name, info.Size, at, at+int64(len(dst)))
	}
	if _, err := g.r.ReadAt(dst, info.Offset+at); err != nil {
		return fmt.Errorf("tensor %s: %w", name, err)
	}
	return nil
}

// Close closes the file.
func (g *GGUF) Close() error {
	if g.file == nil {
		return nil
	}
	return g.file.Close()
}
