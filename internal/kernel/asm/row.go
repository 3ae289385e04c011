package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// abreast is how many panels a row is multiplied with at once: with one alone,
// two accumulators would wait for each other.
const abreast = 4

func (v isa) rowKernels() {
	for _, e := range []element{float, bfloat, int8s} {
		v.row(e)
	}
}

// row multiplies one row of A with whole panels of B, as decoding one sequence
// does. Its sums are those of the panel kernel to the bit.
func (v isa) row(e element) {
	scale, doc := "", ""
	switch e {
	case bfloat:
		doc = " of bfloat16"
	case int8s:
		scale, doc = ", scale *float32", " of int8, each column times its scale"
	}
	v.text([...]string{"row", "rowBF16W", "rowInt8W"}[e], fmt.Sprintf("(k int, a *float32, b *%s%s, c *float32, accumulate int)", [...]string{"float32", "uint16", "int8"}[e], scale),
		fmt.Sprintf("sets (accumulate 0) or adds to c [%d] the product of a [k] with %d panels B [k, %d]%s that follow one another. k is positive.", abreast*2*v.lanes(), abreast, 2*v.lanes(), doc))
	p := pointers("k", "a", "b", "c")
	left, a, b, c := p[0], p[1], p[2], p[3]
	// Panels lie k·width elements apart.
	apart, apart3 := GP64(), GP64()
	MOVQ(left, apart)
	for range log2(2 * v.lanes() * e.size()) {
		ADDQ(apart, apart)
	}
	LEAQ(Mem{Base: apart, Index: apart, Scale: 2}, apart3)
	at := func(panel, half int) Mem {
		m := Mem{Base: b, Disp: half * v.lanes() * e.size()}
		switch panel {
		case 1:
			m.Index, m.Scale = apart, 1
		case 2:
			m.Index, m.Scale = apart, 2
		case 3:
			m.Index, m.Scale = apart3, 1
		}
		return m
	}
	var acc [abreast][2]reg.VecVirtual
	for i := range acc {
		acc[i] = [2]reg.VecVirtual{v.zero(), v.zero()}
	}
	Label("k")
	x := v.vec()
	VBROADCASTSS(Mem{Base: a}, x)
	for i := range acc {
		for half := range 2 {
			if e == float {
				VFMADD231PS(at(i, half), x, acc[i][half])
			} else {
				VFMADD231PS(v.load(e, at(i, half)), x, acc[i][half])
			}
		}
	}
	ADDQ(Imm(4), a)
	ADDQ(U32(uint32(2*v.lanes()*e.size())), b)
	DECQ(left)
	JNZ(LabelRef("k"))
	if e == int8s {
		s := GP64()
		Load(Param("scale"), s)
		for i := range acc {
			for half := range 2 {
				VMULPS(Mem{Base: s, Disp: (2*i + half) * v.bytes()}, acc[i][half], acc[i][half])
			}
		}
	}
	accumulate := GP64()
	Load(Param("accumulate"), accumulate)
	TESTQ(accumulate, accumulate)
	JZ(LabelRef("set"))
	for i := range acc {
		for half := range 2 {
			VADDPS(Mem{Base: c, Disp: (2*i + half) * v.bytes()}, acc[i][half], acc[i][half])
		}
	}
	Label("set")
	for i := range acc {
		for half := range 2 {
			VMOVUPS(acc[i][half], Mem{Base: c, Disp: (2*i + half) * v.bytes()})
		}
	}
	done()
}

func log2(n int) int {
	l := 0
	for ; n > 1; n /= 2 {
		l++
	}
	return l
}
