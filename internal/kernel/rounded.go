package kernel

import "math"

// roundedBlock is 32 elements of a row of A, rounded to 8 bits with a scale of their
// own. What else is needed of them is kept beside, as codes of weights are made
// unsigned where they are multiplied, by adding 8 or 128.
type roundedBlock struct {
	codes [blockK32]int8
	scale float32
	sum   float32  // scale·Σ
	zero8 int32    // -8·Σ
	zero  int32    // -128·Σ
	zeros [2]int32 // -128·Σ of either 16
	_     [2]int32
}

// leastRounded is the magnitude below which a block is rounded to zeros: its
// reciprocal would be infinite before long.
const leastRounded = 0x1p-100

// roundRow rounds a row of whole blocks, each to the nearest multiple, ties to even,
// of its largest magnitude over 127.
func roundRowPortable(dst []roundedBlock, x []float32) {
	for i := range dst {
		x, b := x[i*blockK32:][:blockK32], &dst[i]
		most := float32(0)
		for _, v := range x {
			most = max(most, v, -v)
		}
		scale, times := float32(0), float32(0)
		if most >= leastRounded {
			scale, times = most/127, 127/most
		}
		var half [2]int32
		for j, v := range x {
			q := int32(math.RoundToEven(float64(v * times)))
			b.codes[j] = int8(q)
			half[j/16] += q
		}
		sum := half[0] + half[1]
		b.scale, b.sum = scale, scale*float32(sum)
		b.zero8, b.zero, b.zeros = -8*sum, -128*sum, [2]int32{-128 * half[0], -128 * half[1]}
	}
}

// roundRows rounds m rows of whole blocks of A; the rows lie ld blocks apart, an odd
// number, so that they do not share sets of the first-level cache. Behind them is room
// up to a multiple of 16 rows and a block, which tiles read and make nothing of.
func (s *Scratch) roundRows(m, blocks int, a []float32, lda int) (rows []roundedBlock, ld int) {
	ld = blocks | 1
	s.rounds = grow(s.rounds, (m+15)&^15*ld+1)
	for i := range m {
		roundRow(s.rounds[i*ld:][:blocks], a[i*lda:][:blocks*blockK32])
	}
	return s.rounds, ld
}
