package main

// tileBlocks writes what multiplies rounded rows with blocks by AMX: a panel is laid
// out for tiles first, codes signed bytes and scales float32.
func (t *text) tileBlocks() {
	for _, k := range blockKinds {
		if !k.twice { // half as many columns to a scale would leave tiles too empty
			(&blockKernel{text: t, blockSet: blockSet{wide: true}, blockKind: k}).unpack()
		}
	}
	t.tilesOf("tileBlocks", false)
	t.tilesOf("tileBlocksShift", true)
}

// unpack writes a panel's codes [blocks][8][16] of four signed bytes, and its scales
// [blocks][2][16], shifts second.
func (g *blockKernel) unpack() {
	g.function("unpack"+g.blockKind.name, "lays a panel out for tileBlocks; blocks is positive.", "codes *byte", "scales *float32", "w *byte", "blocks int")
	g.param(0, "codes", "SI")
	g.param(1, "scales", "DX")
	g.param(2, "w", "DI")
	g.param(3, "blocks", "AX")
	if g.nibble {
		g.op("VMOVDQU64 lowNibbles<>(SB), %s", g.reg(regMask))
		g.op("VMOVDQU64 byteEights<>(SB), %s", g.reg(regOnes))
	}
	if g.super {
		g.line("super:")
		g.op("MOVQ DI, BX")
		g.op("ADDQ $%d, DI", g.header())
		g.op("MOVQ $8, R13")
	}
	g.line("block:")
	for v := range g.codes() / 64 {
		code, high := g.reg(regDots+2*v), g.reg(regDots+2*v+1)
		g.op("VMOVDQU64 %d(DI), %s", 64*v, code)
		if g.nibble {
			g.op("VPSRLW $4, %s, %s", code, high)
			for i, x := range []string{code, high} {
				g.bitwise("VPAND", g.reg(regMask), x, x)
				if !g.shift {
					g.op("VPSUBB %s, %s, %s", g.reg(regOnes), x, x)
				}
				g.op("VMOVDQU64 %s, %d(SI)", x, 64*v+256*i)
			}
		} else {
			g.op("VMOVDQU64 %s, %d(SI)", code, 64*v)
		}
	}
	g.loadScales(g.codes(), 0, 0, g.reg(regCodes))
	g.op("VMOVUPS %s, (DX)", g.reg(regCodes))
	if g.shift {
		shift := g.reg(regHigh)
		g.loadScales(g.codes()+g.blockKind.scales(), 32, 0, shift)
		if g.super {
			g.op("VPXORD %s, %s, %s", g.reg(regTimes), g.reg(regTimes), g.reg(regTimes))
			g.op("VSUBPS %s, %s, %s", shift, g.reg(regTimes), shift)
		}
		g.op("VMOVUPS %s, 64(DX)", shift)
	}
	g.op("ADDQ $512, SI")
	g.op("ADDQ $128, DX")
	g.op("ADDQ $%d, DI", g.size())
	if g.super {
		g.op("DECQ R13")
		g.op("JNZ block")
		g.op("SUBQ $8, AX")
		g.op("JNZ super")
	} else {
		g.op("DECQ AX")
		g.op("JNZ block")
	}
	g.op("VZEROUPPER")
	g.op("RET")
}

// The tiles: sums of a block and the next one, rows of A and codes of each. The tile configuration
// (blockTiles) says their shapes.
const (
	tileSums  = 0
	tileRows  = 2
	tileCodes = 4
)

// tilesOf is the product of rows and a panel: 16 by 16 sums of a block are made by one
// instruction, stored, and added to those of floats. Sums are added in the same order
// as by the other kernels, to the same bits.
func (t *text) tilesOf(name string, shift bool) {
	t.function(name, "sets (accumulate 0) or adds to C [m, 16] the product of m rounded rows, lda bytes apart, and a panel as unpack lays it out. Rows up to a multiple of 16, and a block more than there are, are read. buffer holds 2 KiB. ldc is in elements; all counts are positive.",
		"config *byte", "m int", "blocks int", "a *roundedBlock", "lda int", "codes *byte", "scales *float32", "buffer *int32", "c *float32", "ldc int", "accumulate int")
	t.param(0, "config", "AX")
	t.bytes("LDTILECFG (AX)", 0xc4, 0xe2, 0x78, 0x49, 0x00)
	t.param(4, "lda", "R8")
	t.op("LEAQ (R8)(R8*2), R9")
	t.op("MOVQ $64, R12") // from one row of codes, or of sums, to the next
	t.param(7, "buffer", "R15")
	t.param(1, "m", "CX")
	t.line("rows:")
	t.param(3, "a", "SI")
	t.param(5, "codes", "DI")
	t.param(6, "scales", "R14")
	t.param(2, "blocks", "AX")
	for r := range 16 {
		t.op("VPXORD Z%d, Z%d, Z%d", r, r, r)
	}
	t.multiplyTile(0, 0)
	t.line("pair:")
	t.addTile(0, shift)
	t.op("DECQ AX")
	t.op("JZ store")
	t.addTile(1, shift)
	t.op("DECQ AX")
	t.op("JNZ pair")
	t.line("store:")
	t.param(8, "c", "DX")
	t.param(9, "ldc", "R10")
	t.op("SHLQ $2, R10")
	t.op("CMPQ accumulate+80(FP), $0")
	t.op("JNE add")
	for _, add := range []bool{false, true} {
		if add {
			t.line("add:")
		}
		for r := range 16 {
			if add {
				t.op("VADDPS (DX), Z%d, Z%d", r, r)
			}
			t.op("VMOVUPS Z%d, (DX)", r)
			t.op("ADDQ R10, DX")
			t.op("DECQ CX")
			t.op("JZ done")
		}
		if !add {
			t.op("JMP more")
		}
	}
	t.line("more:")
	t.op("MOVQ DX, c+64(FP)")
	t.op("MOVQ R8, DX")
	t.op("SHLQ $4, DX")
	t.op("ADDQ DX, a+24(FP)")
	t.op("JMP rows")
	t.line("done:")
	t.bytes("TILERELEASE", 0xc4, 0xe2, 0x78, 0x49, 0xc0)
	t.op("VZEROUPPER")
	t.op("RET")
}

// multiplyTile computes the sums of the current block or the one behind it, and stores
// them in the i-th half of the buffer.
func (t *text) multiplyTile(i byte, ahead int) {
	t.op("LEAQ %d(DI), R10", 512*ahead)
	t.op("LEAQ %d(R15), R11", 1024*int(i))
	t.tileZero(tileSums + i)
	t.tileLoad(tileRows+i, "SI", "R8", byte(roundedSize*ahead))
	t.tileLoad(tileCodes+i, "R10", "R12", 0)
	t.bytes("TDPBSSD", 0xc4, 0xe2, (^(tileCodes+i)&15)<<3|3, 0x5e, 0xc0|(tileSums+i)<<3|(tileRows+i))
	t.tileStore(tileSums+i, "R11", "R12", 0)
}

// addTile adds the sums in the i-th half of the buffer, those of the current block, and
// moves to the next one. Its sums are computed first: what a tile has stored can be
// loaded only some time after.
func (t *text) addTile(i int, shift bool) {
	t.multiplyTile(byte(1-i), 1)
	bases := []string{"SI", "R10", "R11", "R13", "BX", "DX"} // of three rows each
	for i := 1; i < len(bases); i++ {
		t.op("LEAQ (%s)(R9*1), %s", bases[i-1], bases[i])
	}
	t.op("VMOVUPS (R14), Z16")
	if shift {
		t.op("VMOVUPS 64(R14), Z17")
	}
	for r := range 16 {
		at := func(field int) string { return rowAt(bases[r/3], r%3, field) }
		dots, times := 18+r%4, 22+r%4
		t.op("VCVTDQ2PS %d(R15), Z%d", 1024*i+64*r, dots)
		t.op("VMULPS.BCST %s, Z16, Z%d", at(roundedScale), times)
		t.op("VFMADD231PS Z%d, Z%d, Z%d", times, dots, r)
		if shift {
			t.op("VFMADD231PS.BCST %s, Z17, Z%d", at(roundedSum), r)
		}
	}
	t.op("ADDQ $%d, SI", roundedSize)
	t.op("ADDQ $512, DI")
	t.op("ADDQ $128, R14")
}
