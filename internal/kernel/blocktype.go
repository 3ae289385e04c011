package kernel

import "encoding/binary"

// BlockType is how the rows of a matrix lie in a model file: in blocks of integers
// that share scales, as ggml defines them (ggml-common.h, ggml-quants.c).
type BlockType uint8

// The block types. q is an element's integer, d and m are binary16.
const (
	Q4_0 BlockType = iota + 1 // blocks of 32: d·(q-8), q of 4 bits
	Q4_1                      // d·q + m
	Q5_0                      // d·(q-16), q of 5 bits
	Q5_1                      // d·q + m
	Q8_0                      // d·q, q of 8 bits, signed
	Q4_K                      // blocks of 256: d·s·q - m·t, s and t of 6 bits for each 32
	Q5_K                      // the same with q of 5 bits
	Q6_K                      // d·s·(q-32), q of 6 bits, s of 8 bits, signed, for each 16
)

// blockTypes have the size of a block, where its binary16 lie, what its kernels are, and
// what reads its rows.
var blockTypes = [...]struct {
	name            string
	elements, bytes int
	halves          []int
	kind            blockKind
	read            func(to []blockRow, b []byte)
}{
	Q4_0: {"Q4_0", 32, 18, []int{0}, nibbleBlocks, readQ4_0},
	Q4_1: {"Q4_1", 32, 20, []int{0, 2}, nibbleShiftBlocks, readQ4_1},
	Q5_0: {"Q5_0", 32, 22, []int{0}, byteBlocks, readQ5_0},
	Q5_1: {"Q5_1", 32, 24, []int{0, 2}, byteShiftBlocks, readQ5_1},
	Q8_0: {"Q8_0", 32, 34, []int{0}, byteBlocks, readQ8_0},
	Q4_K: {"Q4_K", 256, 144, []int{0, 2}, superNibbleBlocks, readQ4_K},
	Q5_K: {"Q5_K", 256, 176, []int{0, 2}, superByteBlocks, readQ5_K},
	Q6_K: {"Q6_K", 256, 210, []int{208}, superTwiceBlocks, readQ6_K},
}

// ParseBlockType is the type of that name, as GGUF has it, and whether there is one.
func ParseBlockType(name string) (BlockType, bool) {
	for t := Q4_0; t <= Q6_K; t++ {
		if blockTypes[t].name == name {
			return t, true
		}
	}
	return 0, false
}

// String is the name of the type.
func (t BlockType) String() string { return blockTypes[t].name }

// RowBytes is the size of a row of n elements, and false if n is no multiple of a
// block's.
func (t BlockType) RowBytes(n int) (int, bool) {
	b := &blockTypes[t]
	return n / b.elements * b.bytes, n%b.elements == 0
}

// Finite reports whether all scales of rows of blocks are, and so all elements.
func (t BlockType) Finite(rows []byte) bool {
	b := &blockTypes[t]
	for ; len(rows) >= b.bytes; rows = rows[b.bytes:] {
		for _, at := range b.halves {
			if binary.LittleEndian.Uint16(rows[at:])&0x7c00 == 0x7c00 {
				return false
			}
		}
	}
	return true
}

// blockRow is what a row has in 32 columns.
type blockRow struct {
	// codes are signed bytes, or 16 bytes of nibbleBlocks: columns 0 to 15 in their low
	// halves, the others in the high ones.
	codes        [32]byte
	scale, shift uint16  // binary16; those of a superblock in each of its rows
	small        [2]byte // of superblocks: factors of both, or of the scale of each half
}

func readQ4_0(to []blockRow, b []byte) {
	to[0].scale = binary.LittleEndian.Uint16(b)
	copy(to[0].codes[:], b[2:])
}

func readQ4_1(to []blockRow, b []byte) {
	to[0].scale, to[0].shift = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	copy(to[0].codes[:], b[4:])
}

func readQ5_0(to []blockRow, b []byte) {
	to[0].scale = binary.LittleEndian.Uint16(b)
	fifthBits(to, b[2:], 16)
}

func readQ5_1(to []blockRow, b []byte) {
	to[0].scale, to[0].shift = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	fifthBits(to, b[4:], 0)
}

// fifthBits reads 32 high bits and the 16 bytes of nibbleBlocks behind them.
func fifthBits(to []blockRow, b []byte, zero byte) {
	high := binary.LittleEndian.Uint32(b)
	for i, q := range b[4:20] {
		to[0].codes[i] = q&0xf + byte(high>>i&1)<<4 - zero
		to[0].codes[i+16] = q>>4 + byte(high>>(i+16)&1)<<4 - zero
	}
}

func readQ8_0(to []blockRow, b []byte) {
	to[0].scale = binary.LittleEndian.Uint16(b)
	copy(to[0].codes[:], b[2:])
}

// readSuper reads the binary16 scales of a superblock and its twelve bytes of eight
// 6-bit factors of either.
func readSuper(to []blockRow, b []byte) {
	s := b[4:16]
	for j := range to {
		to[j].scale, to[j].shift = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		if j < 4 {
			to[j].small = [2]byte{s[j] & 63, s[j+4] & 63}
		} else {
			to[j].small = [2]byte{s[j+4]&0xf | s[j-4]>>6<<4, s[j+4]>>4 | s[j]>>6<<4}
		}
	}
}

func readQ4_K(to []blockRow, b []byte) {
	readSuper(to, b)
	for j := range to { // two in the halves of the same 32 bytes
		qs := b[16+j/2*32:][:32]
		for i := range 16 {
			to[j].codes[i] = qs[i]>>(4*(j%2))&0xf | qs[i+16]>>(4*(j%2))&0xf<<4
		}
	}
}

func readQ5_K(to []blockRow, b []byte) {
	readSuper(to, b)
	for j := range to {
		qs := b[48+j/2*32:][:32]
		for i, high := range b[16:48] {
			to[j].codes[i] = qs[i]>>(4*(j%2))&0xf | high>>j&1<<4
		}
	}
}

func readQ6_K(to []blockRow, b []byte) {
	low, high, scales := b[:128], b[128:192], b[192:208]
	for j := range to {
		part, k := j/4, j%4 // of 128 elements; of those
		to[j].scale = binary.LittleEndian.Uint16(b[208:])
		to[j].small = [2]byte{scales[2*j], scales[2*j+1]}
		for i := range 32 {
			q := low[part*64+k%2*32+i] >> (4 * (k / 2)) & 0xf
			q |= high[part*32+i] >> (2 * k) & 3 << 4
			to[j].codes[i] = q - 32
		}
	}
}
