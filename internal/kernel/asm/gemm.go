package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// element is what a panel of B holds.
type element int

const (
	float element = iota
	bfloat
	int8s
)

// size is that of an element in bytes.
func (e element) size() int { return [...]int{4, 2, 1}[e] }

// load widens a vector of elements to float32.
func (v isa) load(e element, at Mem) reg.VecVirtual {
	x := v.vec()
	switch e {
	case float:
		VMOVUPS(at, x)
	case bfloat:
		VPMOVZXWD(at, x)
		VPSLLD(Imm(16), x, x)
	case int8s:
		VPMOVSXBD(at, x)
		VCVTDQ2PS(x, x)
	}
	return x
}

// rows is the height of the register tile.
func (v isa) rows() int {
	if v.wide() {
		return 12
	}
	return 6
}

// gemm multiplies rows of A with one panel of B. The tile is 12 rows by 2
// vectors for AVX-512 and 6 by 2 for AVX2: 24 (12) accumulators hide the
// latency of the multiply-adds, and a step loads 14 (8) values for 24 (12) of
// them. A needs no packing: its elements are broadcast from where they lie.
func (v isa) gemm(e element, ahead bool) {
	rows := v.rows()
	name, scale, doc, extra, more := [...]string{"panel", "panelBF16W", "panelInt8W"}[e], "", "", "", ""
	switch e {
	case bfloat:
		doc = " of bfloat16"
	case int8s:
		scale, doc = ", scale *float32", " of int8, each column times its scale"
	}
	if ahead {
		name += "From"
		extra = ", from, ahead *float32, aheadStep int"
		more = fmt.Sprintf(" What it adds to is in from, laid out as C. Meanwhile it fetches k cache lines aheadStep elements apart, from ahead on for the first %d rows, from the next line on for each %d more.", rows, rows)
	}
	v.text(name, fmt.Sprintf("(m, n, k int, a *float32, step, rs, ks int, b *%s%s, c *float32, ldc int, accumulate int%s)", [...]string{"float32", "uint16", "int8"}[e], scale, extra),
		fmt.Sprintf("sets (accumulate 0) or adds to C [m, n] the product of A, whose element (i, l) is a[i·rs+l·ks] within the first %d rows and step elements further on for each %d more, with a packed panel B [k, %d]%s. m, n and k are positive.%s", rows, rows, 2*v.lanes(), doc, more))
	g := &panel{isa: v, element: e, m: stored("m"), ahead: ahead}
	p := pointers("a", "rs", "ks", "c", "ldc")
	g.a, g.rs, g.ks, g.c, g.ldc = p[0], p[1], p[2], p[3], p[4]
	SHLQ(Imm(2), g.rs)
	SHLQ(Imm(2), g.ks)
	SHLQ(Imm(2), g.ldc)
	if ahead {
		g.from, g.lines, g.aheadStep = stored("from"), stored("ahead"), pointers("aheadStep")[0]
		SUBQ(g.c, g.from)
		SHLQ(Imm(2), g.aheadStep)
	}
	n := Load(Param("n"), GP64()).(reg.GPVirtual)
	if v.wide() {
		// The mask of 32 columns, its halves in two registers.
		ones := GP64()
		MOVQ(I32(-1), ones)
		BZHIQ(n, ones, ones)
		g.k[0], g.k[1] = K(), K()
		KMOVW(ones.As32(), g.k[0])
		SHRQ(Imm(16), ones)
		KMOVW(ones.As32(), g.k[1])
	}
	Label("next")
	CMPQ(g.m, Imm(uint64(rows)))
	JL(LabelRef("rest"))
	g.tile(rows)
	SUBQ(Imm(uint64(rows)), g.m)
	if ahead {
		ADDQ(Imm(64), g.lines)
	}
	JMP(LabelRef("next"))
	Label("rest")
	for r := rows - 1; r > 0; r-- {
		CMPQ(g.m, Imm(uint64(r)))
		JEQ(LabelRef(fmt.Sprintf("rows%d", r)))
	}
	done()
	for r := rows - 1; r > 0; r-- {
		Label(fmt.Sprintf("rows%d", r))
		g.tile(r)
		done()
	}
}

type panel struct {
	isa
	element
	m                 Mem // stays in memory, for want of registers
	a, rs, ks, c, ldc reg.GPVirtual
	k                 [2]reg.OpmaskVirtual

	// With what is needed next fetched; from is relative to c.
	ahead       bool
	from, lines Mem
	aheadStep   reg.GPVirtual
}

// tile multiplies the next rows rows and moves a and c beyond them.
func (g *panel) tile(rows int) {
	name := func(s string) string { return fmt.Sprintf("%s%d", s, rows) }
	b := Load(Param("b"), GP64()).(reg.GPVirtual)
	left := Load(Param("k"), GP64()).(reg.GPVirtual)
	var lines reg.GPVirtual
	if g.ahead {
		lines = GP64()
		MOVQ(g.lines, lines)
	}

	// Rows 3i, 3i+1 and 3i+2 are reached from base i.
	var bases []reg.GPVirtual
	for i := 0; i < rows; i += 3 {
		base := GP64()
		if i == 0 {
			MOVQ(g.a, base)
		} else {
			last := bases[len(bases)-1]
			LEAQ(Mem{Base: last, Index: g.rs, Scale: 2}, base)
			ADDQ(g.rs, base)
		}
		bases = append(bases, base)
	}
	var acc [][2]reg.VecVirtual
	for range rows {
		acc = append(acc, [2]reg.VecVirtual{g.zero(), g.zero()})
	}

	Label(name("k"))
	b0 := g.load(g.element, Mem{Base: b})
	b1 := g.load(g.element, Mem{Base: b, Disp: g.lanes() * g.size()})
	for i := range rows {
		at := Mem{Base: bases[i/3]}
		if i%3 > 0 {
			at.Index, at.Scale = g.rs, uint8(i%3)
		}
		x := g.vec()
		VBROADCASTSS(at, x)
		VFMADD231PS(b0, x, acc[i][0])
		VFMADD231PS(b1, x, acc[i][1])
	}
	if g.ahead {
		PREFETCHT1(Mem{Base: lines})
		ADDQ(g.aheadStep, lines)
	}
	for _, base := range bases {
		ADDQ(g.ks, base)
	}
	ADDQ(U32(uint32(2*g.lanes()*g.size())), b)
	DECQ(left)
	JNZ(LabelRef(name("k")))
	if g.element == int8s {
		scale := GP64()
		Load(Param("scale"), scale)
		for _, x := range acc {
			VMULPS(Mem{Base: scale}, x[0], x[0])
			VMULPS(Mem{Base: scale, Disp: g.bytes()}, x[1], x[1])
		}
	}

	step := GP64()
	Load(Param("step"), step)
	LEAQ(Mem{Base: g.a, Index: step, Scale: 4}, g.a)

	accumulate := stored("accumulate")
	n := GP64()
	if !g.wide() {
		Load(Param("n"), n)
		CMPQ(n, U32(uint32(2*g.lanes())))
		JNE(LabelRef(name("narrow")))
	}
	CMPQ(accumulate, Imm(0))
	JEQ(LabelRef(name("set")))
	added := g.added()
	g.rowsOf(acc, func(at Mem, half int, x reg.VecVirtual) {
		old := added(at)
		if g.wide() {
			y := g.vec()
			VMOVUPS_Z(old, g.k[half], y)
			VADDPS(y, x, x)
			VMOVUPS(x, g.k[half], at)
		} else {
			VADDPS(old, x, x)
			VMOVUPS(x, at)
		}
	})
	JMP(LabelRef(name("stored")))
	Label(name("set"))
	g.rowsOf(acc, func(at Mem, half int, x reg.VecVirtual) {
		if g.wide() {
			VMOVUPS(x, g.k[half], at)
		} else {
			VMOVUPS(x, at)
		}
	})
	if !g.wide() {
		JMP(LabelRef(name("stored")))
		Label(name("narrow"))
		g.narrow(n, acc, accumulate, name)
	}
	Label(name("stored"))
}

// added says where that lies which is added to what goes to a place in C.
func (g *panel) added() func(at Mem) Mem {
	if !g.ahead {
		return func(at Mem) Mem { return at }
	}
	from := GP64()
	MOVQ(g.from, from)
	return func(at Mem) Mem {
		at.Index, at.Scale = from, 1
		return at
	}
}

// rowsOf calls store for each half row and moves c beyond the tile.
func (g *panel) rowsOf(acc [][2]reg.VecVirtual, store func(at Mem, half int, x reg.VecVirtual)) {
	for i := range acc {
		for half := range 2 {
			store(Mem{Base: g.c, Disp: half * g.bytes()}, half, acc[i][half])
		}
		ADDQ(g.ldc, g.c)
	}
}

// narrow stores fewer than 16 columns with AVX2's masks.
func (g *panel) narrow(n reg.GPVirtual, acc [][2]reg.VecVirtual, accumulate Mem, name func(string) string) {
	var mask [2]reg.VecVirtual
	eight, zero, part := GP64(), GP64(), GP64()
	MOVQ(U32(8), eight)
	XORQ(zero, zero)
	MOVQ(n, part)
	CMPQ(n, Imm(8))
	CMOVQGT(eight, part)
	mask[0] = tailMask(part)
	SUBQ(Imm(8), n)
	CMOVQLT(zero, n)
	mask[1] = tailMask(n)
	CMPQ(accumulate, Imm(0))
	JEQ(LabelRef(name("narrowset")))
	added := g.added()
	g.rowsOf(acc, func(at Mem, half int, x reg.VecVirtual) {
		old := g.vec()
		VMASKMOVPS(added(at), mask[half], old)
		VADDPS(old, x, x)
		VMASKMOVPS(x, mask[half], at)
	})
	JMP(LabelRef(name("stored")))
	Label(name("narrowset"))
	g.rowsOf(acc, func(at Mem, half int, x reg.VecVirtual) {
		VMASKMOVPS(x, mask[half], at)
	})
}

// packs lays out panels of B.
func (v isa) packs() {
	v.text("packRows", "(panel, b *float32, ldb, n, k int)",
		fmt.Sprintf("copies k rows of n columns into a panel of %d columns, zeros to the right. n and k are positive.", 2*v.lanes()))
	p := pointers("panel", "b", "ldb", "n", "k")
	dst, b, ldb, n, k := p[0], p[1], p[2], p[3], p[4]
	SHLQ(Imm(2), ldb)
	var mask [2]reg.VecVirtual
	var km [2]reg.OpmaskVirtual
	if v.wide() {
		ones := GP64()
		MOVQ(I32(-1), ones)
		BZHIQ(n, ones, ones)
		km[0], km[1] = K(), K()
		KMOVW(ones.As32(), km[0])
		SHRQ(Imm(16), ones)
		KMOVW(ones.As32(), km[1])
	} else {
		eight, zero, part := GP64(), GP64(), GP64()
		MOVQ(U32(8), eight)
		XORQ(zero, zero)
		MOVQ(n, part)
		CMPQ(n, Imm(8))
		CMOVQGT(eight, part)
		mask[0] = tailMask(part)
		SUBQ(Imm(8), n)
		CMOVQLT(zero, n)
		mask[1] = tailMask(n)
	}
	Label("row")
	for half := range 2 {
		x := v.vec()
		at := Mem{Base: b, Disp: half * v.bytes()}
		if v.wide() {
			VMOVUPS_Z(at, km[half], x)
		} else {
			VMASKMOVPS(at, mask[half], x)
		}
		VMOVUPS(x, Mem{Base: dst, Disp: half * v.bytes()})
	}
	ADDQ(ldb, b)
	ADDQ(U32(uint32(2*v.bytes())), dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	done()

	v.text("packTiles", "(tiles *float32, step int, a *float32, lda, m, k int)",
		fmt.Sprintf("copies k rows of m columns of a transposed A into tiles of %d columns, [k, %d] each, that begin step elements apart and are followed by %d elements of anything. m and k are positive.", v.rows(), v.rows(), v.lanes()-v.rows()))
	v.packTiles()

	v.text("transpose", "(dst *float32, lddst int, b *float32, ldb, k int)",
		fmt.Sprintf("sets dst [k, %d] to the transpose of %d rows of k elements, a positive multiple of 4.", v.lanes(), v.lanes()))
	p = pointers("dst", "lddst", "b", "ldb", "k")
	dst, b, ldb, k = p[0], p[2], p[3], p[4]
	lddst := p[1]
	SHLQ(Imm(2), lddst)
	SHLQ(Imm(2), ldb)
	// Row r is reached from group r/4: 4 rows from one base.
	var group []reg.GPVirtual
	ldb3 := GP64()
	LEAQ(Mem{Base: ldb, Index: ldb, Scale: 2}, ldb3)
	for i := range v.lanes() / 4 {
		base := GP64()
		if i == 0 {
			MOVQ(b, base)
		} else {
			LEAQ(Mem{Base: group[i-1], Index: ldb, Scale: 4}, base)
		}
		group = append(group, base)
	}
	row := func(g, r int) Mem {
		switch r {
		case 0:
			return Mem{Base: group[g]}
		case 3:
			return Mem{Base: group[g], Index: ldb3, Scale: 1}
		}
		return Mem{Base: group[g], Index: ldb, Scale: uint8(r)}
	}
	Label("four")
	// x[r] holds 4 elements each of rows r, r+4, r+8 and so on; transposing
	// 4×4 inside the 128-bit lanes then gives whole columns in order.
	var x [4]reg.VecVirtual
	for r := range 4 {
		x[r] = v.vec()
		VMOVUPS(row(0, r), x[r].AsX())
		for g := 1; g < len(group); g++ {
			if v.wide() {
				VINSERTF32X4(Imm(uint64(g)), row(g, r), x[r], x[r])
			} else {
				VINSERTF128(Imm(uint64(g)), row(g, r), x[r], x[r])
			}
		}
	}
	var t [4]reg.VecVirtual
	for i := range t {
		t[i] = v.vec()
	}
	VUNPCKLPS(x[1], x[0], t[0]) // 00 10 01 11
	VUNPCKHPS(x[1], x[0], t[1]) // 02 12 03 13
	VUNPCKLPS(x[3], x[2], t[2])
	VUNPCKHPS(x[3], x[2], t[3])
	for l := range 4 {
		y := v.vec()
		if l%2 == 0 {
			VSHUFPS(Imm(0b01000100), t[l/2+2], t[l/2], y)
		} else {
			VSHUFPS(Imm(0b11101110), t[l/2+2], t[l/2], y)
		}
		VMOVUPS(y, Mem{Base: dst})
		ADDQ(lddst, dst)
	}
	for _, base := range group {
		ADDQ(Imm(16), base)
	}
	SUBQ(Imm(4), k)
	JNZ(LabelRef("four"))
	done()
}

// packTiles goes row by row, because memory is fetched in runs, and stores whole
// vectors: what they hold too much, the next row overwrites.
func (v isa) packTiles() {
	p := pointers("tiles", "a", "lda", "m", "k", "step")
	dst, a, lda, m, k, stride := p[0], p[1], p[2], p[3], p[4], p[5]
	SHLQ(Imm(2), lda)
	SHLQ(Imm(2), stride)
	ahead, width := GP64(), GP64()
	// From here on m is the number of tiles before the last one.
	full := turn{isa: v, tail: true}
	last := full
	tiles := GP64()
	XORQ(tiles, tiles)
	Label("count")
	CMPQ(m, U32(uint32(v.rows())))
	JLE(LabelRef("counted"))
	INCQ(tiles)
	SUBQ(U32(uint32(v.rows())), m)
	JMP(LabelRef("count"))
	Label("counted")
	MOVQ(U32(uint32(v.rows())), width)
	if v.wide() {
		full.k, last.k = lowBits(width), lowBits(m)
	} else {
		full.mask, last.mask = tailMask(width), tailMask(m)
	}
	from, to, left := m, width, GP64()
	Label("row")
	MOVQ(a, from)
	MOVQ(dst, to)
	LEAQ(Mem{Base: from, Index: lda, Scale: 8}, ahead)
	MOVQ(tiles, left)
	TESTQ(left, left)
	JZ(LabelRef("last"))
	Label("tile")
	PREFETCHT0(Mem{Base: ahead})
	x := full.load(from)
	VMOVUPS(x, Mem{Base: to})
	ADDQ(stride, to)
	ADDQ(U32(uint32(4*v.rows())), ahead)
	ADDQ(U32(uint32(4*v.rows())), from)
	DECQ(left)
	JNZ(LabelRef("tile"))
	Label("last")
	PREFETCHT0(Mem{Base: ahead})
	x = last.load(from)
	VMOVUPS(x, Mem{Base: to})
	ADDQ(lda, a)
	ADDQ(U32(uint32(4*v.rows())), dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	done()
}
