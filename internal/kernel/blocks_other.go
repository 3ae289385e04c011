//go:build !amd64

package kernel

func roundRow(dst []roundedBlock, x []float32) { roundRowPortable(dst, x) }

func multiplyBlocks(k blockKind, m, panels, blocks int, a []roundedBlock, lda int, w []byte, step int, c []float32, ldc int, accumulate bool) {
	multiplyBlocksPortable(k, m, panels, blocks, a, lda, w, step, c, ldc, accumulate)
}
