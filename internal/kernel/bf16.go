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

// multiplyPackedBF16 is multiplyPacked for bfloat16: it rounds A as it goes.
func multiplyPackedBF16(g *Group, packed []uint16, s span, accumulate bool, scratch *Scratch) {
	rows := s.r1 - s.r0
	width := panels(g.N) * panelN
	for k0 := 0; k0 < g.K; k0 += blockK {
		kc := min(blockK, g.K-k0)
		kp := padK(kc)
		lda := kp + rowSlack
		a := scratch.rowsBF16(rows, lda)
		convertRows(a, lda, g.A[s.r0*g.LDA+k0:], g.LDA, rows, kc)
		if !s.lower {
			multiplyPanelsBF16(rows, g.N, kp, s.p0, s.p1, a, lda, packed[k0*width:], kp*panelN,
				g.C[s.r0*g.LDC:], g.LDC, accumulate || k0 > 0, scratch)
			continue
		}
		for p := s.p0; p < s.p1; p++ {
			r0 := s.first(p, tileRows)
			multiplyPanelsBF16(s.r1-r0, g.N, kp, p, p+1, a[r0*lda:], lda, packed[k0*width:], kp*panelN,
				g.C[r0*g.LDC:], g.LDC, accumulate || k0 > 0, scratch)
		}
	}
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
	s.rows16 = grow(s.rows16, (rows+tileRows-1)/tileRows*tileRows*lda)
	return s.rows16
}

// multiplyPanelsBF16 sets or adds to C [m, n], of which columns of panels
// [p0, p1) are meant, the product of A [m, kp] and panels that lie step elements
// apart.
func multiplyPanelsBF16(m, n, kp, p0, p1 int, a []uint16, lda int, packed []uint16, step int, c []float32, ldc int, accumulate bool, s *Scratch) {
	if active == AVX512BF16 {
		for p := p0; p < p1; p++ {
			j := p * panelN
			multiplyPairs(m, min(panelN, n-j), kp/2, a, lda, packed[p*step:], c[j:], ldc, accumulate)
		}
		return
	}
	blocks, full := m/tileRows, min(p1, n/panelN)
	if blocks > 0 && full > p0 {
		multiplyTiles(blocks, full-p0, kp/tileK, a, lda, packed[p0*step:], step, c[p0*panelN:], ldc, accumulate)
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
			edge(min(tileRows, m-i), cols, kp/tileK, a[i*lda:], lda, packed[p*step:], step, c[i*ldc+j:], ldc, accumulate, s)
		}
	}
}

// edge is the product of at most a tile's rows and columns, with the sums of a
// whole tile: what an element comes to does not depend on where it lies.
func edge(m, n, k32 int, a []uint16, lda int, b []uint16, step int, c []float32, ldc int, accumulate bool, s *Scratch) {
	s.edge = grow(s.edge, tileRows*panelN)
	if accumulate {
		for i := range m {
			copy(s.edge[i*panelN:], c[i*ldc:i*ldc+n])
		}
	}
	multiplyTiles(1, 1, k32, a, lda, b, step, s.edge, panelN, accumulate)
	for i := range m {
		copy(c[i*ldc:i*ldc+n], s.edge[i*panelN:])
	}
}
