package kernel

import (
	"math"
	"unsafe"
)

// Precision is the format that the operands of a product are rounded to. Sums
// and results are float32 with all of them.
type Precision uint8

// The precisions of products.
const (
	F32  Precision = iota
	BF16           // bfloat16: 8 bits of exponent, 8 of significand; rounded to nearest, ties to even
)

// String names the precision.
func (p Precision) String() string {
	if p == BF16 {
		return "bf16"
	}
	return "fp32"
}

// The layout of a product of bfloat16, where the machine has instructions for
// it: k is padded with zeros to whole tiles, and multiplied pair by pair.
const (
	tileK    = 32 // elements of k in a tile
	tileRows = 32 // of C, by as many columns
	panelN   = 32 // columns of a panel, as of AVX-512's
	// rowSlack keeps rows of A apart from powers of two, which share sets of the
	// first-level cache.
	rowSlack = 32
)

// padK is k rounded up to whole tiles.
func padK(k int) int { return (k + tileK - 1) &^ (tileK - 1) }

// roundBF16 rounds to the nearest bfloat16, ties to even. It stays float32.
func roundBF16(dst, x []float32) {
	for i, v := range x {
		u := math.Float32bits(v)
		if u&0x7fffffff > 0x7f800000 { // NaN stays one
			u |= 1 << 22
		} else {
			u += 0x7fff + u>>16&1
		}
		dst[i] = math.Float32frombits(u &^ 0xffff)
	}
}

// roundedRows is A rounded, in scratch: [m, k].
func (s *Scratch) roundedRows(a []float32, lda, m, k int) []float32 {
	s.rounded = grow(s.rounded, m*k)
	for i := range m {
		roundBF16(s.rounded[i*k:(i+1)*k], a[i*lda:i*lda+k])
	}
	return s.rounded
}

// pairs looks at pairs of bfloat16 as one number each, which they are moved as.
func pairs(x []uint16) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/2)
}

// packedLenBF16 is the number of elements that a packed B [k, n] takes.
func packedLenBF16(n, k int) int { return padK(k) * panels(n) * panelN }

// packPanelsBF16 is packPanels for bfloat16: blocks of at most blockK rows, each
// a row of panels, each pairs of rows [kc/2, 32].
func packPanelsBF16(op Op, dst []uint16, b []float32, ldb, n, k int, s *Scratch) {
	width := panels(n) * panelN
	for k0 := 0; k0 < k; k0 += blockK {
		kc := min(blockK, k-k0)
		kp := padK(kc)
		for p := range panels(n) {
			j := p * panelN
			cols := min(panelN, n-j)
			panel := pairs(dst[k0*width+j*kp:][:kp*panelN])
			if op == NN {
				pairPanel(panel, b[k0*ldb+j:], ldb, cols, kc)
				continue
			}
			s.narrow = grow(s.narrow, panelN*kp)
			if cols < panelN {
				clear(s.narrow)
			}
			convertRows(s.narrow, kp, b[j*ldb+k0:], ldb, cols, kc)
			transpose(panel, panelN, pairs(s.narrow), kp/2, panelN, kp/2)
		}
	}
}

// pairPanel lays k rows of n columns out as a panel of pairs.
func pairPanel(panel []uint32, b []float32, ldb, n, k int) {
	if n < panelN {
		clear(panel)
	} else {
		clear(panel[(k+1)/2*panelN:])
	}
	pairRows(panel, panelN, b, ldb, k, n)
}

// link is one of the products that have one C: of A [rows, 32·k32], rows lda apart, with
// panels of pairs that lie step apart.
type link struct {
	a     []uint16
	lda   int
	b     []uint16
	step  int
	k32   int
	fetch int // lines of the next panel that are fetched with each tile of k
}

// chainBF16 is a sum of products. An element of C is one chain of multiply-adds through all
// of its links.
type chainBF16 struct {
	links [chainK/blockK + 1]link
	n     int
}

// chainK is how much of k is multiplied in one chain: so many columns of the rows of A are
// at hand in the second-level cache.
const chainK = 4 * blockK

func (c *chainBF16) add(l link) {
	c.links[c.n] = l
	c.n++
}

// addPacked adds k [k0, k0+kc) of a packed B of n columns, from panel p on, for rows of A
// that begin with it. k0 is a multiple of blockK.
func (c *chainBF16) addPacked(a []uint16, lda int, packed []uint16, n, k0, kc, p, fetch int) {
	width := panels(n) * panelN
	for at := 0; at < kc; at += blockK {
		kp := padK(min(blockK, kc-at))
		c.add(link{a: a[at:], lda: lda, b: packed[(k0+at)*width+p*kp*panelN:], step: kp * panelN, k32: kp / tileK, fetch: fetch})
	}
}

// from is the chain for what begins so many rows and panels further on.
func (c chainBF16) from(rows, panels int) chainBF16 {
	for i := range c.n {
		l := &c.links[i]
		l.a, l.b = l.a[rows*l.lda:], l.b[panels*l.step:]
	}
	return c
}

// rowStride is how far apart rows of A of kp elements are laid: an odd number of lines.
func rowStride(kp int) int { return (kp/tileK | 1) * tileK }

// multiplyPackedBF16 is multiplyPacked for bfloat16: it rounds A as it goes.
func multiplyPackedBF16(g *Group, packed []uint16, s span, accumulate bool, scratch *Scratch) {
	rows, from := s.r1-s.r0, g.start(accumulate)
	for k0 := 0; k0 < g.K; k0 += chainK {
		kc := min(chainK, g.K-k0)
		lda := rowStride(padK(kc))
		a := scratch.rowsBF16(rows, lda)
		convertRows(a, lda, g.A[s.r0*g.LDA+k0:], g.LDA, rows, kc)
		step := s.p1 - s.p0
		if s.lower {
			step = 1
		}
		for p := s.p0; p < s.p1; p += step {
			r0 := s.first(p, tileRows)
			var all chainBF16
			all.addPacked(a[(r0-s.r0)*lda:], lda, packed, g.N, k0, kc, p, fetchLines(s.r1-r0))
			all.multiply(s.r1-r0, g.N, p, p+step, rowsFrom(from, r0*g.LDC), g.C[r0*g.LDC:], g.LDC, scratch)
		}
		from = g.C
	}
}

// fetchLines is how many lines of the next panel are fetched with each tile of k of each
// block of rows, so that all are: a row of tiles of a panel has 32.
func fetchLines(rows int) int {
	blocks := max(1, rows/tileRows)
	return (tileRows + blocks - 1) / blocks
}

// start is what the product is added to: nothing, what C holds, or something else.
func (g *Group) start(accumulate bool) []float32 {
	switch {
	case !accumulate:
		return nil
	case g.from != nil:
		return g.from
	}
	return g.C
}

// rowsFrom is what of from begins at an element; nothing stays nothing.
func rowsFrom(from []float32, at int) []float32 {
	if from == nil {
		return nil
	}
	return from[at:]
}

// multiplyTNBF16 is multiplyTN for bfloat16: both operands have k as rows, so
// pairs are made of rows, and those of A transposed.
func multiplyTNBF16(g *Group, s span, accumulate bool, scratch *Scratch) {
	rows := s.r1 - s.r0
	across := (rows + 15) &^ 15
	for k0 := 0; k0 < g.K; k0 += blockK {
		kc := min(blockK, g.K-k0)
		kp := padK(kc)
		lda := kp + rowSlack
		scratch.narrow = grow(scratch.narrow, kp*across)
		both := pairs(scratch.narrow)
		clear(both[(kc+1)/2*across:])
		pairRows(both, across, g.A[k0*g.LDA+s.r0:], g.LDA, kc, rows)
		a := scratch.rowsBF16(rows, lda)
		transpose(pairs(a), lda/2, both, across, kp/2, rows)
		scratch.panel16 = grow(scratch.panel16, kp*panelN)
		for p := s.p0; p < s.p1; p++ {
			j, r0 := p*panelN, s.first(p, tileRows)
			pairPanel(pairs(scratch.panel16), g.B[k0*g.LDB+j:], g.LDB, min(panelN, g.N-j), kc)
			multiplyPanelsBF16(s.r1-r0, g.N-j, kp, 0, 1, a[(r0-s.r0)*lda:], lda, scratch.panel16, kp*panelN,
				g.C[r0*g.LDC+j:], g.LDC, accumulate || k0 > 0, scratch)
		}
	}
}

// rowsBF16 is room for so many rows of A and for those that fill the last tile,
// which hold anything: what comes of them is not stored.
func (s *Scratch) rowsBF16(rows, lda int) []uint16 {
	s.rows16 = grow(s.rows16, wholeTiles(rows)*lda)
	return s.rows16
}

// wholeTiles is rows rounded up to whole tiles.
func wholeTiles(rows int) int { return (rows + tileRows - 1) / tileRows * tileRows }

// multiplyPanelsBF16 sets or adds to C [m, n], of which columns of panels
// [p0, p1) are meant, the product of A [m, kp] and panels that lie step elements
// apart.
func multiplyPanelsBF16(m, n, kp, p0, p1 int, a []uint16, lda int, packed []uint16, step int, c []float32, ldc int, accumulate bool, s *Scratch) {
	var one chainBF16
	one.add(link{a: a, lda: lda, b: packed[p0*step:], step: step, k32: kp / tileK})
	var from []float32
	if accumulate {
		from = c
	}
	one.multiply(m, n, p0, p1, from, c, ldc, s)
}

// multiply sets columns of panels [p0, p1) of C [m, n] to the sum of from, if it is not
// nil, whose rows are ldc apart too, and of the chain, whose panels begin with p0.
func (c *chainBF16) multiply(m, n, p0, p1 int, from, to []float32, ldc int, s *Scratch) {
	if active == AVX512BF16 {
		if from != nil {
			copyRows(to[p0*panelN:], from[p0*panelN:], ldc, m, min(n, p1*panelN)-p0*panelN)
		}
		for i := range c.n {
			l := &c.links[i]
			for p := p0; p < p1; p++ {
				j := p * panelN
				multiplyPairs(m, min(panelN, n-j), l.k32*tileK/2, l.a, l.lda, l.b[(p-p0)*l.step:], to[j:], ldc, from != nil || i > 0)
			}
		}
		return
	}
	blocks, full := m/tileRows, min(p1, n/panelN)
	if blocks > 0 && full > p0 {
		multiplyTiles(blocks, full-p0, c, rowsFrom(from, p0*panelN), to[p0*panelN:], ldc)
	}
	// What does not fill a tile goes through one that is apart.
	for p := p0; p < p1; p++ {
		j := p * panelN
		cols := min(panelN, n-j)
		i := blocks * tileRows
		if cols < panelN {
			i = 0
		}
		for ; i < m; i += tileRows {
			at, part := i*ldc+j, c.from(i, p-p0)
			part.edge(min(tileRows, m-i), cols, rowsFrom(from, at), to[at:], ldc, s)
		}
	}
}

// edge is the product of at most a tile's rows and columns, with the sums of a
// whole tile: what an element comes to does not depend on where it lies.
func (c *chainBF16) edge(m, n int, from, to []float32, ldc int, s *Scratch) {
	s.edge = grow(s.edge, tileRows*panelN)
	var start []float32
	if from != nil {
		for i := range m {
			copy(s.edge[i*panelN:], from[i*ldc:i*ldc+n])
		}
		start = s.edge
	}
	multiplyTiles(1, 1, c, start, s.edge, panelN)
	for i := range m {
		copy(to[i*ldc:i*ldc+n], s.edge[i*panelN:])
	}
}
