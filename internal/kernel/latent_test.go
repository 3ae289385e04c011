package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestReadingLatentsAgreesWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for range cases(t, 200) {
			heads, keys := 1+dim(rng, 20), 1+dim(rng, 300)
			l := Latents{PageRows: []int{1, 4, 32, 200}[rng.IntN(4)], Latent: 1 + dim(rng, 90)}
			l.Width = l.Latent + dim(rng, 40)
			count := (keys+l.PageRows-1)/l.PageRows + rng.IntN(3)
			l.Rows = mem.slice(count * l.PageRows * l.Width)
			for i := range l.Rows {
				l.Rows[i] = float32(rng.NormFloat64())
			}
			pages := make([]int32, count)
			for i, p := range rng.Perm(count) {
				pages[i] = int32(p)
			}
			q, ldq := matrix(rng, mem, heads, l.Width)
			Scale(q, float32(1/math.Sqrt(float64(l.Width))))
			out, ldo := matrix(rng, mem, heads, l.Latent)
			var s Scratch
			l.Read(heads, keys, pages, q, ldq, mem.slice(heads*keys), out, ldo, &s)
			row := func(j int) []float32 {
				return l.Rows[(int(pages[j/l.PageRows])*l.PageRows+j%l.PageRows)*l.Width:][:l.Width]
			}
			for h := range heads {
				p, top := make([]float64, keys), math.Inf(-1)
				for j := range p {
					for i, x := range row(j) {
						p[j] += float64(x) * float64(q[h*ldq+i])
					}
					top = max(top, p[j])
				}
				sum := 0.0
				for j := range p {
					p[j] = math.Exp(p[j] - top)
					sum += p[j]
				}
				for i := range l.Latent {
					want := 0.0
					for j := range p {
						want += p[j] / sum * float64(row(j)[i])
					}
					if got := out[h*ldo+i]; !(math.Abs(float64(got)-want) < 2e-5) {
						t.Fatalf("%d heads, %d keys, %+v: element (%d, %d) is %v, want %v", heads, keys, l.Latent, h, i, got, want)
					}
				}
			}
			// A head alone has the same bits.
			h := rng.IntN(heads)
			alone := make([]float32, l.Latent)
			l.Read(1, keys, pages, q[h*ldq:], ldq, make([]float32, keys), alone, l.Latent, &s)
			if !slices.Equal(alone, out[h*ldo:h*ldo+l.Latent]) {
				t.Fatalf("head %d of %d has other bits alone", h, heads)
			}
		}
	})
}
