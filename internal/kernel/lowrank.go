package kernel

import "fmt"

// Term is a product of some columns of its input, from From on, with a packed B, that
// makes some columns of its output, from To on.
type Term struct {
	B        *PackedB
	From, To int
}

// LowRank is what an adapter adds to a product x·W: scale·(x·Down)·Up. Down's terms make
// all Rank columns of x·Down; those that Up's terms add to in y do not overlap.
type LowRank struct {
	Rank     int
	Scale    float32
	Down, Up []Term
}

// GemmLowRankSerial sets u [m, l.Rank] to l.Scale·(x·Down), for the gradient, and
// y [m, n] to x·W + u·Up, to which it adds from, whose rows are ldy apart too, unless
// that is nil. Precision is that of w. Where FastBF16 says so, and Down and Up are one
// term each, x is rounded once and y written once.
func GemmLowRankSerial(m int, x []float32, ldx int, w *PackedB, l *LowRank, u []float32, ldu int, from, y []float32, ldy int, s *Scratch) {
	if whole(l.Down) && whole(l.Up) && w.precision == BF16 && FastBF16() && w.n > 0 && w.k > 0 {
		lowRankBF16(m, x, ldx, w, l, u, ldu, from, y, ldy, s)
		return
	}
	if from == nil {
		GemmPackedSerial(m, x, ldx, w, y, ldy, false, s)
	} else {
		GemmPackedSerialFrom(m, x, ldx, w, from, y, ldy, s)
	}
	AddLowRankSerial(m, x, ldx, l, u, ldu, y, ldy, s)
}

// AddLowRankSerial is GemmLowRankSerial without W: it adds u·Up to y.
func AddLowRankSerial(m int, x []float32, ldx int, l *LowRank, u []float32, ldu int, y []float32, ldy int, s *Scratch) {
	for _, t := range l.Down {
		GemmPackedSerial(m, x[t.From:], ldx, t.B, u[t.To:], ldu, false, s)
	}
	for i := range m {
		scaleVector(u[i*ldu:][:l.Rank], l.Scale)
	}
	for _, t := range l.Up {
		GemmPackedSerial(m, u[t.From:], ldu, t.B, y[t.To:], ldy, true, s)
	}
}

// whole reports whether terms are a single one for all columns.
func whole(all []Term) bool { return len(all) == 1 && all[0].From == 0 && all[0].To == 0 }

func lowRankBF16(m int, x []float32, ldx int, w *PackedB, l *LowRank, u []float32, ldu int, from, y []float32, ldy int, s *Scratch) {
	down, up := l.Down[0].B, l.Up[0].B
	if down.k != w.k || down.n != l.Rank || up.k != l.Rank || up.n != w.n || down.precision != BF16 || up.precision != BF16 {
		panic(fmt.Sprintf("kernel: a product [%d, %d] with a low-rank addition [%d, %d]·[%d, %d]", w.k, w.n, down.k, down.n, up.k, up.n))
	}
	for _, b := range []*PackedB{w, down, up} {
		b.check()
	}
	checkMatrix("x", x, m, w.k, ldx)
	checkMatrix("u", u, m, l.Rank, ldu)
	checkMatrix("y", y, m, w.n, ldy)
	if from != nil {
		checkMatrix("from", from, m, w.n, ldy)
	}
	if m == 0 {
		return
	}
	lda, ldr := rowStride(padK(w.k)), rowStride(padK(l.Rank))
	a := s.rowsBF16(m, lda)
	convertRows(a, lda, x, ldx, m, w.k)
	s.rank16 = grow(s.rank16, wholeTiles(m)*ldr)
	fetch := fetchLines(m)
	for k0 := 0; k0 < w.k; k0 += chainK {
		var c chainBF16
		c.addPacked(a[k0:], lda, down.data16, l.Rank, k0, min(chainK, w.k-k0), 0, fetch)
		var start []float32
		if k0 > 0 {
			start = u
		}
		c.multiply(m, l.Rank, 0, panels(l.Rank), start, u, ldu, s)
	}
	for i := range m {
		scaleVector(u[i*ldu:][:l.Rank], l.Scale)
	}
	convertRows(s.rank16, ldr, u, ldu, m, l.Rank)
	for k0 := 0; k0 < w.k; k0 += chainK {
		kc := min(chainK, w.k-k0)
		var c chainBF16
		c.addPacked(a[k0:], lda, w.data16, w.n, k0, kc, 0, fetch)
		if k0+kc == w.k && l.Rank <= blockK {
			c.addPacked(s.rank16, ldr, up.data16, w.n, 0, l.Rank, 0, 0)
		}
		c.multiply(m, w.n, 0, panels(w.n), from, y, ldy, s)
		from = y
	}
	for k0 := 0; l.Rank > blockK && k0 < l.Rank; k0 += chainK {
		var c chainBF16
		c.addPacked(s.rank16[k0:], ldr, up.data16, w.n, k0, min(chainK, l.Rank-k0), 0, fetch)
		c.multiply(m, w.n, 0, panels(w.n), y, y, ldy, s)
	}
}
