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

func multiplyBlocks(k blockKind, m, panels, blocks int, a []roundedBlock, lda int, w []byte, step int, c []float32, ldc int, accumulate bool) {
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
	blockFuncs[dot][k](m, panels, blocks, unsafe.SliceData(a), size*lda, unsafe.SliceData(w), step, first(c), ldc, flag(accumulate))
}
