package kernel

// Transpose is Bᵀ for products, in the memory of b: weights that were packed as NT, for
// the forward pass, serve the backward pass too. Panels are transposed as they are
// needed, which costs about a twelfth of a product of 96 rows; the bits are those of
// weights packed as NN. What FastBF16 packs cannot be transposed: there the product would
// take not much longer.
func (p *PackedB) Transpose() *PackedB {
	if p.of != nil || p.data16 != nil {
		panic("kernel: the transpose of a transpose, or of a B in bfloat16")
	}
	return &PackedB{n: p.k, k: p.n, isa: p.isa, precision: p.precision, of: p}
}

// multiplyTransposed is multiplyPacked for the transpose of p.
func (p *PackedB) multiplyTransposed(g *Group, s span, accumulate bool, scratch *Scratch) {
	nr := tile.nr
	scratch.panel = grow(scratch.panel, blockK*nr)
	from := g.start(accumulate)
	for k0 := 0; k0 < g.K; k0 += blockK {
		kc := min(blockK, g.K-k0)
		for j := s.p0 * nr; j < min(s.p1*nr, g.N); j += nr {
			p.transposePanel(scratch.panel, j, k0, kc)
			r0 := s.first(j/nr, tile.mr)
			at := r0*g.LDC + j
			c, start := g.C[at:], rowsFrom(from, at)
			if start == nil {
				start = c
			}
			multiplyPanelFrom(s.r1-r0, min(nr, g.N-j), kc, g.A[r0*g.LDA+k0:], tile.mr*g.LDA, g.LDA, 1,
				scratch.panel, start, c, g.LDC, from != nil, scratch.panel, 0)
		}
		from = g.C
	}
}

// transposePanel lays rows [j, j+tile.nr) of p, and of them the panels of columns that
// cover [n0, n0+nc), out as a panel [nc, tile.nr] of the transpose, with zeros to the
// right.
func (p *PackedB) transposePanel(panel []float32, j, n0, nc int) {
	nr := tile.nr
	k0 := j / blockK * blockK
	kc, rows := min(blockK, p.k-k0), min(nr, p.k-j)
	at := k0*panels(p.n)*nr + n0*kc + (j-k0)*nr
	if rows < nr {
		clear(panel)
	}
	for c := 0; c < nc; c += nr {
		transposeRows(panel[c*nr:], nr, p.data[at+c*kc:], nr, rows, nr)
	}
}
