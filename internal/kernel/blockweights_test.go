package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomHalf is a random positive or negative binary16 of about the given size.
func randomHalf(rng *rand.Rand, size float64) uint16 {
	exp := math.Floor(math.Log2(size)) + float64(rng.IntN(3))
	h := uint16(exp+15)<<10 | uint16(rng.IntN(1<<10))
	return h | uint16(rng.IntN(2))<<15
}

// halvesOf are where the binary16 of a block lie.
var halvesOf = map[BlockType][]int{Q4_0: {0}, Q4_1: {0, 2}, Q5_0: {0}, Q5_1: {0, 2}, Q8_0: {0}, Q4_K: {0, 2}, Q5_K: {0, 2}, Q6_K: {208}}

// randomBlocks are rows of a type as they could lie in a file: any codes, and scales
// that make elements of about the size of one.
func randomBlocks(rng *rand.Rand, t BlockType, n, k int) []byte {
	b := &blockTypes[t]
	x := make([]byte, n*k/b.elements*b.bytes)
	for i := range x {
		x[i] = byte(rng.Uint32())
	}
	halves := halvesOf[t]
	for at := 0; at < len(x); at += b.bytes {
		for _, h := range halves {
			binary.LittleEndian.PutUint16(x[at+h:], randomHalf(rng, 0.01))
		}
		if rng.IntN(20) == 0 {
			binary.LittleEndian.PutUint16(x[at+halves[0]:], uint16(rng.IntN(4))) // zero, or the smallest
		}
	}
	return x
}

// element is element i of a block, by the definition of its type.
func element(t BlockType, b []byte, i int) float64 {
	half := func(at int) float64 { return float64(floatOf(binary.LittleEndian.Uint16(b[at:]))) }
	bits := func(from, i int) float64 { // the i-th nibble of 32 in 16 bytes
		return float64(b[from+i%16] >> (i / 16 * 4) & 0xf)
	}
	bit := func(from, i int) float64 { return float64(b[from+i/8] >> (i % 8) & 1) }
	switch t {
	case Q4_0:
		return half(0) * (bits(2, i) - 8)
	case Q4_1:
		return half(0)*bits(4, i) + half(2)
	case Q5_0:
		return half(0) * (bits(6, i) + 16*bit(2, i) - 16)
	case Q5_1:
		return half(0)*(bits(8, i)+16*bit(4, i)) + half(2)
	case Q8_0:
		return half(0) * float64(int8(b[2+i]))
	case Q6_K:
		// 128 elements have 64 bytes of low bits and 32 of high ones.
		part, j := i/128, i%128
		q := int(b[part*64+j%64] >> (j / 64 * 4) & 0xf)
		q |= int(b[128+part*32+j%32]>>(j/32*2)&3) << 4
		return half(208) * float64(int8(b[192+i/16])) * float64(q-32)
	}
	s, j := b[4:16], i/32
	scale, least := s[j%4]&63, s[j%4+4]&63
	if j >= 4 {
		scale, least = s[j+4]&15|s[j-4]>>6<<4, s[j+4]>>4|s[j]>>6<<4
	}
	low := b[16:]
	q := 0.0
	if t == Q5_K {
		low, q = b[48:], 16*float64(b[16+i%32]>>j&1)
	}
	q += float64(low[j/2*32+i%32] >> (j % 2 * 4) & 0xf)
	return half(0)*float64(scale)*q - half(2)*float64(least)
}

func elementsOf(t BlockType, x []byte) []float64 {
	b := &blockTypes[t]
	var all []float64
	for ; len(x) > 0; x = x[b.bytes:] {
		for i := range b.elements {
			all = append(all, element(t, x[:b.bytes], i))
		}
	}
	return all
}

func TestRowsAreRoundedAlike(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for range cases(t, 200) {
			blocks := 1 + rng.IntN(20)
			x := mem.slice(blocks * blockK32)
			for i := range x {
				x[i] = float32(rng.NormFloat64() * math.Exp(3*rng.NormFloat64()))
			}
			if rng.IntN(2) == 0 {
				clear(x[blockK32*rng.IntN(blocks):][:blockK32])
			}
			x[rng.IntN(len(x))] = []float32{0, 1e-38, 1e-35, 3e38}[rng.IntN(4)]
			got, want := make([]roundedBlock, blocks), make([]roundedBlock, blocks)
			roundRow(got, x)
			roundRowPortable(want, x)
			if !slices.Equal(got, want) {
				t.Fatalf("%v are rounded to %+v, in portable code to %+v", x, got, want)
			}
			for b, r := range got {
				most, sums := 0.0, [2]int32{}
				for i, q := range r.codes {
					v := float64(x[b*blockK32+i])
					most = max(most, math.Abs(v))
					sums[i/16] += int32(q)
					if d := math.Abs(v - float64(r.scale)*float64(q)); !(d <= 0.50001*float64(r.scale) || math.Abs(v) < leastRounded) {
						t.Fatalf("%v is rounded to %d·%v", v, q, r.scale)
					}
				}
				if d := math.Abs(float64(r.scale)*127 - most); !(d <= 1e-6*most || most < leastRounded) {
					t.Fatalf("the scale of a block with %v at most is %v", most, r.scale)
				}
				sum := sums[0] + sums[1]
				if r.sum != r.scale*float32(sum) || r.zero8 != -8*sum || r.zero != -128*sum || r.zeros != [2]int32{-128 * sums[0], -128 * sums[1]} {
					t.Fatalf("the sums of %v are %+v", r.codes, r)
				}
			}
		}
	})
}

func TestBlockProductsAgreeWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for i := range cases(t, 160) {
			kind := Q4_0 + BlockType(i)%Q6_K
			m, n, k := 1+dim(rng, 30), 1+dim(rng, 100), blockTypes[kind].elements*(1+rng.IntN(8))
			if i%3 == 0 {
				m = 1
			}
			raw := randomBlocks(rng, kind, n, k)
			exact := elementsOf(kind, raw)
			w := NewBlockWeights(kind, n, k, raw)
			dst := make([]float32, k)
			for j := range n {
				w.Row(dst, j)
				for l, x := range dst {
					want := exact[j*k+l]
					if d := math.Abs(float64(x) - want); !(d <= 1e-6*math.Abs(want)+1e-7*math.Abs(float64(x))+2e-8) {
						t.Fatalf("%v: element (%d, %d) is %v, want %v", kind, j, l, x, want)
					}
				}
			}
			a, lda := matrix(rng, mem, m, k)
			c, ldc := matrix(rng, mem, m, n)
			was := slices.Clone(c)
			accumulate := rng.IntN(2) == 0
			parts := 1 + rng.IntN(5)
			var s Scratch
			for p := range parts {
				from, to := w.Columns(p, parts)
				w.Multiply(m, a, lda, from, to, c, ldc, accumulate, &s)
			}
			rounded := make([]roundedBlock, k/blockK32)
			for r := range m {
				roundRow(rounded, a[r*lda:][:k])
				for j := range n {
					sum, size, off := 0.0, 0.0, 0.0
					if accumulate {
						sum = float64(was[r*ldc+j])
						size = math.Abs(sum)
					}
					unrounded := sum
					for l := range k {
						b := &rounded[l/blockK32]
						v := exact[j*k+l]
						x := v * float64(b.scale) * float64(b.codes[l%blockK32])
						sum, size = sum+x, size+math.Abs(x)
						unrounded += v * float64(a[r*lda+l])
						off += 0.5001 * math.Abs(v) * float64(b.scale)
					}
					got := float64(c[r*ldc+j])
					if d := math.Abs(got - sum); !(d <= 3e-6*size+1e-6) {
						t.Fatalf("%v, %d×%d×%d: element (%d, %d) is %v, want %v", kind, m, n, k, r, j, got, sum)
					}
					if d := math.Abs(got - unrounded); !(d <= off+3e-6*size+1e-6) {
						t.Fatalf("%v, %d×%d×%d: element (%d, %d) is %v, of numbers that are not rounded %v", kind, m, n, k, r, j, got, unrounded)
					}
				}
				for j := n; j < ldc && r*ldc+j < len(c); j++ {
					if c[r*ldc+j] != was[r*ldc+j] {
						t.Fatalf("%v, %d×%d×%d: wrote beside row %d", kind, m, n, k, r)
					}
				}
			}
		}
	})
}

// A row has the same bits alone, among others, in any part, and on every machine that
// has fused multiply-adds.
func TestBlockProductsDoNotDependOnRowsPartsAndMachine(t *testing.T) {
	was := Active()
	defer use(was)
	for kind := Q4_0; kind <= Q6_K; kind++ {
		rng := rand.New(rand.NewPCG(3, uint64(kind)))
		const m, n, k = 21, 203, 768
		w := NewBlockWeights(kind, n, k, randomBlocks(rng, kind, n, k))
		a, base := random(rng, m*k), random(rng, m*n)
		var fused []float32
		for _, isa := range Available() {
			use(isa)
			var s Scratch
			all := slices.Clone(base)
			w.Multiply(m, a, k, 0, n, all, n, true, &s)
			alone := slices.Clone(base)
			for i := range m {
				for p := range 3 {
					from, to := w.Columns(p, 3)
					w.Multiply(1, a[i*k:], k, from, to, alone[i*n:], n, true, &s)
				}
			}
			if !slices.Equal(all, alone) {
				t.Errorf("%v, %v: rows alone differ from rows together", kind, isa)
			}
			if isa >= AVX2 && fused == nil {
				fused = all
			}
			if isa >= AVX2 && !slices.Equal(all, fused) {
				t.Errorf("%v: %v differs from AVX2", kind, isa)
			}
		}
	}
}

func TestBlocksThatDoNotFitAreRefused(t *testing.T) {
	panics(t, "a row that is no whole block", func() { NewBlockWeights(Q4_0, 2, 48, make([]byte, 54)) })
	panics(t, "too few bytes", func() { NewBlockWeights(Q4_0, 2, 64, make([]byte, 71)) })
	for _, name := range []string{"", "F16", "Q4_0 ", "Q2_K"} {
		if _, ok := ParseBlockType(name); ok {
			t.Errorf("%q is a block type", name)
		}
	}
	if kind, ok := ParseBlockType("Q6_K"); kind != Q6_K || !ok {
		t.Errorf("Q6_K is %v, %v", kind, ok)
	}
}

func TestInfiniteBlocksAreKnown(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for kind := Q4_0; kind <= Q6_K; kind++ {
		size := blockTypes[kind].bytes
		x := randomBlocks(rng, kind, 3, blockTypes[kind].elements)
		if !kind.Finite(x) {
			t.Errorf("%v: finite blocks are called infinite", kind)
		}
		for i := range 3 {
			for _, at := range halvesOf[kind] {
				for _, h := range []uint16{0x7c00, 0xfc00, 0x7e00} {
					y := slices.Clone(x)
					binary.LittleEndian.PutUint16(y[i*size+at:], h)
					if kind.Finite(y) {
						t.Errorf("%v: with %#x at byte %d of block %d they are called finite", kind, h, at, i)
					}
				}
			}
		}
	}
}

func BenchmarkBlocks(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n, k = 1536, 768
	for kind := Q4_0; kind <= Q6_K; kind++ {
		for _, m := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%v/%d", kind, m), func(b *testing.B) {
				var all []*Weights
				for range 4 {
					all = append(all, NewBlockWeights(kind, n, k, randomBlocks(rng, kind, n, k)))
				}
				x, y := random(rng, m*k), make([]float32, m*n)
				var s Scratch
				b.SetBytes(int64(len(all) * all[0].Bytes()))
				for b.Loop() {
					for _, w := range all {
						w.Multiply(m, x, k, 0, n, y, n, false, &s)
					}
				}
				b.ReportMetric(float64(b.N)*float64(len(all)*n*k*m)/1e9/b.Elapsed().Seconds(), "GMAC/s")
			})
		}
	}
}
