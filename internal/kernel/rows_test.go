package kernel

import (
	"math/rand/v2"
	"testing"
)

func TestRMSNormRowsAreRMSNormOfEach(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		p := NewPool(2)
		defer p.Close()
		const n, ld = 37, 41
		for _, rows := range []int{0, 1, 63, 64, 65, 200, 3} { // a smaller one after a larger
			x, dy, w := random(rng, rows*ld), random(rng, rows*ld), random(rng, n)
			y, rstd, dx, dw := make([]float32, rows*ld), make([]float32, rows), make([]float32, rows*ld), random(rng, n)
			wantY, wantDX, sums := make([]float32, n), make([]float32, n), append([]float32(nil), dw...)
			before := append([]float32(nil), dw...)
			p.RMSNormRows(rows, n, y, ld, x, ld, w, 1e-3, rstd)
			p.RMSNormGradRows(rows, n, dx, ld, dw, dy, ld, x, ld, w, rstd)
			for i := range rows {
				if r := RMSNorm(wantY, x[i*ld:][:n], w, 1e-3); r != rstd[i] {
					t.Fatalf("rstd[%d] is %v, want %v", i, rstd[i], r)
				}
				clear(wantDX)
				RMSNormGrad(wantDX, sums, dy[i*ld:][:n], x[i*ld:][:n], w, rstd[i])
				sameBits(t, "y", y[i*ld:][:n], wantY)
				sameBits(t, "dx", dx[i*ld:][:n], wantDX)
			}
			want := make([]float64, n)
			for i, s := range sums {
				want[i] = float64(s)
			}
			closeTo(t, "dw", dw, want, 1e-4)
			if rows == 0 {
				sameBits(t, "dw without rows", dw, before)
			}
		}
	})
}
