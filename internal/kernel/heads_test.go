package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestHalvesAreTheNearest(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		all, x := make([]uint16, 1<<16), make([]float32, 1<<16)
		for i := range all {
			all[i] = uint16(i)
		}
		fromHalf(x, all)
		for i, v := range x {
			if e := i >> 10 & 31; e == 31 {
				if frac := i & 0x3ff; frac == 0 && !math.IsInf(float64(v), 1-i>>15*2) || frac != 0 && v == v {
					t.Fatalf("%#x is %v", i, v)
				}
				continue
			}
			want := math.Ldexp(float64(i&0x3ff|0x400), i>>10&31-25)
			if i>>10&31 == 0 {
				want = math.Ldexp(float64(i&0x3ff), -24)
			}
			if i>>15 == 1 {
				want = -want
			}
			if float64(v) != want {
				t.Fatalf("%#x is %v, want %v", i, v, want)
			}
		}
		got := make([]uint16, len(x))
		toHalf(got, x)
		for i, h := range got {
			if h != uint16(i) && x[i] == x[i] {
				t.Fatalf("%v is %#x, want %#x", x[i], h, i)
			}
		}
		// What lies between two becomes the nearer one, or the even one of both.
		for i := range 0x7bff {
			lo, hi := float64(x[i]), float64(x[i+1])
			if i%2 == 0 {
				x[i] = float32((lo + hi) / 2)
			} else {
				x[i] = float32(lo + (hi-lo)*rng.Float64())
			}
			want := uint16(i)
			if d := float64(x[i]) - lo; d > (hi-lo)/2 || d == (hi-lo)/2 && i%2 == 1 {
				want++
			}
			if toHalf(got[:17], x[i:i+17]); got[0] != want {
				t.Fatalf("%v between %v and %v is %#x, want %#x", x[i], lo, hi, got[0], want)
			}
		}
	})
}

func TestReadingHeadsAgreesWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for range cases(t, 200) {
			queries, keys := 1+dim(rng, 12), 1+dim(rng, 200)
			l := PagedHeads{PageRows: []int{1, 4, 32}[rng.IntN(3)], Heads: 1 + rng.IntN(3), Dim: 1 + dim(rng, 90)}
			if rng.IntN(3) > 0 {
				l.Dim = 16 * (1 + rng.IntN(8))
			}
			count := (keys+l.PageRows-1)/l.PageRows + rng.IntN(3)
			l.Rows = mem.slice(count * l.PageSize())
			if rng.IntN(2) == 0 {
				l.Rows, l.Halves = nil, make([]uint16, count*l.PageSize())
			}
			pages := make([]int32, count)
			for i, p := range rng.Perm(count) {
				pages[i] = int32(p)
			}
			rows := make([][]float32, keys)
			for i := range rows {
				rows[i] = random(rng, 2*l.Heads*l.Dim)
				l.Put(pages[i/l.PageRows], i%l.PageRows, rows[i])
				if l.Halves != nil {
					for j, x := range rows[i] {
						rows[i][j] = floatOf(halfOf(x))
					}
				}
			}
			q, ldq := matrix(rng, mem, queries, l.Dim)
			Scale(q, float32(1/math.Sqrt(float64(l.Dim))))
			out, ldo := matrix(rng, mem, queries, l.Dim)
			was := slices.Clone(out)
			head := rng.IntN(l.Heads)
			var s Scratch
			l.Read(head, queries, keys, pages, q, ldq, mem.slice(queries*keys), out, ldo, &s)
			part := func(j, i int) []float32 { return rows[j][(head+i*l.Heads)*l.Dim:][:l.Dim] }
			for h := range queries {
				p, top := make([]float64, keys), math.Inf(-1)
				for j := range p {
					for i, x := range part(j, 0) {
						p[j] += float64(x) * float64(q[h*ldq+i])
					}
					top = max(top, p[j])
				}
				sum := 0.0
				for j := range p {
					p[j] = math.Exp(p[j] - top)
					sum += p[j]
				}
				for i := range l.Dim {
					want := 0.0
					for j := range p {
						want += p[j] / sum * float64(part(j, 1)[i])
					}
					if got := out[h*ldo+i]; !(math.Abs(float64(got)-want) < 2e-5) {
						t.Fatalf("%d queries, %d keys of %d: element (%d, %d) is %v, want %v", queries, keys, l.Dim, h, i, got, want)
					}
				}
				for i := l.Dim; i < ldo && h*ldo+i < len(out); i++ {
					if out[h*ldo+i] != was[h*ldo+i] {
						t.Fatalf("%d queries, %d keys of %d: wrote beside row %d", queries, keys, l.Dim, h)
					}
				}
			}
			// A query alone has the same bits.
			h := rng.IntN(queries)
			alone := make([]float32, l.Dim)
			l.Read(head, 1, keys, pages, q[h*ldq:], ldq, make([]float32, keys), alone, l.Dim, &s)
			if !slices.Equal(alone, out[h*ldo:h*ldo+l.Dim]) {
				t.Fatalf("query %d of %d has other bits alone", h, queries)
			}
			// Gathered rows are what was put there.
			n := 1 + rng.IntN(min(l.PageRows, keys))
			k, v := make([]float32, n*l.Dim), make([]float32, n*l.Dim)
			l.Gather(pages[0], head, n, k, v)
			for j := range n {
				if !slices.Equal(k[j*l.Dim:][:l.Dim], part(j, 0)) || !slices.Equal(v[j*l.Dim:][:l.Dim], part(j, 1)) {
					t.Fatalf("row %d of a page is gathered as %v and %v", j, k, v)
				}
			}
		}
	})
}

func BenchmarkReadHeads(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, half := range []bool{false, true} {
		for _, keys := range []int{128, 512, 2048} {
			b.Run(fmt.Sprintf("%v/%d", map[bool]string{false: "float", true: "half"}[half], keys), func(b *testing.B) {
				l := PagedHeads{PageRows: 32, Heads: 3, Dim: 64}
				n := keys / l.PageRows * l.PageSize()
				if l.Rows = random(rng, n); half {
					l.Halves = make([]uint16, n)
					toHalf(l.Halves, l.Rows)
				}
				pages := make([]int32, keys/l.PageRows)
				for i := range pages {
					pages[i] = int32(i)
				}
				q, out, scores := random(rng, 3*l.Dim), make([]float32, 3*l.Dim), make([]float32, 3*keys)
				var s Scratch
				for b.Loop() {
					for head := range l.Heads {
						l.Read(head, 3, keys, pages, q, l.Dim, scores, out, l.Dim, &s)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*l.Heads*keys), "ns/key")
			})
		}
	}
}
