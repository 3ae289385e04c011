package kernel

// The kernels of this file are what only training wants to be fast.

// multiplyPanelFrom is multiplyPanel that adds, if it accumulates, to from, which
// is laid out as C and may be C, and that meanwhile fetches k cache lines of what
// is needed next, aheadStep elements apart, for each tile of rows: from ahead on
// for the first, from the next line on for each more. They may lie beyond ahead's
// end.
func multiplyPanelFrom(m, n, k int, a []float32, step, rs, ks int, b, from, c []float32, ldc int, accumulate bool, ahead []float32, aheadStep int) {
	add := flag(accumulate)
	switch vectors {
	case AVX512:
		panelFromAVX512(m, n, k, first(a), step, rs, ks, first(b), first(c), ldc, add, first(from), first(ahead), aheadStep)
	case AVX2:
		panelFromAVX2(m, n, k, first(a), step, rs, ks, first(b), first(c), ldc, add, first(from), first(ahead), aheadStep)
	default:
		if accumulate {
			copyRows(c, from, ldc, m, n)
		}
		panelPortable(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
	}
}

// rmsNormGradFrom is rmsNormGrad with the sum of from and the gradient in dx.
func rmsNormGradFrom(dx, from, dw, dy, x, w []float32, rstd, along float32) {
	switch vectors {
	case AVX512:
		rmsNormGradAVX512(first(dx), first(from), first(dw), first(dy), first(x), first(w), len(dx), rstd, along)
	case AVX2:
		rmsNormGradAVX2(first(dx), first(from), first(dw), first(dy), first(x), first(w), len(dx), rstd, along)
	default:
		copy(dx, from)
		rmsNormGradPortable(dx, dw, dy, x, w, rstd, along)
	}
}

// transposeRows sets dst [cols, rows] to the transpose of src [rows, cols], cols
// being tile.nr.
func transposeRows(dst []float32, lddst int, src []float32, ldsrc, rows, cols int) {
	lanes, i := tile.nr/2, 0
	if vectors != Portable {
		for ; i+lanes <= rows; i += lanes {
			if vectors == AVX512 {
				transposeAVX512(first(dst[i:]), lddst, first(src[i*ldsrc:]), ldsrc, cols)
			} else {
				transposeAVX2(first(dst[i:]), lddst, first(src[i*ldsrc:]), ldsrc, cols)
			}
		}
	}
	if i < rows {
		transposePortable(dst[i:], lddst, src[i*ldsrc:], ldsrc, rows-i, cols)
	}
}

func combine(dst []float32, a float32, x []float32, b float32, y []float32) {
	switch vectors {
	case AVX512:
		combineAVX512(first(dst), a, first(x), b, first(y), len(dst))
	case AVX2:
		combineAVX2(first(dst), a, first(x), b, first(y), len(dst))
	default:
		combinePortable(dst, a, x, b, y)
	}
}
