package stat

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// byDefinition rejects by trying every number of rejections.
func byDefinition(n int, holds func(k, i int) bool) []bool {
	best := make([]bool, n)
	for k := n; k > 0; k-- {
		reject, count := make([]bool, n), 0
		for i := range n {
			if reject[i] = holds(k, i); reject[i] {
				count++
			}
		}
		if count >= k {
			return reject
		}
	}
	return best
}

func TestStepUpProceduresRejectWhatTheirDefinitionSays(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 3000 {
		n := 1 + rng.IntN(12)
		p, e := make([]float64, n), make([]float64, n)
		for i := range p {
			p[i] = math.Pow(rng.Float64(), 1+3*rng.Float64())
			e[i] = math.Exp(6 * rng.Float64())
			if rng.IntN(3) == 0 && i > 0 {
				p[i], e[i] = p[i-1], e[i-1] // ties
			}
		}
		if got, want := BenjaminiHochberg(p, 0.1), byDefinition(n, func(k, i int) bool { return p[i] <= 0.1*float64(k)/float64(n) }); !slices.Equal(got, want) {
			t.Fatalf("BH of %v: %v, want %v", p, got, want)
		}
		if got, want := EBH(e, 0.1), byDefinition(n, func(k, i int) bool { return float64(k)*e[i]*0.1 >= float64(n) }); !slices.Equal(got, want) {
			t.Fatalf("e-BH of %v: %v, want %v", e, got, want)
		}
	}
	nan := math.NaN()
	for _, got := range [][]bool{
		EBH(nil, 0.1), BenjaminiHochberg(nil, 0.1), EBH([]float64{1e9, 1e9}, 0), BenjaminiHochberg([]float64{0}, 1),
		EBH([]float64{nan, -5, 0}, 0.9), BenjaminiHochberg([]float64{nan, 1}, 0.9),
	} {
		if slices.Contains(got, true) {
			t.Errorf("something was rejected: %v", got)
		}
	}
	if got := EBH([]float64{math.Inf(1), 1}, 0.05); !got[0] || got[1] {
		t.Errorf("an infinite e-value: %v", got)
	}
}

func TestHolmAgreesWithTheClosedTest(t *testing.T) {
	for _, c := range []struct{ p, want []float64 }{
		{nil, nil},
		{[]float64{0.2}, []float64{0.2}},
		{[]float64{0.01, 0.04, 0.03}, []float64{0.03, 0.06, 0.06}},
		{[]float64{0.9, 0.8, math.NaN()}, []float64{1, 1, 1}},
	} {
		got := Holm(c.p)
		for i := range c.want {
			if math.Abs(got[i]-c.want[i]) > 1e-15 {
				t.Errorf("Holm of %v: %v, want %v", c.p, got, c.want)
			}
		}
	}
	// A hypothesis is rejected by the closed test if Bonferroni rejects every
	// intersection that holds it.
	rng := rand.New(rand.NewPCG(5, 5))
	for range 500 {
		n := 1 + rng.IntN(7)
		p := make([]float64, n)
		for i := range p {
			p[i] = rng.Float64() * rng.Float64() * 0.2
		}
		got := Holm(p)
		for i := range p {
			want := 0.0
			for set := range 1 << n {
				if set>>i&1 == 0 {
					continue
				}
				size, least := 0, 1.0
				for j := range n {
					if set>>j&1 == 1 {
						size++
						least = min(least, p[j])
					}
				}
				want = max(want, min(1, float64(size)*least))
			}
			if math.Abs(got[i]-want) > 1e-12 {
				t.Fatalf("Holm of %v: %v at %d, the closed test says %v", p, got, i, want)
			}
		}
	}
}

// The false discovery proportion is averaged over runs in which most hypotheses
// are true: by independent p-values for BH, and by e-values that all hang on one
// draw for e-BH.
func TestFalseDiscoveriesStayBelowTheirRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	const runs, n, fed, alpha = 3000, 20, 4, 0.1
	falseShare := func(reject []bool) (share float64, found int) {
		wrong := 0
		for i, r := range reject {
			if r && i < fed {
				found++
			} else if r {
				wrong++
			}
		}
		return float64(wrong) / math.Max(1, float64(wrong+found)), found
	}
	bh, ebh, foundBH, foundEBH, family := 0.0, 0.0, 0, 0, 0
	for range runs {
		p, e := make([]float64, n), make([]float64, n)
		common := rng.NormFloat64()
		for i := range p {
			shift := 0.0
			if i < fed {
				shift = 3.5
			}
			p[i] = 1 - distuv.UnitNormal.CDF(rng.NormFloat64()+shift)
			z := 0.9*common + math.Sqrt(1-0.81)*rng.NormFloat64() + shift
			e[i] = math.Exp(2*z - 2) // mean 1 at shift 0
		}
		share, found := falseShare(BenjaminiHochberg(p, alpha))
		bh, foundBH = bh+share/runs, foundBH+found
		share, found = falseShare(EBH(e, alpha))
		ebh, foundEBH = ebh+share/runs, foundEBH+found
		if slices.Min(Holm(p)[fed:]) <= alpha {
			family++
		}
	}
	// BH's rate is exactly α·16/20 here; three standard errors are below 0.01.
	if bh > alpha*0.8+0.01 || bh < alpha*0.8-0.01 {
		t.Errorf("BH: mean false share %.4f, want %.3f", bh, alpha*0.8)
	}
	if ebh > alpha*0.8+0.01 {
		t.Errorf("e-BH: mean false share %.4f, at most %.3f", ebh, alpha*0.8)
	}
	if foundBH < runs*fed/2 || foundEBH < runs*fed/20 {
		t.Errorf("of %d effects BH found %d and e-BH %d: they see nothing", runs*fed, foundBH, foundEBH)
	}
	if _, most := binomialBounds(runs, alpha); family > most {
		t.Errorf("Holm rejected a true hypothesis in %d of %d runs, at most %d expected", family, runs, most)
	}
}

func TestBettingKeepsItsLevelWhenStoppedAtWill(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	const runs, coins = 4000, 400
	for _, alpha := range []float64{0.1, 0.01} {
		alarms := 0
		for range runs {
			var b Betting
			seen := 0.0
			for b.LogE() < -math.Log(alpha) && b.Bets() < coins {
				size := rng.ExpFloat64()
				stake := 0.2 + 0.5*math.Abs(math.Sin(seen)) // from the past alone
				win := rng.IntN(2) == 0
				b.Bet(stake, size, win)
				if win {
					seen += size
				}
			}
			if b.LogE() >= -math.Log(alpha) {
				alarms++
			}
		}
		_, most := binomialBounds(runs, alpha)
		if alarms > most || float64(alarms) < runs*alpha/5 {
			t.Errorf("level %v: %d alarms in %d null runs, at most %d expected", alpha, alarms, runs, most)
		}
	}
}

func TestBettingMultipliesItsFactors(t *testing.T) {
	var b Betting
	want, best := 0.0, 0.0
	for i, x := range []struct {
		stake, size float64
		win         bool
	}{{1, 0.5, true}, {2, 3, false}, {0.1, 40, true}, {1, 800, true}, {1, 800, false}} {
		b.Bet(x.stake, x.size, x.win)
		s := x.stake * x.size
		t0 := s
		if !x.win {
			t0 = -s
		}
		want += t0 - (s + math.Log((1+math.Exp(-2*s))/2))
		best = math.Max(best, want)
		if math.Abs(b.LogE()-want) > 1e-9*math.Max(1, math.Abs(want)) || b.LogBest() != math.Max(b.LogBest(), b.LogE()) || b.Bets() != i+1 {
			t.Fatalf("after bet %d: log E %v, want %v", i, b.LogE(), want)
		}
	}
	if math.Abs(b.LogBest()-best) > 1e-9 {
		t.Errorf("best %v, want %v", b.LogBest(), best)
	}
	before := b
	for _, x := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		b.Bet(1, x, true)
	}
	if b != before {
		t.Errorf("what is no bet changed E from %v to %v", before, b)
	}
}
