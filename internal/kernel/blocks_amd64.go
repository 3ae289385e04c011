package kernel

import "unsafe"

type blockFunc func(m, panels, blocks int, a *roundedBlock, lda int, w *byte, step int, c *float32, ldc int, accumulate int)

// blockFuncs are the kernels by what products of bytes are made with.
var blockFuncs = [...][superTwiceBlocks + 1]blockFunc{
	bytesAVX2: {blockNibbleAVX2, blockNibbleShiftAVX2, blockByteAVX2, blockByteShiftAVX2,
		blockSuperNibbleShiftAVX2, blockSuperByteShiftAVX2, blockSuperByteTwiceAVX2},
	bytesVNNI: {blockNibbleVNNI, blockNibbleShiftVNNI, blockByteVNNI, blockByteShiftVNNI,
		blockSuperNibbleShiftVNNI, blockSuperByteShiftVNNI, blockSuperByteTwiceVNNI},
	bytesVNNI512: {blockNibbleVNNI512, blockNibbleShiftVNNI512, blockByteVNNI512, blockByteShiftVNNI512,
		blockSuperNibbleShiftVNNI512, blockSuperByteShiftVNNI512, blockSuperByteTwiceVNNI512},
}

const (
	bytesAVX2 = iota
	bytesVNNI
	bytesVNNI512
)

func roundRow(dst []roundedBlock, x []float32) {
	if active == Portable {
		roundRowPortable(dst, x)
		return
	}
	roundRowAVX2(unsafe.SliceData(dst), first(x), len(dst))
}

func multiplyBlocks(k blockKind, m, panels, blocks int, a []roundedBlock, lda int, w []byte, step int, c []float32, ldc int, accumulate bool, s *Scratch) {
	dot := bytesAVX2
	switch {
	case active == Portable:
		multiplyBlocksPortable(k, m, panels, blocks, a, lda, w, step, c, ldc, accumulate)
		return
	case active == AVXVNNI:
		dot = bytesVNNI
	case active >= AVX512VNNI:
		dot = bytesVNNI512
	}
	size := int(unsafe.Sizeof(roundedBlock{}))
	if active == AMX && m >= fewestTiled && k != superTwiceBlocks {
		tileBlocksOf(k, m, panels, blocks, a, size*lda, w, step, c, ldc, accumulate, s)
		return
	}
	blockFuncs[dot][k](m, panels, blocks, unsafe.SliceData(a), size*lda, unsafe.SliceData(w), step, first(c), ldc, flag(accumulate))
}

// fewestTiled is how many rows tiles are faster for: they always compute 16.
const fewestTiled = 9

// blockTiles is LDTILECFG's operand for the tiles of tileBlocks: sums of 16 rows of 64
// bytes, rows of A of 32, and eight rows of codes.
var blockTiles = func() (c [64]byte) {
	c[0] = 1
	for t := range 6 {
		rows, bytes := [...]byte{16, 16, 8}[t/2], [...]byte{64, 32, 64}[t/2]
		c[16+2*t], c[48+t] = bytes, rows
	}
	return c
}()

// unpackFuncs lay panels out for tiles.
var unpackFuncs = [...]func(codes *byte, scales *float32, w *byte, blocks int){
	unpackNibble, unpackNibbleShift, unpackByte, unpackByteShift, unpackSuperNibbleShift, unpackSuperByteShift,
}

func tileBlocksOf(k blockKind, m, panels, blocks int, a []roundedBlock, lda int, w []byte, step int, c []float32, ldc int, accumulate bool, s *Scratch) {
	s.codes, s.scales, s.dots = grow(s.codes, 512*(blocks+1)), grow(s.scales, 32*blocks), grow(s.dots, 512)
	tiles := tileBlocks
	if blockKinds[k].shift {
		tiles = tileBlocksShift
	}
	for p := range panels {
		unpackFuncs[k](&s.codes[0], &s.scales[0], &w[p*step], blocks)
		tiles(&blockTiles[0], m, blocks, &a[0], lda, &s.codes[0], &s.scales[0], &s.dots[0], &c[p*blockRows], ldc, flag(accumulate))
	}
}
