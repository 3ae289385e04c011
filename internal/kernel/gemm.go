package kernel

import (
	"fmt"
	"math"
)

// Op says which operand of a product is transposed.
type Op int

// C is [m, n] throughout.
const (
	NN Op = iota // C = A·B,  A [m, k], B [k, n]
	NT           // C = A·Bᵀ, A [m, k], B [n, k]
	TN           // C = Aᵀ·B, A [k, m], B [k, n]
)

// String names the op as BLAS does.
func (op Op) String() string {
	switch op {
	case NN:
		return "NN"
	case NT:
		return "NT"
	case TN:
		return "TN"
	}
	return fmt.Sprintf("Op(%d)", int(op))
}

// Group is one product of a GroupedGemm: shapes and operands as for Gemm.
type Group struct {
	M, N, K int
	A       []float32
	LDA     int
	B       []float32
	LDB     int
	C       []float32
	LDC     int

	// Precision BF16 is there for TN, gradients; a packed B has its own.
	Precision Precision

	from []float32 // what is added to in C's stead, laid out alike; nil is C
}

// Gemm sets C to the product that op names, or adds it if accumulate. Each
// element is computed as a chain of multiply-adds in ascending k, so it does
// not depend on the number of threads nor on m, n or where it lies in C.
func (p *Pool) Gemm(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.gemm
	j.reset(op, accumulate)
	j.add(Group{M: m, N: n, K: k, A: a, LDA: lda, B: b, LDB: ldb, C: c, LDC: ldc}, nil)
	j.run()
}

// GroupedGemm computes all groups in one parallel region, as experts need.
// Groups must not overlap in C.
func (p *Pool) GroupedGemm(op Op, groups []Group, accumulate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.gemm
	j.reset(op, accumulate)
	for i := range groups {
		if groups[i].Precision != F32 && op != TN {
			panic(fmt.Sprintf("kernel: grouped %v product in %v", op, groups[i].Precision))
		}
		j.add(groups[i], nil)
	}
	j.run()
}

// GemmPacked is Gemm with a B that PackB prepared: C = A·B for what was packed
// as NN, C = A·Bᵀ for NT.
func (p *Pool) GemmPacked(m int, a []float32, lda int, b *PackedB, c []float32, ldc int, accumulate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.gemm
	j.reset(NN, accumulate)
	j.add(Group{M: m, N: b.n, K: b.k, A: a, LDA: lda, C: c, LDC: ldc}, b)
	j.run()
}

// GemmSerial is Gemm on the calling goroutine, for use inside Run.
func GemmSerial(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool, precision Precision, s *Scratch) {
	g := Group{M: m, N: n, K: k, A: a, LDA: lda, B: b, LDB: ldb, C: c, LDC: ldc, Precision: precision}
	if prepare(op, &g, accumulate, false) {
		multiplySerial(op, &g, span{r1: g.M, p1: panels(g.N)}, accumulate, s)
	}
}

// GemmSymmetric is GemmSerial for products that are symmetric, as X·Xᵀ and powers
// of symmetric matrices are, at little more than half the cost: C [n, n], which is
// symmetric before if it accumulates, is computed on and below its diagonal and
// mirrored. The bits are the same, for a product of equal factors is.
func GemmSymmetric(op Op, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool, precision Precision, s *Scratch) {
	g := Group{M: n, N: n, K: k, A: a, LDA: lda, B: b, LDB: ldb, C: c, LDC: ldc, Precision: precision}
	if !prepare(op, &g, accumulate, false) {
		return
	}
	multiplySerial(op, &g, span{r1: n, p1: panels(n), lower: true}, accumulate, s)
	for i := tile.nr; i < n; i += tile.nr {
		j := i - tile.nr
		transposeRows(c[j*ldc+i:], ldc, c[i*ldc+j:], ldc, n-i, tile.nr)
	}
}

func multiplySerial(op Op, g *Group, all span, accumulate bool, s *Scratch) {
	switch {
	case op == TN && g.Precision == BF16 && FastBF16():
		multiplyTNBF16(g, all, accumulate, s)
	case op == TN:
		multiplyTN(g, all, accumulate, s)
	default:
		s.packed.precision = g.Precision
		s.packed.Repack(op, g.N, g.K, g.B, g.LDB, s)
		s.packed.multiply(g, all, accumulate, s)
	}
}

// GemmPackedSerial is GemmPacked on the calling goroutine. s may be nil where b
// is float32 and no Transpose.
func GemmPackedSerial(m int, a []float32, lda int, b *PackedB, c []float32, ldc int, accumulate bool, s *Scratch) {
	g := Group{M: m, N: b.n, K: b.k, A: a, LDA: lda, C: c, LDC: ldc}
	b.check()
	if prepare(NN, &g, accumulate, true) {
		b.multiply(&g, span{r1: g.M, p1: panels(g.N)}, accumulate, s)
	}
}

// GemmPackedSerialFrom is GemmPackedSerial with the sum of from, whose rows are ldc
// apart too, and the product in C.
func GemmPackedSerialFrom(m int, a []float32, lda int, b *PackedB, from, c []float32, ldc int, s *Scratch) {
	g := Group{M: m, N: b.n, K: b.k, A: a, LDA: lda, C: c, LDC: ldc, from: from}
	b.check()
	checkMatrix("from", from, m, b.n, ldc)
	if b.k == 0 {
		copyRows(c, from, ldc, m, b.n)
	}
	if prepare(NN, &g, true, true) {
		b.multiply(&g, span{r1: g.M, p1: panels(g.N)}, true, s)
	}
}

// multiply computes the part of C that s covers.
func (p *PackedB) multiply(g *Group, s span, accumulate bool, scratch *Scratch) {
	if p.precision == BF16 && FastBF16() {
		multiplyPackedBF16(g, p.data16, s, accumulate, scratch)
		return
	}
	part := *g
	if p.precision == BF16 {
		part.A, part.LDA = scratch.roundedRows(g.A[s.r0*g.LDA:], g.LDA, s.r1-s.r0, g.K), g.K
		part.C, part.from = g.C[s.r0*g.LDC:], rowsFrom(g.from, s.r0*g.LDC)
		s = span{0, s.r1 - s.r0, s.p0, s.p1, s.lower}
	}
	if p.of != nil {
		p.of.multiplyTransposed(&part, s, accumulate, scratch)
		return
	}
	multiplyPacked(&part, p.data, s, accumulate)
}

// PackedB is a right-hand operand laid out for the kernels: blocks of at most
// blockK rows, each a row of panels that are tile.nr columns wide. Its zero value
// holds nothing, in float32.
type PackedB struct {
	n, k      int
	isa       ISA
	precision Precision
	data      []float32 // also of a bfloat16 that is emulated
	data16    []uint16
	of        *PackedB // what this is the transpose of, and whose memory it shares
}

// NewPackedB makes an empty one for products in the given precision, which
// rounds the other operand too.
func NewPackedB(p Precision) *PackedB { return &PackedB{precision: p} }

// PackB lays out the right operand of an NN (B [k, n]) or NT (B [n, k])
// product for use by GemmPacked any number of times.
func PackB(op Op, n, k int, b []float32, ldb int) *PackedB {
	p := new(PackedB)
	p.Repack(op, n, k, b, ldb, nil)
	return p
}

// Repack replaces what p holds, reusing its memory. Of s it needs only what no
// other goroutine uses meanwhile; it may be nil for float32.
func (p *PackedB) Repack(op Op, n, k int, b []float32, ldb int, s *Scratch) {
	rows, cols := k, n
	switch op {
	case NN:
	case NT:
		rows, cols = n, k
	default:
		panic(fmt.Sprintf("kernel: PackB of %v: B is packed for NN or NT", op))
	}
	if p.of != nil {
		panic("kernel: PackB into a transpose")
	}
	checkMatrix("B", b, rows, cols, ldb)
	p.n, p.k, p.isa = n, k, active
	if p.precision == BF16 && FastBF16() {
		p.data16 = grow(p.data16, packedLenBF16(n, k))
		packPanelsBF16(op, p.data16, b, ldb, n, k, s)
		return
	}
	p.data = grow(p.data, packedLen(n, k))
	packPanels(op, p.data, b, ldb, n, k, 0, panels(n))
	if p.precision == BF16 {
		roundBF16(p.data, p.data)
	}
}

// Shape is the n and k that p was packed with.
func (p *PackedB) Shape() (n, k int) { return p.n, p.k }

func (p *PackedB) check() {
	if p.isa != active {
		panic(fmt.Sprintf("kernel: B was packed for %v and is used with %v", p.isa, active))
	}
}

// tiling is the register tile of an instruction set: mr rows by nr columns.
type tiling struct{ mr, nr int }

// tilings: AVX-512 keeps 12×2 accumulators of 16 lanes, AVX2 6×2 of 8, NEON 8×2
// of 4.
var tilings = [...]tiling{
	Portable: {mr: 4, nr: 8},
	NEON:     {mr: 8, nr: 8},
	AVX2:     {mr: 6, nr: 16},
	AVX512:   {mr: 12, nr: 32},
}

const (
	// blockK is how much of k is multiplied at once: a panel of 256×32 takes
	// 32 KiB of the first-level cache and leaves room for A.
	blockK = 256
	// blockM is the number of rows of a part, a multiple of every mr.
	blockM = 96
	// vectorSlack is the room behind each tile that packTiles may write to.
	vectorSlack = 16
)

// panels is the number of column panels of n columns.
func panels(n int) int { return (n + tile.nr - 1) / tile.nr }

// packedLen is the number of elements that a packed B [k, n] takes.
func packedLen(n, k int) int { return k * panels(n) * tile.nr }

// span is a rectangle of C: rows [r0, r1), panels of columns [p0, p1). Of a lower
// one, which begins with row 0, what lies above the diagonal is not wanted.
type span struct {
	r0, r1, p0, p1 int
	lower          bool
}

// first is the first row that is wanted of panel p, rounded down to whole tiles.
func (s span) first(p, rows int) int {
	if s.lower {
		return p * tile.nr / rows * rows
	}
	return s.r0
}

// gemmJob is the product, or group of products, that a pool is computing.
type gemmJob struct {
	pool       *Pool
	op         Op
	accumulate bool
	items      []gemmItem
	packs      []packPart
	parts      []gemmPart
	buffer     []float32 // the packed B's of NN and NT
	used       int
	pack       func(part, worker int) // packOne as a value, made once
	multiply   func(part, worker int) // and multiplyOne
}

type gemmItem struct {
	Group
	packed *PackedB
	at     int // where in buffer, if packed is nil
}

type packPart struct{ item, p0, p1 int }

type gemmPart struct {
	item int
	span
}

func (j *gemmJob) init(p *Pool) {
	j.pool = p
	j.pack = j.packOne
	j.multiply = j.multiplyOne
}

func (j *gemmJob) reset(op Op, accumulate bool) {
	j.op, j.accumulate, j.used = op, accumulate, 0
	j.items, j.packs, j.parts = j.items[:0], j.packs[:0], j.parts[:0]
}

// add plans one product.
func (j *gemmJob) add(g Group, b *PackedB) {
	if b != nil {
		b.check()
	}
	if !prepare(j.op, &g, j.accumulate, b != nil) {
		return
	}
	item := len(j.items)
	j.items = append(j.items, gemmItem{Group: g, packed: b, at: j.used})
	all := panels(g.N)
	if b == nil && j.op != TN {
		// Packing is cheap beside the product: parts of about 32k elements.
		step := max(1, 1<<15/(g.K*tile.nr))
		for p := 0; p < all; p += step {
			j.packs = append(j.packs, packPart{item, p, min(p+step, all)})
		}
		j.used += packedLen(g.N, g.K)
	}
	height, cols := j.cut(g.M, all, g.Precision)
	for r := 0; r < g.M; r += height {
		for c := range cols {
			j.parts = append(j.parts, gemmPart{item, span{r0: r, r1: min(r+height, g.M), p0: c * all / cols, p1: (c + 1) * all / cols}})
		}
	}
}

// cut decides on the parts of a product of m rows and so many panels: their
// height and how many there are side by side. It looks for the least time of
// the busiest worker, in units of one tile times one panel. The number of
// threads is considered: an element's bits do not depend on its part.
func (j *gemmJob) cut(m, panels int, precision Precision) (height, cols int) {
	threads := j.pool.Threads()
	mr, tilePack, panelPack, multiply := tile.mr, 0.25, 0.4, 1.0
	if precision == BF16 && FastBF16() { // multiplying is fast, packing is not
		mr, tilePack, panelPack, multiply = tileRows, 1, 1, 0.25
	}
	all := (m + mr - 1) / mr
	if j.op != TN && m >= 4*threads*blockM {
		return blockM, 1
	}
	least := math.Inf(1)
	for c := 1; c <= min(panels, max(8, threads)); c++ {
		for r := 1; r <= min(all, max(8, threads)); r++ {
			tiles, wide := (all+r-1)/r, (panels+c-1)/c
			rounds := (r*c + threads - 1) / threads
			time := multiply * float64(tiles*wide)
			if j.op == TN {
				// Packing a tile or a panel costs this share of multiplying it.
				time += tilePack*float64(tiles) + panelPack*float64(wide)
			}
			// A little for each part, and for more than cache likes at once.
			time += 0.5
			if tiles*mr > 2*blockM {
				time *= 1.1
			}
			if time *= float64(rounds); time < least {
				least, height, cols = time, tiles*mr, c
			}
		}
	}
	return height, cols
}

func (j *gemmJob) run() {
	j.buffer = grow(j.buffer, j.used)
	j.pool.run(len(j.packs), j.pack)
	j.pool.run(len(j.parts), j.multiply)
	clear(j.items) // do not keep the operands alive
}

func (j *gemmJob) packOne(part, worker int) {
	p := &j.packs[part]
	g := &j.items[p.item]
	packPanels(j.op, j.buffer[g.at:g.at+packedLen(g.N, g.K)], g.B, g.LDB, g.N, g.K, p.p0, p.p1)
}

func (j *gemmJob) multiplyOne(part, worker int) {
	p := &j.parts[part]
	g := &j.items[p.item]
	switch {
	case g.packed != nil:
		g.packed.multiply(&g.Group, p.span, j.accumulate, j.pool.scratch[worker])
	case j.op == TN && g.Precision == BF16 && FastBF16():
		multiplyTNBF16(&g.Group, p.span, j.accumulate, j.pool.scratch[worker])
	case j.op == TN:
		multiplyTN(&g.Group, p.span, j.accumulate, j.pool.scratch[worker])
	default:
		multiplyPacked(&g.Group, j.buffer[g.at:], p.span, j.accumulate)
	}
}

// prepare checks a product and reports whether there is anything to multiply;
// where k is 0 it sets C itself. packed says that B is not in g.
func prepare(op Op, g *Group, accumulate, packed bool) bool {
	if g.Precision > BF16 {
		panic(fmt.Sprintf("kernel: %v product in precision %d", op, g.Precision))
	}
	if g.M < 0 || g.N < 0 || g.K < 0 {
		panic(fmt.Sprintf("kernel: %v product of negative size %d×%d×%d", op, g.M, g.N, g.K))
	}
	if op == TN {
		checkMatrix("A", g.A, g.K, g.M, g.LDA)
	} else {
		checkMatrix("A", g.A, g.M, g.K, g.LDA)
	}
	if !packed {
		if op == NT {
			checkMatrix("B", g.B, g.N, g.K, g.LDB)
		} else {
			checkMatrix("B", g.B, g.K, g.N, g.LDB)
		}
	}
	checkMatrix("C", g.C, g.M, g.N, g.LDC)
	if g.M == 0 || g.N == 0 {
		return false
	}
	if g.K == 0 {
		for i := 0; i < g.M && !accumulate; i++ {
			clear(g.C[i*g.LDC : i*g.LDC+g.N])
		}
		return false
	}
	return true
}

func checkMatrix(name string, x []float32, rows, cols, ld int) {
	if rows == 0 || cols == 0 {
		return
	}
	if ld < cols {
		panic(fmt.Sprintf("kernel: leading dimension %d of %s is less than its width %d", ld, name, cols))
	}
	if need := (rows-1)*ld + cols; len(x) < need {
		panic(fmt.Sprintf("kernel: %s holds %d elements; [%d, %d] with leading dimension %d needs %d", name, len(x), rows, cols, ld, need))
	}
}

// multiplyPacked computes the part of C that s covers, B being packed.
func multiplyPacked(g *Group, packed []float32, s span, accumulate bool) {
	width := panels(g.N) * tile.nr
	for k0 := 0; k0 < g.K; k0 += blockK {
		kc := min(blockK, g.K-k0)
		from := g.C
		if k0 == 0 && g.from != nil {
			from = g.from
		}
		for p := s.p0; p < s.p1; p++ {
			j, r0 := p*tile.nr, s.first(p, tile.mr)
			at := k0*width + j*kc
			panel := packed[at : at+kc*tile.nr]
			multiplyPanelFrom(s.r1-r0, min(tile.nr, g.N-j), kc,
				g.A[r0*g.LDA+k0:], tile.mr*g.LDA, g.LDA, 1,
				panel, from[r0*g.LDC+j:],
				g.C[r0*g.LDC+j:], g.LDC, accumulate || k0 > 0, panel, 0)
		}
	}
}

// multiplyTN is multiplyPacked for TN: it packs both operands as it goes, A
// because its columns are far apart in memory. While one block of k is multiplied
// the next is fetched, first A's and then B's, since both come from memory in
// short runs that the processor does not foresee.
func multiplyTN(g *Group, s span, accumulate bool, scratch *Scratch) {
	rows := s.r1 - s.r0
	tiles := (rows + tile.mr - 1) / tile.mr
	depth := min(blockK, g.K)
	scratch.panel = grow(scratch.panel, depth*tile.nr)
	scratch.tiles = grow(scratch.tiles, (depth*tile.mr+vectorSlack)*tiles)
	for k0 := 0; k0 < g.K; k0 += blockK {
		kc := min(blockK, g.K-k0)
		step := kc*tile.mr + vectorSlack
		packTiles(scratch.tiles, step, g.A[k0*g.LDA+s.r0:], g.LDA, rows, kc)
		if g.Precision == BF16 {
			roundBF16(scratch.tiles, scratch.tiles)
		}
		next := ahead{g: g, s: s, k: k0 + kc}
		for p := s.p0; p < s.p1; p++ {
			j, r0 := p*tile.nr, s.first(p, tile.mr)
			n := min(tile.nr, g.N-j)
			panel := scratch.panel[:kc*tile.nr]
			packRows(panel, g.B[k0*g.LDB+j:], g.LDB, n, kc)
			if g.Precision == BF16 {
				roundBF16(panel, panel)
			}
			x, ld := next.take((s.r1-r0+tile.mr-1)/tile.mr, panel)
			c := g.C[r0*g.LDC+j:]
			multiplyPanelFrom(s.r1-r0, n, kc,
				scratch.tiles[(r0-s.r0)/tile.mr*step:], step, 1, tile.mr,
				panel, c, c, g.LDC, accumulate || k0 > 0, x, ld)
		}
	}
}

// ahead hands out what a TN product needs of its operands for the block of k that
// begins with row k, in columns of cache lines.
type ahead struct {
	g    *Group
	s    span
	k    int
	a, b int // columns of A, and then of B, that were handed out
}

// take returns where the next so many columns of lines begin and how far their
// rows are apart; there is nothing to fetch but resident if none are left.
func (h *ahead) take(lines int, resident []float32) ([]float32, int) {
	const line = 16 // elements
	if h.k >= h.g.K {
		return resident, 0
	}
	if at := h.s.r0 + h.a; at < h.s.r1 {
		h.a += lines * line
		return h.g.A[h.k*h.g.LDA+at:], h.g.LDA
	}
	if at := h.s.p0*tile.nr + h.b; at < min(h.s.p1*tile.nr, h.g.N) {
		h.b += lines * line
		return h.g.B[h.k*h.g.LDB+at:], h.g.LDB
	}
	return resident, 0
}

// packPanels packs panels [p0, p1) of B, [k, n] for NN and [n, k] for NT, to
// where PackedB's layout has them.
func packPanels(op Op, dst, b []float32, ldb, n, k, p0, p1 int) {
	width := panels(n) * tile.nr
	for k0 := 0; k0 < k; k0 += blockK {
		kc := min(blockK, k-k0)
		for p := p0; p < p1; p++ {
			j := p * tile.nr
			cols := min(tile.nr, n-j)
			panel := dst[k0*width+j*kc:][:kc*tile.nr]
			if op == NT {
				packColumns(panel, b[j*ldb+k0:], ldb, cols, kc)
			} else {
				packRows(panel, b[k0*ldb+j:], ldb, cols, kc)
			}
		}
	}
}

// Scratch is working memory for serial kernels. Its zero value is ready; it
// grows to what is asked of it and is then reused. One goroutine at a time.
type Scratch struct {
	packed PackedB   // a B that is used once
	panel  []float32 // one panel of B of a TN product
	tiles  []float32 // and the tiles of A
	attn   []float32 // tiles of attention

	rounded []float32 // an A rounded to bfloat16, where the machine has no instructions for it
	rows16  []uint16  // a block of A as bfloat16
	rank16  []uint16  // and what a low-rank addition makes of it
	narrow  []uint16  // an operand on its way to bfloat16's layout
	panel16 []uint16  // one panel of B of a TN product of bfloat16
	edge    []float32 // a tile that C has no room for
	attn16  []uint16  // tiles of attention

	rounds []roundedBlock // an A rounded to 8 bits, row by row
	codes  []byte         // of a panel of blocks, laid out for tiles
	scales []float32      // of those
	dots   []int32        // sums of tiles
}

// grow returns a slice of length n, of undefined content, that reuses x. What grows once
// may grow again, and gets room for that.
func grow[T float32 | uint16 | byte | int32 | roundedBlock](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n, n+cap(x)/4)
	}
	return x[:n]
}
