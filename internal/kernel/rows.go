package kernel

// normRows is how many rows of a norm's gradient are summed before the partial
// sums are combined, in order: fixed, so that threads do not change the sum.
const normRows = 64

// RMSNormRows applies RMSNorm to each of rows rows of x, n wide, and stores
// what RMSNormGradRows needs in rstd [rows].
func (p *Pool) RMSNormRows(rows, n int, dst []float32, ldd int, x []float32, ldx int, w []float32, eps float32, rstd []float32) {
	checkMatrix("dst", dst, rows, n, ldd)
	checkMatrix("x", x, rows, n, ldx)
	same(len(w), n)
	p.Run(blocks(rows), func(part, _ int) {
		for i := part * normRows; i < min((part+1)*normRows, rows); i++ {
			rstd[i] = RMSNorm(dst[i*ldd:][:n], x[i*ldx:][:n], w, eps)
		}
	})
}

// RMSNormGradRows adds the gradients of RMSNormRows to dx and dw.
func (p *Pool) RMSNormGradRows(rows, n int, dx []float32, lddx int, dw []float32, dy []float32, lddy int, x []float32, ldx int, w, rstd []float32) {
	checkMatrix("dx", dx, rows, n, lddx)
	checkMatrix("dy", dy, rows, n, lddy)
	checkMatrix("x", x, rows, n, ldx)
	same(len(w), n)
	same(len(dw), n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = grow(p.partial, blocks(rows)*n)
	partial := p.partial
	clear(partial)
	p.run(blocks(rows), func(part, _ int) {
		sum := partial[part*n:][:n]
		for i := part * normRows; i < min((part+1)*normRows, rows); i++ {
			RMSNormGrad(dx[i*lddx:][:n], sum, dy[i*lddy:][:n], x[i*ldx:][:n], w, rstd[i])
		}
	})
	for b := range blocks(rows) {
		Add(dw, dw, partial[b*n:][:n])
	}
}

func blocks(rows int) int { return (rows + normRows - 1) / normRows }
