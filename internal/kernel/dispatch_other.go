//go:build !amd64 && !arm64

package kernel

import "runtime"

func supported(isa ISA) bool { return isa == Portable }

func pause() { runtime.Gosched() }

func multiplyPanel(m, n, k int, a []float32, step, rs, ks int, b, c []float32, ldc int, accumulate bool) {
	panelPortable(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
}

func packRows(panel, b []float32, ldb, n, k int) { packRowsPortable(panel, b, ldb, n, k, tile.nr) }

func packTiles(tiles []float32, step int, a []float32, lda, m, k int) {
	packTilesPortable(tiles, step, a, lda, m, k, tile.mr)
}

func packColumns(panel, b []float32, ldb, n, k int) {
	packColumnsPortable(panel, b, ldb, n, k, tile.nr)
}

func dot(x, y []float32) float32                    { return dotPortable(x, y) }
func dot3(x, y, z []float32) float32                { return dot3Portable(x, y, z) }
func axpy(y []float32, a float32, x []float32)      { axpyPortable(y, a, x) }
func scaleVector(x []float32, a float32)            { scalePortable(x, a) }
func add(dst, x, y []float32)                       { addPortable(dst, x, y) }
func mul(dst, x, y []float32)                       { mulPortable(dst, x, y) }
func mulScale(dst, x, y []float32, a float32)       { mulScalePortable(dst, x, y, a) }
func maximum(x []float32) float32                   { return maximumPortable(x) }
func exp(dst, x []float32)                          { expPortable(dst, x) }
func sigmoid(dst, x []float32)                      { sigmoidPortable(dst, x) }
func swiGLU(dst, gate, up []float32)                { swiGLUPortable(dst, gate, up) }
func expSum(dst, x []float32, a, b float32) float32 { return expSumPortable(dst, x, a, b) }
func scoreGrad(dp, p []float32, d, a float32)       { scoreGradPortable(dp, p, d, a) }
func swiGLUGrad(dgate, dup, dy, gate, up []float32) { swiGLUGradPortable(dgate, dup, dy, gate, up) }
func rmsNormGrad(dx, dw, dy, x, w []float32, rstd, along float32) {
	rmsNormGradPortable(dx, dw, dy, x, w, rstd, along)
}
func rotaryInterleaved(x, cos, sin []float32, inverse bool) {
	rotaryInterleavedPortable(x, cos, sin, inverse)
}
func rotaryHalf(x, cos, sin []float32, inverse bool) { rotaryHalfPortable(x, cos, sin, inverse) }
func adamW(w, g, m, v []float32, o *adamWArgs)       { adamWPortable(w, g, m, v, o) }
