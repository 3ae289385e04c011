// Command asm generates the kernels' assembly for amd64: AVX-512 and AVX2+FMA
// from one description each. Run it with go generate in internal/kernel.
package main

import (
	"fmt"
	"math"
	"os"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	pause()
	for _, v := range []isa{{name: "AVX512", bits: 512}, {name: "AVX2", bits: 256}} {
		for _, e := range []element{float, bfloat, int8s} {
			v.gemm(e, false)
		}
		v.gemm(float, true)
		v.rowKernels()
		v.packs()
		v.sums()
		v.maps()
		v.exponentials()
		v.rotary()
		v.adamW()
		v.headKernels()
	}
	for _, err := range []error{bf16("bf16_amd64.s", "bf16_stubs_amd64.go"), blocks("blocks_amd64.s", "blocks_stubs_amd64.go")} {
		if err != nil {
			fmt.Fprintln(os.Stderr, "asm:", err)
			os.Exit(1)
		}
	}
	Generate()
}

// pause tells the processor that the caller spins.
func pause() {
	TEXT("pauseAsm", NOSPLIT, "func()")
	Doc("pauseAsm is a handful of PAUSE instructions.")
	for range 4 {
		PAUSE()
	}
	RET()
}

// isa is the instruction set that is generated for: vectors of so many bits.
type isa struct {
	name string
	bits int
}

func (v isa) wide() bool { return v.bits == 512 }
func (v isa) bytes() int { return v.bits / 8 }
func (v isa) lanes() int { return v.bits / 32 }

func (v isa) vec() reg.VecVirtual {
	if v.wide() {
		return ZMM()
	}
	return YMM()
}

func (v isa) zero() reg.VecVirtual {
	z := v.vec()
	VXORPS(z, z, z)
	return z
}

// text begins a function; slices travel as pointer and length.
func (v isa) text(name, signature, doc string) {
	TEXT(name+v.name, NOSPLIT, "func"+signature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s %s", name, v.name, doc))
}

// broadcast fills a vector with a float32 parameter.
func (v isa) broadcast(param string) reg.VecVirtual {
	x := v.vec()
	VBROADCASTSS(stored(param), x)
	return x
}

// done returns without leaving dirty upper halves behind.
func done() {
	VZEROUPPER()
	RET()
}

var constants = map[uint32]Mem{}

// constant is a vector, in memory, of one number.
func constant(x float64) Mem { return bits(math.Float32bits(float32(x))) }

func bits(b uint32) Mem {
	m, ok := constants[b]
	if !ok {
		m = GLOBL(fmt.Sprintf("lanes%08x", b), RODATA|NOPTR)
		for i := range 16 {
			DATA(4*i, U32(b))
		}
		constants[b] = m
	}
	return m
}

var maskTable *Mem

// tailMask is an AVX2 mask with the first n of 8 lanes set.
func tailMask(n reg.GPVirtual) reg.VecVirtual {
	if maskTable == nil {
		m := GLOBL("tailMasks", RODATA|NOPTR)
		for i := range 16 {
			word := uint32(0)
			if i < 8 {
				word = math.MaxUint32
			}
			DATA(4*i, U32(word))
		}
		maskTable = &m
	}
	at, index := GP64(), GP64()
	LEAQ(*maskTable, at)
	MOVQ(U32(8), index)
	SUBQ(n, index)
	mask := YMM()
	VMOVUPS(Mem{Base: at, Index: index, Scale: 4}, mask)
	return mask
}

// lowBits is the mask register with the first n lanes set, n at most 31.
func lowBits(n reg.GPVirtual) reg.OpmaskVirtual {
	ones := GP32()
	MOVL(U32(math.MaxUint32), ones)
	BZHIL(n.As32(), ones, ones)
	k := K()
	KMOVW(ones, k)
	return k
}

// turn is one round of a loop over vectors: u-th of an unrolled body, or the
// masked tail.
type turn struct {
	isa
	u    int
	tail bool
	k    reg.OpmaskVirtual // AVX-512
	mask reg.VecVirtual    // AVX2
}

// load reads the vector that ptr has come to; beyond the tail it gives zeros.
func (t turn) load(ptr reg.Register) reg.VecVirtual {
	x := t.vec()
	at := Mem{Base: ptr, Disp: t.u * t.bytes()}
	switch {
	case !t.tail:
		VMOVUPS(at, x)
	case t.wide():
		VMOVUPS_Z(at, t.k, x)
	default:
		VMASKMOVPS(at, t.mask, x)
	}
	return x
}

func (t turn) store(x reg.VecVirtual, ptr reg.Register) {
	at := Mem{Base: ptr, Disp: t.u * t.bytes()}
	switch {
	case !t.tail:
		VMOVUPS(x, at)
	case t.wide():
		VMOVUPS(x, t.k, at)
	default:
		VMASKMOVPS(x, t.mask, at)
	}
}

// only clears the lanes of x beyond the tail.
func (t turn) only(x reg.VecVirtual) {
	switch {
	case !t.tail:
	case t.wide():
		VMOVAPS_Z(x, t.k, x)
	default:
		VANDPS(x, t.mask, x)
	}
}

// loop runs body over n lanes, moving ptrs along: unroll vectors at a time,
// then one at a time, then a masked tail.
func (v isa) loop(n reg.GPVirtual, unroll int, ptrs []reg.GPVirtual, body func(turn)) {
	advance := func(vectors int) {
		for _, p := range ptrs {
			ADDQ(U32(uint32(vectors*v.bytes())), p)
		}
		SUBQ(U32(uint32(vectors*v.lanes())), n)
	}
	if unroll > 1 {
		Label("many")
		CMPQ(n, U32(uint32(unroll*v.lanes())))
		JL(LabelRef("one"))
		for u := range unroll {
			body(turn{isa: v, u: u})
		}
		advance(unroll)
		JMP(LabelRef("many"))
	}
	Label("one")
	CMPQ(n, U32(uint32(v.lanes())))
	JL(LabelRef("tail"))
	body(turn{isa: v})
	advance(1)
	JMP(LabelRef("one"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("end"))
	t := turn{isa: v, tail: true}
	if v.wide() {
		t.k = lowBits(n)
	} else {
		t.mask = tailMask(n)
	}
	body(t)
	Label("end")
}

// pointers loads parameters of pointer or integer type.
func pointers(names ...string) []reg.GPVirtual {
	var all []reg.GPVirtual
	for _, name := range names {
		all = append(all, Load(Param(name), GP64()).(reg.GPVirtual))
	}
	return all
}

// stored is a parameter where it lies.
func stored(name string) Mem {
	at, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return at.Addr
}

// reduce folds the accumulators into the first and its lanes into one with op,
// always in the same order, and stores that as the function's result.
func (v isa) reduce(acc []reg.VecVirtual, op func(a, b, dst Op)) {
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			op(acc[i+n/2], acc[i], acc[i])
		}
	}
	x := acc[0]
	if v.wide() {
		high := YMM()
		VEXTRACTF32X8(Imm(1), x, high)
		op(high, x.AsY(), x.AsY())
	}
	high := XMM()
	VEXTRACTF128(Imm(1), x.AsY(), high)
	op(high, x.AsX(), x.AsX())
	VPERMILPS(Imm(0b1110), x.AsX(), high)
	op(high, x.AsX(), x.AsX())
	VPERMILPS(Imm(0b01), x.AsX(), high)
	op(high, x.AsX(), x.AsX())
	at, err := ReturnIndex(0).Resolve()
	if err != nil {
		panic(err)
	}
	VMOVSS(x.AsX(), at.Addr)
}
