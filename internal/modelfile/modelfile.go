// Package modelfile reads and writes the two files that model weights travel
// in: safetensors and GGUF (version 3).
//
// It knows bytes, names, shapes and types, and nothing of what a model is; which
// tensors and metadata a student needs is student/export's. Values cross its
// border as float32; they lie in files as F32, F16 or BF16, or in the blocks of
// quant.go, of which quantise.go writes some. Other types are listed and can be
// skipped, but not converted.
//
// Shapes are written outermost first, as in numpy: a matrix is [out, in], and a
// row of in values is contiguous. (GGUF itself counts innermost first.)
//
// Writers write to an io.Writer; who calls them makes the file appear at once.
//
// Files come from strangers. A header is refused, never guessed at, when a size,
// an offset, a count or a name is impossible or lies outside of the file, when
// tensors overlap or a name comes twice; nothing is allocated on a header's word
// beyond a small multiple of the bytes that are there. Such an error wraps
// ErrFormat and says what and where.
package modelfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"
	"unicode/utf8"
)

// ErrFormat says that a file is not what its name claims, or is damaged.
var ErrFormat = errors.New("not a valid model file")

func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Type is how the elements of a tensor lie in a file, as safetensors names it
// ("F32") or, for the block types that only GGUF has, as GGUF does ("Q4_0").
type Type string

// The types that are written.
const (
	F32  Type = "F32"
	F16  Type = "F16"
	BF16 Type = "BF16"
	Q8_0 Type = "Q8_0" // these in GGUF alone
	Q4_0 Type = "Q4_0"
	Q4_1 Type = "Q4_1"
)

// Block is how many neighbours of a row share their scales: a row's length must be a
// multiple of it. It is 1 for a type of single values, and 0 for one that is not
// converted.
func (t Type) Block() int { return blockTypes[t].elements }

// Round makes x, whole blocks, what a file of type t gives back for it. What t cannot
// hold is an error.
func (t Type) Round(x []float32) error {
	return t.inChunks(len(x), func(from, to int, b []byte) error {
		if err := t.encode(b, x, from, to); err != nil {
			return err
		}
		blockTypes[t].decode(x[from:to], b)
		return nil
	})
}

// Tensor is a tensor to be written.
type Tensor struct {
	Name  string
	Shape []int
	Type  Type      // one that is written
	Data  []float32 // row-major; rounded to nearest even for F16 and BF16, as ggml does for blocks
}

// Info is a tensor that lies in a file.
type Info struct {
	Name   string
	Shape  []int
	Type   Type
	Offset int64 // of its first byte, from the start of the file
	Size   int64 // in bytes
}

// Len is the number of elements.
func (i Info) Len() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// Values is how many elements tensors have together.
func Values(all []Info) (n int64) {
	for _, i := range all {
		n += int64(i.Len())
	}
	return n
}

const (
	maxDims     = 8
	maxElements = math.MaxInt64 / 16
)

// elements multiplies shape without overflow.
func elements(shape []int) (int64, bool) {
	if len(shape) > maxDims {
		return 0, false
	}
	n := int64(1)
	for _, d := range shape {
		if d < 0 || d > 0 && n > maxElements/int64(d) {
			return 0, false
		}
		n *= int64(d)
	}
	return n, true
}

// check refuses what cannot be written.
func (t Tensor) check() error {
	n, ok := elements(t.Shape)
	switch {
	case !goodName(t.Name):
		return fmt.Errorf("tensor name %q is empty, too long or not printable", t.Name)
	case blockTypes[t.Type].encode == nil:
		return fmt.Errorf("tensor %s: type %q cannot be written", t.Name, t.Type)
	case !ok || n != int64(len(t.Data)):
		return fmt.Errorf("tensor %s: shape %v does not hold %d values", t.Name, t.Shape, len(t.Data))
	case len(t.Shape) > 0 && t.Shape[len(t.Shape)-1]%t.Type.Block() != 0:
		return fmt.Errorf("tensor %s: rows of %d values are no whole blocks of %s", t.Name, t.Shape[len(t.Shape)-1], t.Type)
	}
	return nil
}

func (t Tensor) size() int64 {
	block := blockTypes[t.Type]
	return int64(len(t.Data)) / int64(block.elements) * int64(block.bytes)
}

const maxName = 1024

func goodName(s string) bool {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return false
		}
	}
	return true
}

// refuseOverlaps checks that no byte belongs to two tensors.
func refuseOverlaps(infos []Info) error {
	byOffset := slices.Clone(infos)
	sort.SliceStable(byOffset, func(i, j int) bool { return byOffset[i].Offset < byOffset[j].Offset })
	for i := 1; i < len(byOffset); i++ {
		a, b := byOffset[i-1], byOffset[i]
		if a.Offset+a.Size > b.Offset {
			return formatError("tensors %q and %q overlap", a.Name, b.Name)
		}
	}
	return nil
}

// writeValues streams values in the given type, little-endian.
func writeValues(w io.Writer, typ Type, data []float32) error {
	return typ.inChunks(len(data), func(from, to int, b []byte) error {
		if err := typ.encode(b, data, from, to); err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	})
}

// readValues fills dst from a tensor in r.
func readValues(r io.ReaderAt, info Info, dst []float32) error {
	if info.Type.Block() == 0 {
		return fmt.Errorf("tensor %s: type %s cannot be converted to float32", info.Name, info.Type)
	}
	if len(dst) != info.Len() {
		return fmt.Errorf("tensor %s has %d values of shape %v, want %d", info.Name, info.Len(), info.Shape, len(dst))
	}
	at := info.Offset
	err := info.Type.inChunks(len(dst), func(from, to int, b []byte) error {
		if _, err := r.ReadAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		blockTypes[info.Type].decode(dst[from:to], b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("tensor %s: %w", info.Name, err)
	}
	return nil
}

// encode writes the blocks of x[from:to] to b.
func (t Type) encode(b []byte, x []float32, from, to int) error {
	block := blockTypes[t]
	if done := block.encode(b, x[from:to]); done < to-from {
		first := from + done
		return fmt.Errorf("%s cannot hold what begins at element %d (%v): it is not finite or too large", t, first, x[first])
	}
	return nil
}

// inChunks calls do for n values, whole blocks, some at a time, with a buffer for
// their bytes.
func (t Type) inChunks(n int, do func(from, to int, b []byte) error) error {
	var buf [32 << 10]byte
	block := blockTypes[t]
	for from := 0; from < n; {
		blocks := min((n-from)/block.elements, len(buf)/block.bytes)
		to := from + blocks*block.elements
		if err := do(from, to, buf[:blocks*block.bytes]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// toBF16 rounds to nearest even; a NaN stays one.
func toBF16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// toF16 rounds to nearest even; what is too large becomes infinite.
func toF16(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN
		return sign | 0x7e00
	case b >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case b < 0x38800000: // subnormal or zero: multiples of 2^-24
		// Adding 0.5, whose unit in the last place is 2^-24, rounds.
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	return sign | uint16((b-0x38000000+0xfff+b>>13&1)>>13)
}

func fromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: exact in float32
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// openFile opens a file and hands it and its size to parse.
func openFile[T any](path string, parse func(io.ReaderAt, int64) (T, error)) (t T, f *os.File, err error) {
	f, err = os.Open(path)
	if err != nil {
		return t, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		if t, err = parse(f, st.Size()); err != nil {
			err = fmt.Errorf("open %s: %w", path, err)
		}
	}
	if err != nil {
		f.Close()
		return t, nil, err
	}
	return t, f, nil
}
