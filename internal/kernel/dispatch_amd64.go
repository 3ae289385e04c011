package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate go run ./asm -out kernels_amd64.s -stubs stubs_amd64.go -pkg kernel

// supported asks for what the assembly uses; x/sys/cpu reports a feature only
// if the operating system saves the registers that it needs.
func supported(isa ISA) bool {
	x := &cpu.X86
	switch isa {
	case Portable:
		return true
	case AVX2:
		return x.HasAVX2 && x.HasFMA && x.HasBMI2 && x.HasF16C
	case AVXVNNI:
		return supported(AVX2) && x.HasAVXVNNI
	case AVX512:
		return supported(AVX2) && x.HasAVX512F && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512BW
	case AVX512VNNI:
		return supported(AVX512) && x.HasAVX512VNNI
	case AVX512BF16:
		return supported(AVX512VNNI) && x.HasAVX512BF16
	case AMX:
		return supported(AVX512BF16) && x.HasAMXTile && x.HasAMXBF16 && x.HasAMXInt8 && tilesPermitted()
	}
	return false
}

func pause() { pauseAsm() }

// first is the address of a slice's first element.
func first(x []float32) *float32 { return unsafe.SliceData(x) }

func multiplyPanel(m, n, k int, a []float32, step, rs, ks int, b, c []float32, ldc int, accumulate bool) {
	add := flag(accumulate)
	switch vectors {
	case AVX512:
		panelAVX512(m, n, k, first(a), step, rs, ks, first(b), first(c), ldc, add)
	case AVX2:
		panelAVX2(m, n, k, first(a), step, rs, ks, first(b), first(c), ldc, add)
	default:
		panelPortable(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
	}
}

func packRows(panel, b []float32, ldb, n, k int) {
	switch vectors {
	case AVX512:
		packRowsAVX512(first(panel), first(b), ldb, n, k)
	case AVX2:
		packRowsAVX2(first(panel), first(b), ldb, n, k)
	default:
		packRowsPortable(panel, b, ldb, n, k, tile.nr)
	}
}

// packTiles copies k rows of m columns of a transposed A into tiles of mr
// columns, [k, mr] each, that begin step elements apart; the vectorSlack elements
// behind each may be overwritten.
func packTiles(tiles []float32, step int, a []float32, lda, m, k int) {
	switch vectors {
	case AVX512:
		packTilesAVX512(first(tiles), step, first(a), lda, m, k)
	case AVX2:
		packTilesAVX2(first(tiles), step, first(a), lda, m, k)
	default:
		packTilesPortable(tiles, step, a, lda, m, k, tile.mr)
	}
}

// packColumns transposes whole vectors of rows in assembly, and what is left
// of them, and of k beyond a multiple of 4, in Go.
func packColumns(panel, b []float32, ldb, n, k int) {
	if vectors == Portable {
		packColumnsPortable(panel, b, ldb, n, k, tile.nr)
		return
	}
	nr := tile.nr
	half, k4 := nr/2, k&^3
	if n < nr {
		clear(panel[:k*nr])
	}
	j := 0
	for ; k4 > 0 && j+half <= n; j += half {
		if vectors == AVX512 {
			transposeAVX512(first(panel[j:]), nr, first(b[j*ldb:]), ldb, k4)
		} else {
			transposeAVX2(first(panel[j:]), nr, first(b[j*ldb:]), ldb, k4)
		}
		for l := k4; l < k; l++ {
			for i := j; i < j+half; i++ {
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
	switch vectors {
	case AVX512:
		return dotAVX512(first(x), first(y), len(x))
	case AVX2:
		return dotAVX2(first(x), first(y), len(x))
	}
	return dotPortable(x, y)
}

func dot3(x, y, z []float32) float32 {
	switch vectors {
	case AVX512:
		return dot3AVX512(first(x), first(y), first(z), len(x))
	case AVX2:
		return dot3AVX2(first(x), first(y), first(z), len(x))
	}
	return dot3Portable(x, y, z)
}

func maximum(x []float32) float32 {
	switch vectors {
	case AVX512:
		return maximumAVX512(first(x), len(x))
	case AVX2:
		return maximumAVX2(first(x), len(x))
	}
	return maximumPortable(x)
}

func axpy(y []float32, a float32, x []float32) {
	switch vectors {
	case AVX512:
		axpyAVX512(first(y), a, first(x), len(y))
	case AVX2:
		axpyAVX2(first(y), a, first(x), len(y))
	default:
		axpyPortable(y, a, x)
	}
}

func scaleVector(x []float32, a float32) {
	switch vectors {
	case AVX512:
		scaleAVX512(first(x), a, len(x))
	case AVX2:
		scaleAVX2(first(x), a, len(x))
	default:
		scalePortable(x, a)
	}
}

func add(dst, x, y []float32) {
	switch vectors {
	case AVX512:
		addAVX512(first(dst), first(x), first(y), len(dst))
	case AVX2:
		addAVX2(first(dst), first(x), first(y), len(dst))
	default:
		addPortable(dst, x, y)
	}
}

func mul(dst, x, y []float32) {
	switch vectors {
	case AVX512:
		mulAVX512(first(dst), first(x), first(y), len(dst))
	case AVX2:
		mulAVX2(first(dst), first(x), first(y), len(dst))
	default:
		mulPortable(dst, x, y)
	}
}

func mulScale(dst, x, y []float32, a float32) {
	switch vectors {
	case AVX512:
		mulScaleAVX512(first(dst), first(x), first(y), a, len(dst))
	case AVX2:
		mulScaleAVX2(first(dst), first(x), first(y), a, len(dst))
	default:
		mulScalePortable(dst, x, y, a)
	}
}

func exp(dst, x []float32) {
	switch vectors {
	case AVX512:
		expAVX512(first(dst), first(x), len(dst))
	case AVX2:
		expAVX2(first(dst), first(x), len(dst))
	default:
		expPortable(dst, x)
	}
}

func expSum(dst, x []float32, a, b float32) float32 {
	switch vectors {
	case AVX512:
		return expSumAVX512(first(dst), first(x), len(dst), a, b)
	case AVX2:
		return expSumAVX2(first(dst), first(x), len(dst), a, b)
	}
	return expSumPortable(dst, x, a, b)
}

func scoreGrad(dp, p []float32, d, a float32) {
	switch vectors {
	case AVX512:
		scoreGradAVX512(first(dp), first(p), d, a, len(dp))
	case AVX2:
		scoreGradAVX2(first(dp), first(p), d, a, len(dp))
	default:
		scoreGradPortable(dp, p, d, a)
	}
}

func sigmoid(dst, x []float32) {
	switch vectors {
	case AVX512:
		sigmoidAVX512(first(dst), first(x), len(dst))
	case AVX2:
		sigmoidAVX2(first(dst), first(x), len(dst))
	default:
		sigmoidPortable(dst, x)
	}
}

func swiGLU(dst, gate, up []float32) {
	switch vectors {
	case AVX512:
		swiGLUAVX512(first(dst), first(gate), first(up), len(dst))
	case AVX2:
		swiGLUAVX2(first(dst), first(gate), first(up), len(dst))
	default:
		swiGLUPortable(dst, gate, up)
	}
}

func swiGLUGrad(dgate, dup, dy, gate, up []float32) {
	switch vectors {
	case AVX512:
		swiGLUGradAVX512(first(dgate), first(dup), first(dy), first(gate), first(up), len(dgate))
	case AVX2:
		swiGLUGradAVX2(first(dgate), first(dup), first(dy), first(gate), first(up), len(dgate))
	default:
		swiGLUGradPortable(dgate, dup, dy, gate, up)
	}
}

func adamW(w, g, m, v []float32, o *adamWArgs) {
	switch vectors {
	case AVX512:
		adamWAVX512(first(w), first(g), first(m), first(v), len(w), &o.gradScale)
	case AVX2:
		adamWAVX2(first(w), first(g), first(m), first(v), len(w), &o.gradScale)
	default:
		adamWPortable(w, g, m, v, o)
	}
}

func rotaryInterleaved(x, cos, sin []float32, inverse bool) {
	sign, whole := float32(1), 0
	if inverse {
		sign = -1
	}
	switch vectors {
	case AVX512:
		whole = len(cos) &^ 7
		rotaryInterleavedAVX512(first(x), first(cos), first(sin), whole, sign)
	case AVX2:
		whole = len(cos) &^ 3
		rotaryInterleavedAVX2(first(x), first(cos), first(sin), whole, sign)
	}
	rotaryInterleavedPortable(x[2*whole:], cos[whole:], sin[whole:], inverse)
}

func rotaryHalf(x, cos, sin []float32, inverse bool) {
	sign, h := float32(1), len(cos)
	if inverse {
		sign = -1
	}
	switch vectors {
	case AVX512:
		rotaryHalfAVX512(first(x), first(x[h:]), first(cos), first(sin), h, sign)
	case AVX2:
		rotaryHalfAVX2(first(x), first(x[h:]), first(cos), first(sin), h, sign)
	default:
		rotaryHalfPortable(x, cos, sin, inverse)
	}
}
