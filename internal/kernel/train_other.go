//go:build !amd64

package kernel

func multiplyPanelFrom(m, n, k int, a []float32, step, rs, ks int, b, from, c []float32, ldc int, accumulate bool, _ []float32, _ int) {
	if accumulate {
		copyRows(c, from, ldc, m, n)
	}
	multiplyPanel(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
}

func rmsNormGradFrom(dx, from, dw, dy, x, w []float32, rstd, along float32) {
	copy(dx, from)
	rmsNormGrad(dx, dw, dy, x, w, rstd, along)
}

func transposeRows(dst []float32, lddst int, src []float32, ldsrc, rows, cols int) {
	transposePortable(dst, lddst, src, ldsrc, rows, cols)
}

func combine(dst []float32, a float32, x []float32, b float32, y []float32) {
	combinePortable(dst, a, x, b, y)
}
