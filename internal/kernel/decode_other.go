//go:build !amd64

package kernel

func roundRow(dst []roundedBlock, x []float32) { roundRowPortable(dst, x) }

func multiplyBlocks(k blockKind, m, panels, blocks int, a []roundedBlock, lda int, w []byte, step int, c []float32, ldc int, accumulate bool, _ *Scratch) {
	multiplyBlocksPortable(k, m, panels, blocks, a, lda, w, step, c, ldc, accumulate)
}

func toHalf(dst []uint16, x []float32)   { toHalfPortable(dst, x) }
func fromHalf(dst []float32, x []uint16) { fromHalfPortable(dst, x) }

func (l *PagedHeads) score(queries, rows, at, _ int, q []float32, ldq int, scores []float32, lds int, s *Scratch) {
	l.scorePortable(queries, rows, at, q, ldq, scores, lds, s)
}

func (l *PagedHeads) weigh(queries, rows, at, _ int, p []float32, ldp int, out []float32, ldo int, accumulate bool, s *Scratch) {
	l.weighPortable(queries, rows, at, p, ldp, out, ldo, accumulate, s)
}
