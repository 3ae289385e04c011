package kernel

import "encoding/binary"

// Blocks are multiplied panel by panel, each 16 rows of W by all of k. A panel holds
// its blocks of 32 columns one after the other, and a block
//
//	codes   [8][16] four columns of each row, a byte each; or [4][16] with those that
//	        are 16 columns further on in the high halves
//	scales  [16] binary16, and after them shifts, if there are any
//
// In superblocks of 8 blocks scales and shifts are factors of 8 bits, and what they are
// multiplied with stands before the first block, [16] binary16 each. So one load gets
// four columns of 16 rows, and memory is read from front to end.
const (
	blockRows   = 16 // of a panel; columns of the product
	blockK32    = 32 // columns of a block
	superBlocks = 8
)

// blockKind is a layout that has kernels of its own. Codes are signed, but nibbleBlocks
// with a shift are not, and those without are 8 more than what they stand for.
type blockKind uint8

const (
	nibbleBlocks blockKind = iota
	nibbleShiftBlocks
	byteBlocks
	byteShiftBlocks
	superNibbleBlocks // the shift is subtracted, as in all superblocks
	superByteBlocks
	superTwiceBlocks // a scale for either 16 columns
)

var blockKinds = [...]struct{ nibble, shift, super, twice bool }{
	nibbleBlocks:      {nibble: true},
	nibbleShiftBlocks: {nibble: true, shift: true},
	byteBlocks:        {},
	byteShiftBlocks:   {shift: true},
	superNibbleBlocks: {nibble: true, shift: true, super: true},
	superByteBlocks:   {shift: true, super: true},
	superTwiceBlocks:  {super: true, twice: true},
}

// codes is how many bytes of codes a block has.
func (k blockKind) codes() int {
	if blockKinds[k].nibble {
		return 4 * 4 * blockRows
	}
	return 8 * 4 * blockRows
}

// scaleBytes is the size of a row's scale in a block.
func (k blockKind) scaleBytes() int {
	if blockKinds[k].super {
		return 1
	}
	return 2
}

// size is that of a block.
func (k blockKind) size() int {
	n := blockRows * k.scaleBytes()
	if blockKinds[k].shift || blockKinds[k].twice {
		n *= 2
	}
	return k.codes() + n
}

// header is the size of what stands before a superblock.
func (k blockKind) header() int {
	switch f := blockKinds[k]; {
	case !f.super:
		return 0
	case f.shift:
		return 4 * blockRows
	}
	return 2 * blockRows
}

// panelBytes is the size of a panel of so many blocks, whole cache lines.
func (k blockKind) panelBytes(blocks int) int {
	return (blocks*k.size() + blocks/superBlocks*k.header() + 63) &^ 63
}

// at is where a block begins in its panel, and where the header of its superblock.
func (k blockKind) at(block int) (at, header int) {
	super := block / superBlocks
	header = super * (k.header() + superBlocks*k.size())
	return block*k.size() + (super+1)*k.header(), header
}

// put writes row r of a block into its panel.
func (k blockKind) put(panel []byte, block, r int, row *blockRow) {
	at, header := k.at(block)
	b := panel[at:][:k.size()]
	n := k.codes()
	for v := 0; v < n/64; v++ {
		copy(b[64*v+4*r:][:4], row.codes[4*v:])
	}
	le, f := binary.LittleEndian, &blockKinds[k]
	if f.super {
		b[n+r] = row.small[0]
		b[n+blockRows+r] = row.small[1]
		b, n = panel[header:], 0
	}
	le.PutUint16(b[n+2*r:], row.scale)
	if f.shift {
		le.PutUint16(b[n+2*blockRows+2*r:], row.shift)
	}
}

// scales are those of row r in a block, and its shift, which is added.
func (k blockKind) scales(panel []byte, block, r int) (scale [2]float32, shift float32) {
	at, header := k.at(block)
	b, f := panel[at+k.codes():], &blockKinds[k]
	half := func(b []byte) float32 { return floatOf(binary.LittleEndian.Uint16(b)) }
	switch {
	case f.twice:
		d := half(panel[header+2*r:])
		return [2]float32{d * float32(int8(b[r])), d * float32(int8(b[blockRows+r]))}, 0
	case f.super:
		d := half(panel[header+2*r:]) * float32(b[r])
		return [2]float32{d, d}, -half(panel[header+2*blockRows+2*r:]) * float32(b[blockRows+r])
	}
	d := half(b[2*r:])
	if f.shift {
		shift = half(b[2*blockRows+2*r:])
	}
	return [2]float32{d, d}, shift
}

// code is what the code of row r and column i of a block stands for.
func (k blockKind) code(codes []byte, r, i int) int32 {
	if !blockKinds[k].nibble {
		return int32(int8(codes[i/4*4*blockRows+4*r+i%4]))
	}
	q := codes[i%16/4*4*blockRows+4*r+i%4]
	if i < 16 {
		q &= 0xf
	} else {
		q >>= 4
	}
	if blockKinds[k].shift {
		return int32(q)
	}
	return int32(q) - 8
}

// row sets dst to the elements of row r of a panel.
func (k blockKind) row(dst []float32, panel []byte, r int) {
	for b := 0; b*blockK32 < len(dst); b++ {
		at, _ := k.at(b)
		scale, shift := k.scales(panel, b, r)
		to := dst[b*blockK32:][:blockK32]
		for i := range to {
			to[i] = float32(scale[i/16]*float32(k.code(panel[at:], r, i))) + shift
		}
	}
}
