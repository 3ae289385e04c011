package modelfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// safetensors: 8 bytes little-endian header length, a JSON object of that
// length, then the tensors' bytes; offsets in the header count from there.

// maxSafetensorsHeader is the limit of the format's own reader.
const maxSafetensorsHeader = 100_000_000

// safetensorsWidths are the format's types and their bytes an element.
var safetensorsWidths = map[Type]int64{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
	"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}

// Safetensors is an open safetensors file. Its methods may be called
// concurrently.
type Safetensors struct {
	Metadata map[string]string
	Tensors  []Info // by offset

	r      io.ReaderAt
	file   *os.File
	byName map[string]int
}

// WriteSafetensors writes a file, streaming the tensors in the given order.
// metadata should say {"format": "pt"}, which transformers asks for.
func WriteSafetensors(w io.Writer, metadata map[string]string, tensors []Tensor) error {
	header, err := safetensorsHeader(metadata, tensors)
	if err != nil {
		return fmt.Errorf("write safetensors: %w", err)
	}
	buf := bufio.NewWriterSize(w, 1<<18)
	buf.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) // a failure is kept for Flush
	buf.Write(header)
	for _, t := range tensors {
		if err := writeValues(buf, t.Type, t.Data); err != nil {
			return fmt.Errorf("write safetensors: tensor %s: %w", t.Name, err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write safetensors: %w", err)
	}
	return nil
}

type safetensorsEntry struct {
	DType   Type     `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// safetensorsHeader is the JSON object, padded with spaces so that the data
// begins at a multiple of 64 bytes.
func safetensorsHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	var b bytes.Buffer
	seen := make(map[string]bool, len(tensors))
	put := func(key string, v any) error {
		k, err := json.Marshal(key)
		if err != nil {
			return err
		}
		val, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(val)
		return nil
	}
	b.WriteByte('{')
	if len(metadata) > 0 {
		if err := put("__metadata__", metadata); err != nil { // encoding/json sorts the keys
			return nil, err
		}
	}
	var at int64
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return nil, err
		}
		if seen[t.Name] || t.Name == "__metadata__" {
			return nil, fmt.Errorf("tensor name %q is taken", t.Name)
		}
		if safetensorsWidths[t.Type] == 0 {
			return nil, fmt.Errorf("tensor %s: safetensors has no type %s", t.Name, t.Type)
		}
		seen[t.Name] = true
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		if err := put(t.Name, safetensorsEntry{t.Type, shape, [2]int64{at, at + t.size()}}); err != nil {
			return nil, err
		}
		at += t.size()
	}
	b.WriteByte('}')
	for (8+b.Len())%64 != 0 {
		b.WriteByte(' ')
	}
	if b.Len() > maxSafetensorsHeader {
		return nil, fmt.Errorf("the header has %d bytes, at most %d are allowed", b.Len(), maxSafetensorsHeader)
	}
	return b.Bytes(), nil
}

// OpenSafetensors opens a file and checks its whole header.
func OpenSafetensors(path string) (*Safetensors, error) {
	s, f, err := openFile(path, ReadSafetensors)
	if err != nil {
		return nil, err
	}
	s.file = f
	return s, nil
}

// ReadSafetensors reads and checks the header of a file of size bytes.
func ReadSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	var head [8]byte
	if size < 8 {
		return nil, formatError("%d bytes are too few for a safetensors header", size)
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("read safetensors header: %w", err)
	}
	n := binary.LittleEndian.Uint64(head[:])
	if n > maxSafetensorsHeader || int64(n) > size-8 {
		return nil, formatError("a safetensors header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, fmt.Errorf("read safetensors header: %w", err)
	}
	s := &Safetensors{r: r, byName: map[string]int{}}
	if err := s.parse(header, 8+int64(n), size); err != nil {
		return nil, err
	}
	return s, nil
}

// parse walks the header key by key, since a map would hide a name that comes
// twice.
func (s *Safetensors) parse(header []byte, base, size int64) error {
	if len(header) == 0 || header[0] != '{' {
		return formatError("the safetensors header does not begin with {")
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	if _, err := dec.Token(); err != nil {
		return formatError("safetensors header: %v", err)
	}
	hasMetadata := false
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return formatError("safetensors header: %v", err)
		}
		name := token.(string) // a key of an object is a string
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return formatError("safetensors header at %q: %v", name, err)
		}
		if name == "__metadata__" {
			if hasMetadata {
				return formatError("safetensors metadata comes twice")
			}
			hasMetadata = true
			if err := json.Unmarshal(raw, &s.Metadata); err != nil {
				return formatError("safetensors metadata: %v", err)
			}
			continue
		}
		if err := s.entry(name, raw, base, size); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return formatError("safetensors header: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return formatError("the safetensors header goes on after its object")
	}
	return s.checkCover(base, size)
}

func (s *Safetensors) entry(name string, raw json.RawMessage, base, size int64) error {
	var e safetensorsEntry
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var offsets []int64
	wire := struct {
		DType   *Type    `json:"dtype"`
		Shape   *[]int   `json:"shape"`
		Offsets *[]int64 `json:"data_offsets"`
	}{&e.DType, &e.Shape, &offsets}
	if err := dec.Decode(&wire); err != nil {
		return formatError("tensor %q: %v", name, err)
	}
	if !goodName(name) {
		return formatError("tensor name %q is empty, too long or not printable", name)
	}
	if _, ok := s.byName[name]; ok {
		return formatError("tensor %q comes twice", name)
	}
	if wire.Shape == nil || e.Shape == nil || len(offsets) != 2 {
		return formatError("tensor %q lacks a shape or two data_offsets", name)
	}
	width, ok := safetensorsWidths[e.DType]
	if !ok {
		return formatError("tensor %q has the unknown type %q", name, e.DType)
	}
	count, ok := elements(e.Shape)
	if !ok {
		return formatError("tensor %q has the impossible shape %v", name, e.Shape)
	}
	begin, end := offsets[0], offsets[1]
	if begin < 0 || end < begin || end > size-base {
		return formatError("tensor %q lies at bytes %d to %d of %d", name, begin, end, size-base)
	}
	if count > (end-begin)/width || count*width != end-begin {
		return formatError("tensor %q of shape %v and type %s has %d bytes", name, e.Shape, e.DType, end-begin)
	}
	s.byName[name] = len(s.Tensors)
	s.Tensors = append(s.Tensors, Info{name, e.Shape, e.DType, base + begin, end - begin})
	return nil
}

// checkCover holds the file to the format's rule that the tensors cover the
// data exactly: no overlap, no hole, nothing after the end.
func (s *Safetensors) checkCover(base, size int64) error {
	sort.SliceStable(s.Tensors, func(i, j int) bool {
		a, b := s.Tensors[i], s.Tensors[j]
		if a.Offset != b.Offset {
			return a.Offset < b.Offset
		}
		return a.Size < b.Size // empty ones first
	})
	at := base
	for i, t := range s.Tensors {
		s.byName[t.Name] = i
		if t.Offset != at {
			return formatError("tensor %q begins at byte %d, want %d: tensors overlap or leave a hole", t.Name, t.Offset-base, at-base)
		}
		at += t.Size
	}
	if at != size {
		return formatError("%d bytes of data belong to no tensor", size-at)
	}
	return nil
}

// Lookup returns a tensor by name.
func (s *Safetensors) Lookup(name string) (Info, bool) {
	i, ok := s.byName[name]
	if !ok {
		return Info{}, false
	}
	return s.Tensors[i], true
}

// Read fills dst, which must have as many elements as the tensor.
func (s *Safetensors) Read(name string, dst []float32) error {
	info, ok := s.Lookup(name)
	if !ok {
		return fmt.Errorf("there is no tensor %s in the file", name)
	}
	return readValues(s.r, info, dst)
}

// Close closes the file.
func (s *Safetensors) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
