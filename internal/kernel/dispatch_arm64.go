package kernel

import (
	"runtime"
	"unsafe"
)

// supported: every processor of arm64 that Go runs on has NEON.
func supported(isa ISA) bool { return isa == Portable || isa == NEON }

func pause() { runtime.Gosched() }

// first is the address of a slice's first element.
func first(x []float32) *float32 { return unsafe.SliceData(x) }

func multiplyPanel(m, n, k int, a []float32, step, rs, ks int, b, c []float32, ldc int, accumulate bool) {
	switch {
	case vectors == Portable:
		panelPortable(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
	case n < tile.nr:
		narrowPanel(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
	default:
		add := 0
		if accumulate {
			add = 1
		}
		panelNEON(m, k, first(a), step, rs, ks, first(b), first(c), ldc, add)
	}
}

// narrowPanel is multiplyPanel for a C that is not as wide as the panel: the
// assembly knows whole rows alone.
func narrowPanel(m, n, k int, a []float32, step, rs, ks int, b, c []float32, ldc int, accumulate bool) {
	const mr, nr = 8, 8
	var whole [mr * nr]float32
	for i := 0; i < m; i += mr {
		rows := min(mr, m-i)
		panelNEON(rows, k, first(a[i/mr*step:]), step, rs, ks, first(b), &whole[0], nr, 0)
		for r := range rows {
			row, sums := c[(i+r)*ldc:][:n], whole[r*nr:][:n]
			if accumulate {
				for j, sum := range sums {
					row[j] += sum
				}
			} else {
				copy(row, sums)
			}
		}
	}
}

func packRows(panel, b []float32, ldb, n, k int) {
	if vectors == Portable || n < tile.nr {
		packRowsPortable(panel, b, ldb, n, k, tile.nr)
		return
	}
	packRowsNEON(first(panel), first(b), ldb, k)
}

// packTiles copies k rows of m columns of a transposed A into tiles of mr
// columns, [k, mr] each, that begin step elements apart.
func packTiles(tiles []float32, step int, a []float32, lda, m, k int) {
	whole := 0
	if vectors != Portable {
		whole = m / tile.mr
	}
	if whole > 0 {
		packTilesNEON(first(tiles), step, first(a), lda, whole, k)
	}
	if done := whole * tile.mr; done < m {
		packTilesPortable(tiles[whole*step:], step, a[done:], lda, m-done, k, tile.mr)
	}
}

// packColumns transposes four rows at a time in assembly, and what is left of
// them, and of k beyond a multiple of 4, in Go.
func packColumns(panel, b []float32, ldb, n, k int) {
	if vectors == Portable {
		packColumnsPortable(panel, b, ldb, n, k, tile.nr)
		return
	}
	nr, k4 := tile.nr, k&^3
	if n < nr {
		clear(panel[:k*nr])
	}
	j := 0
	for ; k4 > 0 && j+4 <= n; j += 4 {
		packColumnsNEON(first(panel[j:]), first(b[j*ldb:]), ldb, k4)
		for l := k4; l < k; l++ {
			for i := j; i < j+4; i++ {
				panel[l*nr+i] = b[i*ldb+l]
			}
		}
	}
	for ; j < n; j++ {
		for l, x := range b[j*ldb : j*ldb+k] {
			panel[l*nr+j] = x
		}
	}
}

func dot(x, y []float32) float32 {
	if vectors == Portable {
		return dotPortable(x, y)
	}
	return dotNEON(first(x), first(y), len(x))
}

func dot3(x, y, z []float32) float32 {
	if vectors == Portable {
		return dot3Portable(x, y, z)
	}
	return dot3NEON(first(x), first(y), first(z), len(x))
}

func maximum(x []float32) float32 {
	if vectors == Portable {
		return maximumPortable(x)
	}
	return maximumNEON(first(x), len(x))
}

func axpy(y []float32, a float32, x []float32) {
	if vectors == Portable {
		axpyPortable(y, a, x)
		return
	}
	axpyNEON(first(y), a, first(x), len(y))
}

func scaleVector(x []float32, a float32) {
	if vectors == Portable {
		scalePortable(x, a)
		return
	}
	scaleNEON(first(x), a, len(x))
}

func add(dst, x, y []float32) {
	if vectors == Portable {
		addPortable(dst, x, y)
		return
	}
	addNEON(first(dst), first(x), first(y), len(dst))
}

func mul(dst, x, y []float32) {
	if vectors == Portable {
		mulPortable(dst, x, y)
		return
	}
	mulNEON(first(dst), first(x), first(y), len(dst))
}

func mulScale(dst, x, y []float32, a float32) {
	if vectors == Portable {
		mulScalePortable(dst, x, y, a)
		return
	}
	mulScaleNEON(first(dst), first(x), first(y), a, len(dst))
}

func exp(dst, x []float32) {
	if vectors == Portable {
		expPortable(dst, x)
		return
	}
	expNEON(first(dst), first(x), len(dst))
}

func expSum(dst, x []float32, a, b float32) float32 {
	if vectors == Portable {
		return expSumPortable(dst, x, a, b)
	}
	return expSumNEON(first(dst), first(x), len(dst), a, b)
}

func scoreGrad(dp, p []float32, d, a float32) {
	if vectors == Portable {
		scoreGradPortable(dp, p, d, a)
		return
	}
	scoreGradNEON(first(dp), first(p), d, a, len(dp))
}

func sigmoid(dst, x []float32) {
	if vectors == Portable {
		sigmoidPortable(dst, x)
		return
	}
	sigmoidNEON(first(dst), first(x), len(dst))
}

func swiGLU(dst, gate, up []float32) {
	if vectors == Portable {
		swiGLUPortable(dst, gate, up)
		return
	}
	swiGLUNEON(first(dst), first(gate), first(up), len(dst))
}

func swiGLUGrad(dgate, dup, dy, gate, up []float32) {
	if vectors == Portable {
		swiGLUGradPortable(dgate, dup, dy, gate, up)
		return
	}
	swiGLUGradNEON(first(dgate), first(dup), first(dy), first(gate), first(up), len(dgate))
}

func rmsNormGrad(dx, dw, dy, x, w []float32, rstd, along float32) {
	if vectors == Portable {
		rmsNormGradPortable(dx, dw, dy, x, w, rstd, along)
		return
	}
	rmsNormGradNEON(first(dx), first(dw), first(dy), first(x), first(w), len(dx), rstd, along)
}

func adamW(w, g, m, v []float32, o *adamWArgs) {
	if vectors == Portable {
		adamWPortable(w, g, m, v, o)
		return
	}
	adamWNEON(first(w), first(g), first(m), first(v), len(w), &o.gradScale)
}

func rotaryInterleaved(x, cos, sin []float32, inverse bool) {
	whole := 0
	if vectors != Portable {
		whole = len(cos) &^ 3
		rotaryInterleavedNEON(first(x), first(cos), first(sin), whole, turnSign(inverse))
	}
	rotaryInterleavedPortable(x[2*whole:], cos[whole:], sin[whole:], inverse)
}

func rotaryHalf(x, cos, sin []float32, inverse bool) {
	if vectors == Portable {
		rotaryHalfPortable(x, cos, sin, inverse)
		return
	}
	h := len(cos)
	rotaryHalfNEON(first(x), first(x[h:]), first(cos), first(sin), h, turnSign(inverse))
}

func turnSign(inverse bool) float32 {
	if inverse {
		return -1
	}
	return 1
}
