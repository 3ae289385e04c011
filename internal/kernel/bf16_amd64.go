package kernel

import "unsafe"

// interleave is the order that brings two rows of 16 into pairs.
var interleave = [32]uint16{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}

// tileConfig is LDTILECFG's operand: palette 1, eight tiles of 16 rows of 64
// bytes.
var tileConfig = func() (c [64]byte) {
	c[0] = 1
	for t := range 8 {
		c[16+2*t], c[48+t] = 64, 16
	}
	return c
}()

// convertRows rounds rows of n elements to bfloat16, with zeros up to a multiple
// of 32.
func convertRows(dst []uint16, lddst int, src []float32, ldsrc, rows, n int) {
	convertRowsBF16(unsafe.SliceData(dst), lddst, first(src), ldsrc, rows, n)
}

// pairRows lays each two of k rows of n columns side by side, rounded.
func pairRows(dst []uint32, lddst int, src []float32, ldsrc, k, n int) {
	pairRowsBF16(unsafe.SliceData(dst), lddst, first(src), ldsrc, k, n, &interleave[0])
}

// transpose sets dst [cols, rows] to the transpose of src [rows, cols], rows
// being a multiple of 16.
func transpose(dst []uint32, lddst int, src []uint32, ldsrc, rows, cols int) {
	transposePairs(unsafe.SliceData(dst), lddst, unsafe.SliceData(src), ldsrc, rows/16, cols)
}

func multiplyPairs(m, n, k2 int, a []uint16, lda int, b []uint16, c []float32, ldc int, accumulate bool) {
	add := 0
	if accumulate {
		add = 1
	}
	panelBF16(m, n, k2, unsafe.SliceData(a), lda, unsafe.SliceData(b), first(c), ldc, add)
}

func multiplyTiles(blocks, panels int, c *chainBF16, from, to []float32, ldc int) {
	panelsAMX(&tileConfig[0], blocks, panels, &c.links[0], c.n, first(from), first(to), 4*ldc, 0)
}
