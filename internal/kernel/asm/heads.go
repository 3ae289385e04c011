package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// cached is what keys and values are held in.
type cached int

const (
	cachedFloat cached = iota
	cachedHalf
)

func (e cached) size() int    { return [...]int{4, 2}[e] }
func (e cached) name() string { return [...]string{"", "Half"}[e] }
func (e cached) kind() string { return [...]string{"float32", "uint16"}[e] }

// loadCached loads a vector of keys or values.
func (v isa) loadCached(e cached, at Mem) reg.VecVirtual {
	x := v.vec()
	if e == cachedHalf {
		VCVTPH2PS(at, x)
	} else {
		VMOVUPS(at, x)
	}
	return x
}

// headKernels are attention of a few queries that share keys and values, over rows
// that lie one after the other.
func (v isa) headKernels() {
	for _, e := range []cached{cachedFloat, cachedHalf} {
		v.headScores(e)
		v.headValues(e)
	}
	v.halves()
}

// abreastQueries is how many queries a tile has.
func (v isa) abreastQueries() int {
	if v.wide() {
		return 4
	}
	return 2
}

// queryTiles calls tile for as many queries at a time as a tile has, and for those that
// are left.
func (v isa) queryTiles(tile func(n int)) {
	most, queries := v.abreastQueries(), stored("queries")
	Label("next")
	for n := most; n > 0; n-- {
		CMPQ(queries, Imm(uint64(n)))
		JGE(LabelRef(fmt.Sprintf("queries%d", n)))
	}
	done()
	for n := most; n > 0; n-- {
		Label(fmt.Sprintf("queries%d", n))
		tile(n)
		SUBQ(Imm(uint64(n)), queries)
		JMP(LabelRef("next"))
	}
}

// four are up to four rows that lie as far apart as a register says, in bytes.
type four struct{ first, last, apart reg.GPVirtual }

func newFour(at, apart reg.GPVirtual, n int) four {
	f := four{first: GP64(), apart: apart}
	MOVQ(at, f.first)
	if n == 4 {
		f.last = GP64()
		LEAQ(Mem{Base: at, Index: apart, Scale: 2}, f.last)
		ADDQ(apart, f.last)
	}
	return f
}

func (f four) at(i int) Mem {
	switch i {
	case 0:
		return Mem{Base: f.first}
	case 3:
		return Mem{Base: f.last}
	}
	return Mem{Base: f.first, Index: f.apart, Scale: uint8(i)}
}

func (f four) advance(bytes int) {
	ADDQ(Imm(uint64(bytes)), f.first)
	if f.last != nil {
		ADDQ(Imm(uint64(bytes)), f.last)
	}
}

// headScores multiplies queries with four keys at a time.
func (v isa) headScores(e cached) {
	v.text("headScores"+e.name(), fmt.Sprintf("(queries, rows, dim int, q *float32, ldq int, keys *%s, scores *float32, lds int, next *%[1]s)", e.kind()),
		"sets scores [queries, rows] to the products of q [queries, dim] with keys [rows, dim], and fetches about as much from next on. dim is a multiple of 16; all counts are positive.")
	p := pointers("q", "ldq", "scores", "lds")
	q, ldq, scores, lds := p[0], p[1], p[2], p[3]
	SHLQ(Imm(2), ldq)
	SHLQ(Imm(2), lds)
	width := GP64()
	Load(Param("dim"), width)
	SHLQ(Imm(uint64(log2(e.size()))), width)
	left := AllocLocal(8)
	v.queryTiles(func(n int) {
		keys, to, all, next := GP64(), GP64(), GP64(), GP64()
		Load(Param("rows"), all)
		MOVQ(all, left)
		Load(Param("keys"), keys)
		Load(Param("next"), next)
		MOVQ(scores, to)
		for _, abreast := range []int{4, 1} {
			name := func(s string) string { return fmt.Sprintf("%s%d_%d", s, n, abreast) }
			Label(name("rows"))
			CMPQ(left, Imm(uint64(abreast)))
			JL(LabelRef(name("few")))
			v.scoreTile(e, n, abreast, name("dim"), q, ldq, keys, width, to, lds, next)
			for range abreast {
				ADDQ(width, keys)
			}
			ADDQ(Imm(uint64(4*abreast)), to)
			SUBQ(Imm(uint64(abreast)), left)
			JMP(LabelRef(name("rows")))
			Label(name("few"))
		}
		for range n {
			ADDQ(ldq, q)
			ADDQ(lds, scores)
		}
	})
}

// scoreTile is the products of n queries with so many keys. A sum's order does not
// depend on how many there are.
func (v isa) scoreTile(e cached, n, abreast int, loop string, q, ldq, keys, width, to, lds, next reg.GPVirtual) {
	key, query, left := newFour(keys, width, abreast), newFour(q, ldq, n), GP64()
	MOVQ(width, left)
	acc := make([][]reg.VecVirtual, n)
	for i := range acc {
		acc[i] = v.accumulators(abreast)
	}
	Label(loop)
	var x []reg.VecVirtual
	for j := range abreast {
		x = append(x, v.loadCached(e, key.at(j)))
	}
	for i := range n {
		for j := range x {
			VFMADD231PS(query.at(i), x[j], acc[i][j])
		}
	}
	if abreast > 1 {
		fetch(next, abreast*v.lanes()*e.size())
	}
	key.advance(v.lanes() * e.size())
	query.advance(v.bytes())
	SUBQ(U32(uint32(v.lanes()*e.size())), left)
	JNZ(LabelRef(loop))
	at := GP64()
	MOVQ(to, at)
	for i := range acc {
		sum := v.sumEach(acc[i])
		if abreast == 1 {
			VMOVSS(sum, Mem{Base: at})
		} else {
			VMOVUPS(sum, Mem{Base: at})
		}
		if i+1 < n {
			ADDQ(lds, at)
		}
	}
}

// fetch fetches so many bytes, whole lines, and moves beyond them.
func fetch(next reg.GPVirtual, bytes int) {
	for at := 0; at < bytes; at += 64 {
		PREFETCHT0(Mem{Base: next, Disp: at})
	}
	ADDQ(U32(uint32(bytes)), next)
}

// sumEach is the sums of the lanes of four vectors, or of one.
func (v isa) sumEach(x []reg.VecVirtual) reg.VecVirtual {
	if v.wide() {
		for _, a := range x {
			high := YMM()
			VEXTRACTF32X8(Imm(1), a, high)
			VADDPS(high, a.AsY(), a.AsY())
		}
	}
	a := x[0].AsY()
	if len(x) == 1 {
		VHADDPS(a, a, a)
		VHADDPS(a, a, a)
	} else {
		VHADDPS(x[1].AsY(), a, a)
		VHADDPS(x[3].AsY(), x[2].AsY(), x[2].AsY())
		VHADDPS(x[2].AsY(), a, a)
	}
	high := XMM()
	VEXTRACTF128(Imm(1), a, high)
	VADDPS(high, a.(reg.VecVirtual).AsX(), high)
	return high
}

// headValues adds up rows of values, weighted, so many vectors of them at a time.
func (v isa) headValues(e cached) {
	v.text("headValues"+e.name(), fmt.Sprintf("(queries, rows, dim int, p *float32, ldp int, values *%s, out *float32, ldo int, accumulate int, next *%[1]s)", e.kind()),
		"sets out [queries, dim] (accumulate 0) to the product of p [queries, rows] with values [rows, dim], or adds it row by row, and fetches about as much from next on. dim is a multiple of 16; all counts are positive.")
	x := pointers("p", "ldp", "out", "ldo")
	p, ldp, out, ldo := x[0], x[1], x[2], x[3]
	SHLQ(Imm(2), ldp)
	SHLQ(Imm(2), ldo)
	v.queryTiles(func(n int) {
		values, left, to, next := GP64(), GP64(), GP64(), GP64()
		Load(Param("values"), values)
		Load(Param("next"), next)
		Load(Param("dim"), left)
		MOVQ(out, to)
		for _, abreast := range []int{4, 1} {
			name := func(s string) string { return fmt.Sprintf("%s%d_%d", s, n, abreast) }
			Label(name("dim"))
			CMPQ(left, Imm(uint64(abreast*v.lanes())))
			JL(LabelRef(name("few")))
			v.valueTile(e, n, abreast, name, p, ldp, values, to, ldo, next)
			ADDQ(U32(uint32(abreast*v.lanes()*e.size())), values)
			ADDQ(U32(uint32(abreast*v.bytes())), to)
			SUBQ(U32(uint32(abreast*v.lanes())), left)
			JMP(LabelRef(name("dim")))
			Label(name("few"))
		}
		for range n {
			ADDQ(ldp, p)
			ADDQ(ldo, out)
		}
	})
}

func (v isa) valueTile(e cached, n, abreast int, name func(string) string, p, ldp, values, to, ldo, next reg.GPVirtual) {
	weight, row, left, at, width := newFour(p, ldp, n), GP64(), GP64(), GP64(), GP64()
	MOVQ(values, row)
	Load(Param("rows"), left)
	Load(Param("dim"), width)
	SHLQ(Imm(uint64(log2(e.size()))), width)
	acc := make([][]reg.VecVirtual, n)
	for i := range acc {
		acc[i] = v.accumulators(abreast)
	}
	CMPQ(stored("accumulate"), Imm(0))
	JEQ(LabelRef(name("row")))
	each := func(do func(x reg.VecVirtual, at Mem)) {
		MOVQ(to, at)
		for i := range acc {
			for j := range acc[i] {
				do(acc[i][j], Mem{Base: at, Disp: j * v.bytes()})
			}
			if i+1 < n {
				ADDQ(ldo, at)
			}
		}
	}
	each(func(x reg.VecVirtual, at Mem) { VMOVUPS(at, x) })
	Label(name("row"))
	var times []reg.VecVirtual
	for i := range n {
		x := v.vec()
		VBROADCASTSS(weight.at(i), x)
		times = append(times, x)
	}
	weight.advance(4)
	for j := range abreast {
		x := v.loadCached(e, Mem{Base: row, Disp: j * v.lanes() * e.size()})
		for i := range acc {
			VFMADD231PS(x, times[i], acc[i][j])
		}
	}
	if abreast > 1 {
		fetch(next, abreast*v.lanes()*e.size())
	}
	ADDQ(width, row)
	DECQ(left)
	JNZ(LabelRef(name("row")))
	each(func(x reg.VecVirtual, at Mem) { VMOVUPS(x, at) })
}

// halves convert between float32 and binary16.
func (v isa) halves() {
	v.text("toHalf", "(dst *uint16, x *float32, n int)", "rounds x to the nearest binary16; n is a positive multiple of 16.")
	p := pointers("dst", "x", "n")
	Label("next")
	for at := 0; at < 16; at += v.lanes() {
		x := v.vec()
		VMOVUPS(Mem{Base: p[1], Disp: 4 * at}, x)
		VCVTPS2PH(Imm(0), x, Mem{Base: p[0], Disp: 2 * at})
	}
	ADDQ(Imm(32), p[0])
	ADDQ(Imm(64), p[1])
	SUBQ(Imm(16), p[2])
	JNZ(LabelRef("next"))
	done()

	v.text("fromHalf", "(dst *float32, x *uint16, n int)", "widens x; n is a positive multiple of 16.")
	p = pointers("dst", "x", "n")
	Label("next")
	for at := 0; at < 16; at += v.lanes() {
		x := v.vec()
		VCVTPH2PS(Mem{Base: p[1], Disp: 2 * at}, x)
		VMOVUPS(x, Mem{Base: p[0], Disp: 4 * at})
	}
	ADDQ(Imm(64), p[0])
	ADDQ(Imm(32), p[1])
	SUBQ(Imm(16), p[2])
	JNZ(LabelRef("next"))
	done()
}
