package stat

import (
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

func flip(t testing.TB, sizes []int, sum int) float64 {
	t.Helper()
	logP, err := SignFlip(sizes, sum)
	if err != nil {
		t.Fatal(err)
	}
	return logP
}

func TestSignFlipCountsAllSigns(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 400 {
		n := rng.IntN(17)
		sizes := make([]int, n)
		for i := range sizes {
			sizes[i] = rng.IntN(9) - 2
		}
		counts := map[int]int{}
		total := 0
		for set := range 1 << n {
			sum := 0
			for i, a := range sizes {
				sum += a * (1 - 2*(set>>i&1))
			}
			counts[sum]++
		}
		for _, a := range sizes {
			total += max(a, -a)
		}
		for sum := -total - 2; sum <= total+2; sum++ {
			reach := 0
			for s, c := range counts {
				if s >= sum {
					reach += c
				}
			}
			got, want := math.Exp(flip(t, sizes, sum)), float64(reach)/math.Exp2(float64(n))
			if math.Abs(got-want) > 1e-12*want {
				t.Fatalf("%v: P(sum ≥ %d) = %v, counted %v", sizes, sum, got, want)
			}
		}
	}
}

// exactTail counts the signs in whole numbers: the polynomial Π (1 + z^a), its
// coefficients side by side in one number.
func exactTail(sizes []int, sum int) float64 {
	width, total := uint(len(sizes)+1), 0
	all := big.NewInt(1)
	for _, a := range sizes {
		all.Add(all, new(big.Int).Lsh(all, width*uint(a)))
		total += a
	}
	k := (sum + total + 1) / 2
	mask := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), width), big.NewInt(1))
	reach := new(big.Int)
	for rest := all.Rsh(all, width*uint(k)); rest.Sign() > 0; rest.Rsh(rest, width) {
		reach.Add(reach, new(big.Int).And(rest, mask))
	}
	f := new(big.Float).SetPrec(200).SetInt(reach)
	exp := f.MantExp(f)
	m, _ := f.Float64()
	return math.Log(m) + float64(exp-len(sizes))*math.Ln2
}

func TestSignFlipIsRightFarOut(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	least := 0.0
	for _, n := range []int{40, 300, 1100} {
		sizes := make([]int, n)
		total := 0
		for i := range sizes {
			sizes[i] = 1 + rng.IntN(6)
			total += sizes[i]
		}
		for _, share := range []float64{-0.5, 0, 0.02, 0.1, 0.3, 0.7, 0.97, 0.999} {
			sum := int(share * float64(total))
			got, want := flip(t, sizes, sum), exactTail(sizes, sum)
			if math.Abs(got-want) > 1e-11*math.Max(1, -want) {
				t.Errorf("%d scores, sum %d of %d: log p %v, exactly %v", n, sum, total, got, want)
			}
			least = math.Min(least, got)
		}
	}
	if least > -690 {
		t.Errorf("the least p was e^%.0f: 10⁻³⁰⁰ was not tried", least)
	}
}

func TestSignFlipNearsTheNormalTail(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	sizes := make([]int, 2000)
	square := 0.0
	for i := range sizes {
		sizes[i] = int(math.Round(math.Max(-64, math.Min(64, 32*rng.NormFloat64()))))
		square += float64(sizes[i] * sizes[i])
	}
	for _, z := range []float64{0, 1, 2, 3.09, 4.75} {
		sum := int(z * math.Sqrt(square))
		got, want := math.Exp(flip(t, sizes, sum)), distuv.UnitNormal.Survival((float64(sum)-0.5)/math.Sqrt(square))
		if math.Abs(got/want-1) > 0.06 { // bounded scores have a lighter tail
			t.Errorf("z = %v: p %v, normal %v", z, got, want)
		}
	}
}

// Redrawing the coins is exactly the hypothesis.
func TestSignFlipKeepsItsLevel(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	const runs = 4000
	below := map[float64]int{0.1: 0, 0.01: 0, 0.001: 0}
	for range runs {
		sizes := make([]int, 60)
		sum := 0
		for i := range sizes {
			sizes[i] = int(20 * rng.ExpFloat64())
			sum += sizes[i] * (1 - 2*rng.IntN(2))
		}
		p := math.Exp(flip(t, sizes, sum))
		for level := range below {
			if p <= level {
				below[level]++
			}
		}
	}
	for level, got := range below {
		lo, hi := binomialBounds(runs, level)
		if got > hi || got < lo/2 {
			t.Errorf("p ≤ %v in %d of %d null runs, want about %.0f, at most %d", level, got, runs, level*runs, hi)
		}
	}
	// Of small tests every level that is attained is exact.
	sizes := []int{1, 2, 3, 5, 8, 13, 21}
	for _, level := range []float64{1. / 128, 3. / 128, 0.1, 0.5} {
		reject := 0
		for set := range uint(1) << len(sizes) {
			sum := 0
			for i, a := range sizes {
				sum += a * (1 - 2*int(set>>i&1))
			}
			if math.Exp(flip(t, sizes, sum)) <= level*(1+1e-12) {
				reject++
			}
		}
		if share := float64(reject) / 128; share > level*(1+1e-12) || bits.Len(uint(reject)) == 0 {
			t.Errorf("level %v is exceeded: %v", level, share)
		}
	}
}

func TestSignFlipAtItsEdges(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		sum   int
		want  float64
	}{
		{nil, 0, 0}, {nil, 1, math.Inf(-1)}, {[]int{0, 0}, 0, 0}, {[]int{3}, 3, -math.Ln2}, {[]int{3}, 4, math.Inf(-1)}, {[]int{-3}, -3, 0}, {[]int{3}, 2, -math.Ln2},
	} {
		if got := flip(t, c.sizes, c.sum); got != c.want && math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v, %d: log p %v, want %v", c.sizes, c.sum, got, c.want)
		}
	}
	if _, err := SignFlip([]int{1 << 21}, 0); err == nil {
		t.Error("a score beyond the grid is taken")
	}
}

func TestAMixtureIsAMeanOfBets(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 12))
	stakes := []float64{0.05, 0.2, 0.8}
	m := NewMixture(stakes...)
	single := make([]Betting, 3)
	for range 200 {
		size, win := rng.ExpFloat64(), rng.IntN(10) < 6
		m.Bet(size, win)
		mean := 0.0
		for i := range single {
			single[i].Bet(stakes[i], size, win)
			mean += math.Exp(single[i].LogE()) / 3
		}
		if math.Abs(m.LogE()-math.Log(mean)) > 1e-9 || m.LogBest() < m.LogE() {
			t.Fatalf("log E %v, the mean's %v", m.LogE(), math.Log(mean))
		}
	}
	if NewMixture().LogE() != 0 {
		t.Error("a mixture of nothing has an E")
	}
	const runs = 3000
	alarms := 0
	for range runs {
		m := NewMixture(stakes...)
		for range 300 {
			m.Bet(rng.ExpFloat64(), rng.IntN(2) == 0)
		}
		if m.LogBest() >= math.Log(20) {
			alarms++
		}
	}
	if _, most := binomialBounds(runs, 0.05); alarms > most || alarms < runs/100 {
		t.Errorf("E reached 20 in %d of %d null runs, at most %d expected", alarms, runs, most)
	}
}
