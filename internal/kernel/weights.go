package kernel

import (
	"fmt"
	"math"
)

// Format says how Weights hold their elements. But for blocks, products with them are
// of float32, whatever the format: only what is read from memory is smaller.
type Format uint8

// The formats.
const (
	FormatFP32   Format = iota
	FormatBF16          // the nearest bfloat16
	FormatInt8          // 8-bit integers, with one scale for each row of W
	FormatBlocks        // the blocks that a model file has; see NewBlockWeights
)

var formatNames = [...]string{"fp32", "bf16", "int8", "blocks"}

// String names the format as flags do.
func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// ParseFormat is the inverse of String.
func ParseFormat(name string) (Format, error) {
	for i, n := range formatNames {
		if n == name {
			return Format(i), nil
		}
	}
	return 0, fmt.Errorf("there is no weight format %q; there are fp32, bf16, int8 and blocks", name)
}

// Weights are a matrix that inputs are multiplied with, for inference: packed
// like PackedB, in a format of their own, and computed in any ranges of columns.
type Weights struct {
	n, k   int
	isa    ISA
	format Format
	f32    []float32
	b16    []uint16
	i8     []int8
	scale  []float32 // of each column of the product, int8

	kind   blockKind
	blocks []byte // panels that lie step bytes apart
	step   int
}

// NewWeights packs the right operand of a product x·B: [k, n] for NN, or its
// transpose [n, k] for NT. Integers need NT: their scales belong to rows.
func NewWeights(f Format, op Op, n, k int, b []float32, ldb int) *Weights {
	rows, cols := k, n
	if op == NT {
		rows, cols = n, k
	}
	checkMatrix("B", b, rows, cols, ldb)
	w := &Weights{n: n, k: k, isa: active, format: f}
	if f == FormatInt8 {
		if op != NT {
			panic(fmt.Sprintf("kernel: %v weights of an %v product", f, op))
		}
		b, ldb = w.scaleRows(b, ldb), k
	}
	packed := make([]float32, packedLen(n, k))
	packPanels(op, packed, b, ldb, n, k, 0, panels(n))
	switch f {
	case FormatFP32:
		w.f32 = packed
	case FormatBF16:
		roundBF16(packed, packed)
		w.b16 = make([]uint16, len(packed))
		for i, x := range packed {
			w.b16[i] = uint16(math.Float32bits(x) >> 16)
		}
	case FormatInt8:
		w.i8 = make([]int8, len(packed))
		for i, x := range packed {
			w.i8[i] = int8(x)
		}
	default:
		panic(fmt.Sprintf("kernel: weights in %v", f))
	}
	return w
}

// scaleRows sets the scales, each row's largest magnitude over 127, and returns
// the rows divided by them and rounded to nearest, ties to even.
func (w *Weights) scaleRows(b []float32, ldb int) []float32 {
	w.scale = make([]float32, panels(w.n)*tile.nr)
	out := make([]float32, w.n*w.k)
	for i := range w.n {
		row, to := b[i*ldb:i*ldb+w.k], out[i*w.k:(i+1)*w.k]
		most := float32(0)
		for _, x := range row {
			most = max(most, x, -x)
		}
		if w.scale[i] = most / 127; w.scale[i] == 0 {
			continue
		}
		for j, x := range row {
			to[j] = float32(max(-127, min(127, math.RoundToEven(float64(x/w.scale[i])))))
		}
	}
	return out
}

// Shape is the n and k that w was made with.
func (w *Weights) Shape() (n, k int) { return w.n, w.k }

// Bytes is the memory that the packed elements and scales take.
func (w *Weights) Bytes() int {
	return 4*len(w.f32) + 2*len(w.b16) + len(w.i8) + 4*len(w.scale) + len(w.blocks)
}

// width is what parts of the columns of the product are multiples of: what other
// weights, beside blocks, have in panels too.
func (w *Weights) width() int {
	if w.format == FormatBlocks {
		return max(blockRows, tile.nr)
	}
	return tile.nr
}

// Columns are the columns [from, to) of the product that make up one of several
// parts. Parts do not divide a panel; where they are many, some are empty.
func (w *Weights) Columns(part, parts int) (from, to int) {
	width := w.width()
	all := (w.n + width - 1) / width
	return min(part*all/parts*width, w.n), min((part+1)*all/parts*width, w.n)
}

// Multiply sets columns [from, to), as Columns gives them, of C [m, n] to the
// product of A [m, k] and w, or adds it if accumulate. An element has the same
// bits whatever m and the columns are. It runs on the calling goroutine.
func (w *Weights) Multiply(m int, a []float32, lda int, from, to int, c []float32, ldc int, accumulate bool, s *Scratch) {
	if w.isa != active && w.format != FormatBlocks {
		panic(fmt.Sprintf("kernel: weights were packed for %v and are used with %v", w.isa, active))
	}
	checkMatrix("A", a, m, w.k, lda)
	checkMatrix("C", c, m, w.n, ldc)
	if width := w.width(); from%width != 0 || from < 0 || to > w.n || to < w.n && to%width != 0 {
		panic(fmt.Sprintf("kernel: columns [%d, %d) of %d do not begin and end with panels of %d", from, to, w.n, width))
	}
	if m == 0 || from >= to {
		return
	}
	if w.format == FormatBlocks && w.k > 0 {
		w.multiplyBlocks(m, a, lda, from, to, c, ldc, accumulate, s)
		return
	}
	width, p1 := panels(w.n)*tile.nr, (to+tile.nr-1)/tile.nr
	for k0 := 0; k0 < w.k; k0 += blockK {
		kc, add := min(blockK, w.k-k0), accumulate || k0 > 0
		p := from / tile.nr
		if m == 1 {
			p = w.row(kc, a[k0:], k0*width, p, to, c, add)
		}
		for ; p < p1; p++ {
			j := p * tile.nr
			w.panel(m, min(tile.nr, w.n-j), kc, a[k0:], lda, k0*width+j*kc, j, c[j:], ldc, add, s)
		}
	}
	if w.k == 0 && !accumulate {
		for i := range m {
			clear(c[i*ldc+from : i*ldc+to])
		}
	}
}

// panelWidened is panel where no kernel reads the format: it multiplies with a
// copy in float32.
func (w *Weights) panelWidened(m, n, kc int, a []float32, lda, at, j int, c []float32, ldc int, accumulate bool, s *Scratch) {
	nr := tile.nr
	if w.format == FormatFP32 {
		multiplyPanel(m, n, kc, a, tile.mr*lda, lda, 1, w.f32[at:at+kc*nr], c, ldc, accumulate)
		return
	}
	s.panel = grow(s.panel, kc*nr)
	if w.format == FormatBF16 {
		for i, x := range w.b16[at : at+kc*nr] {
			s.panel[i] = math.Float32frombits(uint32(x) << 16)
		}
		multiplyPanel(m, n, kc, a, tile.mr*lda, lda, 1, s.panel, c, ldc, accumulate)
		return
	}
	for i, x := range w.i8[at : at+kc*nr] {
		s.panel[i] = float32(x)
	}
	s.edge = grow(s.edge, m*nr)
	multiplyPanel(m, n, kc, a, tile.mr*lda, lda, 1, s.panel, s.edge, nr, false)
	for i := range m {
		to := c[i*ldc : i*ldc+n]
		for l, scale := range w.scale[j : j+n] {
			x := float32(s.edge[i*nr+l] * scale) // rounded before it is added
			if accumulate {
				x += to[l]
			}
			to[l] = x
		}
	}
}
