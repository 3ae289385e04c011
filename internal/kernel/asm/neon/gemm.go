package main

import "fmt"

// The register tile is rows by columns. Its 16 accumulators, the 8 rows of A by
// 4 of k and the 4 rows of B that go with them take all 32 registers, and 64
// multiply-adds by element need 12 loads (of one or two registers).
const (
	rows    = 8
	columns = 8
)

// Registers of gemm.
const (
	regM, regA, regStep, regRS, regKS       gp  = 0, 1, 2, 3, 4
	regB, regC, regLDC, regK, regAccumulate gp  = 5, 6, 7, 8, 9
	regRow                                  gp  = 10 // to 17
	regPanel, regLeft, regColumn            gp  = 19, 20, 21
	vecA, vecB                              vec = 16, 24
)

// gemm multiplies rows of A with one panel of B. Rows of which k runs on in
// memory are read four elements at a time; columns of a transposed A as far as
// there are rows.
func (t *text) gemm() {
	t.function("panel", "m, k int, a *float32, step, rs, ks int, b, c *float32, ldc int, accumulate int", "",
		fmt.Sprintf("sets (accumulate 0) or adds to C [m, %d] the product of A, whose element (i, l) is a[i·rs+l·ks] within the first %d rows and step elements further on for each %d more, with a packed panel B [k, %d]. rs or ks is 1; m and k are positive.", columns, rows, rows, columns))
	for _, p := range []struct {
		name string
		r    gp
	}{{"m", regM}, {"k", regK}, {"a", regA}, {"step", regStep}, {"rs", regRS}, {"ks", regKS}, {"b", regB}, {"c", regC}, {"ldc", regLDC}, {"accumulate", regAccumulate}} {
		t.op("MOVD %s, %v", t.at(p.name), p.r)
	}
	for _, r := range []gp{regStep, regRS, regKS, regLDC} {
		t.op("LSL $2, %v, %v", r, r)
	}
	t.label("next")
	t.op("CMP $%d, %v", rows, regM)
	t.op("BLT rest")
	t.tile(rows)
	t.op("ADD %v, %v", regStep, regA)
	t.op("SUB $%d, %v", rows, regM)
	t.op("B next")
	t.label("rest")
	for r := rows - 1; r > 0; r-- {
		t.op("CMP $%d, %v", r, regM)
		t.op("BEQ rows%d", r)
	}
	t.op("RET")
	for r := rows - 1; r > 0; r-- {
		t.label(fmt.Sprintf("rows%d", r))
		t.tile(r)
		t.op("RET")
	}
}

// tile multiplies the next n rows and moves c beyond them.
func (t *text) tile(n int) {
	name := func(s string) string { return fmt.Sprintf("%s%d", s, n) }
	for i := range vec(2 * n) {
		t.zero(i)
	}
	t.op("MOVD %v, %v", regB, regPanel)
	t.op("MOVD %v, %v", regK, regLeft)
	t.op("CMP $4, %v", regKS)
	t.op("BEQ %s", name("across"))

	t.op("MOVD %v, %v", regA, regColumn)
	t.label(name("down"))
	t.loadColumn(n)
	t.op("ADD %v, %v", regKS, regColumn)
	t.loadB(0)
	for i := range n {
		t.multiply(i, 0, vecA+vec(i/4), i%4)
	}
	t.op("SUBS $1, %v", regLeft)
	t.op("BNE %s", name("down"))
	t.op("B %s", name("store"))

	t.label(name("across"))
	t.op("MOVD %v, %v", regA, regRow)
	for i := gp(1); i < gp(n); i++ {
		t.op("ADD %v, %v, %v", regRS, regRow+i-1, regRow+i)
	}
	t.op("SUBS $4, %v", regLeft)
	t.op("BLT %s", name("few"))
	t.label(name("four"))
	for i := range n {
		t.op("FMOVQ.P 16(%v), F%d", regRow+gp(i), vecA+vec(i))
	}
	for l := range 4 {
		t.loadB(l)
	}
	for l := range 4 {
		for i := range n {
			t.multiply(i, l, vecA+vec(i), l)
		}
	}
	t.op("SUBS $4, %v", regLeft)
	t.op("BGE %s", name("four"))
	t.label(name("few"))
	t.op("ADDS $4, %v", regLeft)
	t.op("BEQ %s", name("store"))
	t.label(name("one"))
	for i := range n {
		t.op("FMOVS.P 4(%v), F%d", regRow+gp(i), vecA+vec(i))
	}
	t.loadB(0)
	for i := range n {
		t.multiply(i, 0, vecA+vec(i), 0)
	}
	t.op("SUBS $1, %v", regLeft)
	t.op("BNE %s", name("one"))

	t.label(name("store"))
	t.op("CBZ %v, %s", regAccumulate, name("set"))
	for i := range vec(n) {
		t.op("FLDPQ (%v), (F%d, F%d)", regC, vecA, vecA+1)
		t.fadd(2*i, vecA, 2*i)
		t.fadd(2*i+1, vecA+1, 2*i+1)
		t.storeRow(i)
	}
	t.op("B %s", name("stored"))
	t.label(name("set"))
	for i := range vec(n) {
		t.storeRow(i)
	}
	t.label(name("stored"))
}

// multiply adds to row i the product of one element of A with row l of B.
func (t *text) multiply(i, l int, a vec, lane int) {
	for half := range vec(2) {
		t.fmlaElement(2*vec(i)+half, vecB+2*vec(l)+half, a, lane)
	}
}

func (t *text) loadB(l int) {
	t.op("FLDPQ.P 32(%v), (F%d, F%d)", regPanel, vecB+2*vec(l), vecB+2*vec(l)+1)
}

func (t *text) storeRow(i vec) {
	t.op("FSTPQ (F%d, F%d), (%v)", 2*i, 2*i+1, regC)
	t.op("ADD %v, %v", regLDC, regC)
}

// loadColumn reads n elements of A and none beyond.
func (t *text) loadColumn(n int) {
	at, x := 0, vecA
	if n >= 4 {
		if n == 8 {
			t.op("FLDPQ (%v), (F%d, F%d)", regColumn, x, x+1)
			return
		}
		t.op("FMOVQ (%v), F%d", regColumn, x)
		at, x, n = 16, x+1, n-4
	}
	switch n {
	case 1:
		t.op("FMOVS %d(%v), F%d", at, regColumn, x)
	case 2:
		t.op("FMOVD %d(%v), F%d", at, regColumn, x)
	case 3:
		t.op("FMOVD %d(%v), F%d", at, regColumn, x)
		t.op("ADD $%d, %v, %v", at+8, regColumn, regRow)
		t.op("VLD1 (%v), %v.S[2]", regRow, x)
	}
}

// packs lays out operands: what does not fill vectors is left to Go.
func (t *text) packs() {
	t.function("packRows", "panel, b *float32, ldb, k int", "",
		fmt.Sprintf("copies k rows of %d columns into a panel. k is positive.", columns))
	p := t.general("panel", "b", "ldb", "k")
	panel, b, ldb, k := p[0], p[1], p[2], p[3]
	t.op("LSL $2, %v, %v", ldb, ldb)
	t.label("row")
	t.op("FLDPQ (%v), (F0, F1)", b)
	t.op("ADD %v, %v", ldb, b)
	t.op("FSTPQ.P (F0, F1), 32(%v)", panel)
	t.op("SUBS $1, %v", k)
	t.op("BNE row")
	t.op("RET")

	t.function("packTiles", "tiles *float32, step int, a *float32, lda, whole, k int", "",
		fmt.Sprintf("copies k rows of a transposed A into whole tiles of %d columns, [k, %d] each, that begin step elements apart. whole and k are positive.", rows, rows))
	p = t.general("tiles", "step", "a", "lda", "whole", "k")
	tiles, step, a, lda, whole, k := p[0], p[1], p[2], p[3], p[4], p[5]
	t.op("LSL $2, %v, %v", step, step)
	t.op("LSL $2, %v, %v", lda, lda)
	const from, to, left = gp(6), gp(7), gp(8)
	t.label("row")
	t.op("MOVD %v, %v", a, from)
	t.op("MOVD %v, %v", tiles, to)
	t.op("MOVD %v, %v", whole, left)
	t.label("tile")
	t.op("FLDPQ.P 32(%v), (F0, F1)", from)
	t.op("FSTPQ (F0, F1), (%v)", to)
	t.op("ADD %v, %v", step, to)
	t.op("SUBS $1, %v", left)
	t.op("BNE tile")
	t.op("ADD %v, %v", lda, a)
	t.op("ADD $%d, %v", 4*rows, tiles)
	t.op("SUBS $1, %v", k)
	t.op("BNE row")
	t.op("RET")

	t.function("packColumns", "panel, b *float32, ldb, k int", "",
		fmt.Sprintf("transposes 4 rows of k elements, a positive multiple of 4, into half of a panel of %d columns.", columns))
	p = t.general("panel", "b", "ldb", "k")
	panel, b, ldb, k = p[0], p[1], p[2], p[3]
	row := []gp{b, 4, 5, 6}
	t.op("LSL $2, %v, %v", ldb, ldb)
	for i := 1; i < 4; i++ {
		t.op("ADD %v, %v, %v", ldb, row[i-1], row[i])
	}
	t.label("four")
	for i, r := range row {
		t.op("FMOVQ.P 16(%v), F%d", r, i)
	}
	// Go's order: the second source comes first.
	t.op("VTRN1 V1.S4, V0.S4, V4.S4") // 00 10 02 12
	t.op("VTRN2 V1.S4, V0.S4, V5.S4") // 01 11 03 13
	t.op("VTRN1 V3.S4, V2.S4, V6.S4")
	t.op("VTRN2 V3.S4, V2.S4, V7.S4")
	t.op("VZIP1 V6.D2, V4.D2, V0.D2")
	t.op("VZIP1 V7.D2, V5.D2, V1.D2")
	t.op("VZIP2 V6.D2, V4.D2, V2.D2")
	t.op("VZIP2 V7.D2, V5.D2, V3.D2")
	for l := range 4 {
		t.op("FMOVQ.P F%d, %d(%v)", l, 4*columns, panel)
	}
	t.op("SUBS $4, %v", k)
	t.op("BNE four")
	t.op("RET")
}
