package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestReadingPagesAgreesWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for range cases(t, 200) {
			heads, keys := 1+dim(rng, 20), 1+dim(rng, 300)
			l := Paged{PageRows: []int{1, 4, 32, 200}[rng.IntN(4)]}
			l.Key = Span{From: rng.IntN(5), N: 1 + dim(rng, 90)}
			l.Value = Span{From: rng.IntN(90), N: 1 + dim(rng, 90)}
			l.Width = max(l.Key.From+l.Key.N, l.Value.From+l.Value.N) + rng.IntN(3)
			count := (keys+l.PageRows-1)/l.PageRows + rng.IntN(3)
			l.Rows = mem.slice(count * l.PageRows * l.Width)
			for i := range l.Rows {
				l.Rows[i] = float32(rng.NormFloat64())
			}
			pages := make([]int32, count)
			for i, p := range rng.Perm(count) {
				pages[i] = int32(p)
			}
			q, ldq := matrix(rng, mem, heads, l.Key.N)
			Scale(q, float32(1/math.Sqrt(float64(l.Key.N))))
			out, ldo := matrix(rng, mem, heads, l.Value.N)
			var s Scratch
			l.Read(heads, keys, pages, q, ldq, mem.slice(heads*keys), out, ldo, &s)
			row := func(j int, part Span) []float32 {
				return l.Rows[(int(pages[j/l.PageRows])*l.PageRows+j%l.PageRows)*l.Width+part.From:][:part.N]
			}
			for h := range heads {
				p, top := make([]float64, keys), math.Inf(-1)
				for j := range p {
					for i, x := range row(j, l.Key) {
						p[j] += float64(x) * float64(q[h*ldq+i])
					}
					top = max(top, p[j])
				}
				sum := 0.0
				for j := range p {
					p[j] = math.Exp(p[j] - top)
					sum += p[j]
				}
				for i := range l.Value.N {
					want := 0.0
					for j := range p {
						want += p[j] / sum * float64(row(j, l.Value)[i])
					}
					if got := out[h*ldo+i]; !(math.Abs(float64(got)-want) < 2e-5) {
						t.Fatalf("%d heads, %d keys, %+v: element (%d, %d) is %v, want %v", heads, keys, []Span{l.Key, l.Value}, h, i, got, want)
					}
				}
			}
			// A head alone has the same bits.
			h := rng.IntN(heads)
			alone := make([]float32, l.Value.N)
			l.Read(1, keys, pages, q[h*ldq:], ldq, make([]float32, keys), alone, l.Value.N, &s)
			if !slices.Equal(alone, out[h*ldo:h*ldo+l.Value.N]) {
				t.Fatalf("head %d of %d has other bits alone", h, heads)
			}
		}
	})
}
