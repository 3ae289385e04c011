package stat

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// binomialBounds returns the counts between which n events of probability p
// fall but for a chance of 10⁻⁴ on either side.
func binomialBounds(n int, p float64) (lo, hi int) {
	b := distuv.Binomial{N: float64(n), P: p}
	lo, hi = 0, n
	for lo < n && b.CDF(float64(lo)) < 1e-4 {
		lo++
	}
	for hi > 0 && 1-b.CDF(float64(hi-1)) < 1e-4 {
		hi--
	}
	return lo, hi
}

func TestMcNemarIsTheBinomialTest(t *testing.T) {
	for _, c := range []struct {
		a, b int
		want float64
	}{
		{0, 0, 1},
		{1, 0, 1},
		{0, 5, 0.0625},
		{6, 0, 0.03125},
		{1, 9, 22.0 / 1024},
		{5, 5, 1},
		{10, 20, 2 * 0.04936857},
	} {
		p := Paired{Both: 7, OnlyA: c.a, OnlyB: c.b, Neither: 3}
		if got := p.McNemar(); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%d against %d: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// Under the hypothesis no level may be exceeded, and with many discordant
// problems it must nearly be reached.
func TestMcNemarKeepsItsLevel(t *testing.T) {
	for _, n := range []int{1, 5, 10, 37, 150, 400} {
		b := distuv.Binomial{N: float64(n), P: 0.5}
		for _, level := range []float64{0.05, 0.01, 0.001} {
			reject := 0.0
			for k := 0; k <= n; k++ {
				if (Paired{OnlyA: k, OnlyB: n - k}).McNemar() <= level {
					reject += b.Prob(float64(k))
				}
			}
			if reject > level*(1+1e-9) || n == 400 && reject < level/2 {
				t.Errorf("%d discordant problems: p ≤ %v with probability %v", n, level, reject)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	const runs = 4000
	alarms := 0
	for range runs {
		var p Paired
		for range 300 {
			skill := rng.Float64()
			p.Count(rng.Float64() < skill, rng.Float64() < skill)
		}
		if p.McNemar() <= 0.05 {
			alarms++
		}
	}
	_, most := binomialBounds(runs, 0.05)
	if alarms > most || alarms < runs/50 {
		t.Errorf("%d of %d null comparisons rejected at 5%%, at most %d expected", alarms, runs, most)
	}
}

// differenceCoverage enumerates every table and adds up the probability of
// those whose interval holds the truth.
func differenceCoverage(n int, onlyA, onlyB, confidence float64) float64 {
	lg := func(k int) float64 { v, _ := math.Lgamma(float64(k) + 1); return v }
	power := func(k int, p float64) float64 {
		if k == 0 {
			return 0
		}
		return float64(k) * math.Log(p)
	}
	truth, covered := onlyA-onlyB, 0.0
	most := func(p float64) int { return int(float64(n)*p + 8*math.Sqrt(float64(n)*p) + 10) }
	for b := 0; b <= most(onlyA); b++ {
		for c := 0; c <= most(onlyB); c++ {
			rest := n - b - c
			prob := math.Exp(lg(n) - lg(b) - lg(c) - lg(rest) + power(b, onlyA) + power(c, onlyB) + power(rest, 1-onlyA-onlyB))
			if prob < 1e-12 {
				continue
			}
			i := Paired{Both: rest, OnlyA: b, OnlyB: c}.Difference(confidence)
			if i.Lo-1e-12 <= truth && truth <= i.Hi+1e-12 {
				covered += prob
			}
		}
	}
	return covered
}

func TestDifferenceCoversWhatItSaysAtFiveHundredProblems(t *testing.T) {
	const n = 500
	expected := []float64{0, 0.5, 1, 2, 3, 5, 8, 12, 20, 50}
	settings, within, sum := 0, 0, 0.0
	for _, a := range expected {
		for _, b := range expected {
			if a > b {
				continue // the interval is symmetric, see below
			}
			got := differenceCoverage(n, a/n, b/n, 0.95)
			switch {
			case a+b < 3: // too few for any interval: it must be on the safe side
				if got < 0.95 && a+b > 0 && a+b < 1.5 {
					t.Errorf("%v and %v discordant problems expected: coverage %.4f", a, b, got)
				}
				continue
			case got < 0.93 || got > 0.98, a+b >= 20 && (got < 0.94 || got > 0.966):
				t.Errorf("%v and %v discordant problems expected: coverage %.4f", a, b, got)
			}
			settings++
			sum += got
			if got >= 0.94 && got <= 0.96 {
				within++
			}
		}
	}
	if mean := sum / float64(settings); within*6 < settings*5 || math.Abs(mean-0.95) > 0.003 {
		t.Errorf("coverage within 0.94–0.96 in %d of %d settings, %.4f on average", within, settings, sum/float64(settings))
	}
	for _, p := range []float64{0.02, 0.05} {
		if got := differenceCoverage(n, p, p/3, 0.99); got < 0.983 || got > 0.997 {
			t.Errorf("99%%: coverage %.4f", got)
		}
	}
}

func TestDifferenceIsSymmetricAndHoldsTheEstimate(t *testing.T) {
	for _, p := range []Paired{
		{}, {Both: 500}, {Both: 490, OnlyB: 10}, {Both: 480, OnlyA: 3, OnlyB: 12, Neither: 5}, {OnlyA: 500}, {Neither: 1}, {OnlyB: 1}, {Both: 20, OnlyA: 30, OnlyB: 30, Neither: 20},
	} {
		i := p.Difference(0.95)
		r := Paired{p.Both, p.OnlyB, p.OnlyA, p.Neither}.Difference(0.95)
		if math.Abs(i.Lo+r.Hi) > 1e-9 || math.Abs(i.Hi+r.Lo) > 1e-9 {
			t.Errorf("%+v: %v, reversed %v", p, i, r)
		}
		if n := float64(p.N()); n > 0 {
			d := float64(p.A()-p.B()) / n
			if !(i.Lo-1e-12 <= d && d <= i.Hi+1e-12) || i.Lo < -1 || i.Hi > 1 {
				t.Errorf("%+v: %v does not hold %v", p, i, d)
			}
		}
	}
	// Nothing discordant among n: the interval is ±z²/(n+z²), in closed form.
	i := Paired{Both: 500}.Difference(0.95)
	const z2 = 1.959963984540054 * 1.959963984540054
	if want := z2 / (500 + z2); math.Abs(i.Hi-want) > 1e-9 || math.Abs(i.Lo+want) > 1e-9 {
		t.Errorf("500 problems, none discordant: %v, want ±%v", i, want)
	}
	// At its ends the score is the normal quantile, with the likelihood
	// maximised here by search and not by the closed form.
	for _, p := range []Paired{{Both: 21, OnlyA: 12, OnlyB: 2, Neither: 9}, {Both: 480, OnlyB: 15, OnlyA: 2, Neither: 3}} {
		i := p.Difference(0.95)
		for _, e := range []struct{ d, z float64 }{{i.Lo, 1.959964}, {i.Hi, -1.959964}} {
			if got := scoreBySearch(p, e.d); math.Abs(got-e.z) > 1e-4 {
				t.Errorf("%+v: the score at %v is %v, want %v", p, e.d, got, e.z)
			}
		}
	}
}

func scoreBySearch(p Paired, d float64) float64 {
	n, b, c := float64(p.N()), float64(p.OnlyA), float64(p.OnlyB)
	likelihood := func(q float64) float64 { // q = P(only B), q + d = P(only A)
		return b*math.Log(q+d) + c*math.Log(q) + (n-b-c)*math.Log(1-2*q-d)
	}
	lo, hi := math.Max(0, -d), (1-d)/2
	for range 200 { // the likelihood is concave
		a, z := lo+(hi-lo)/3, hi-(hi-lo)/3
		if likelihood(a) < likelihood(z) {
			lo = a
		} else {
			hi = z
		}
	}
	return (b - c - n*d) / math.Sqrt(n*(2*lo+d-d*d))
}

// draw fills a table from the probabilities of its cells.
func draw(rng *rand.Rand, n int, cells [4]float64) Paired {
	var p Paired
	for range n {
		u := rng.Float64()
		switch {
		case u < cells[0]:
			p.Both++
		case u < cells[0]+cells[1]:
			p.OnlyA++
		case u < cells[0]+cells[1]+cells[2]:
			p.OnlyB++
		default:
			p.Neither++
		}
	}
	return p
}

func TestRatioCoversWhatItSays(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	const runs = 3000
	for _, cells := range [][4]float64{
		{0.97, 0, 0.03, 0}, // a student at 97% of a perfect teacher
		{0.98, 0.01, 0.01, 0},
		{0.96, 0.002, 0.034, 0.004},
		{0.78, 0.05, 0.09, 0.08},
		{0.3, 0.1, 0.2, 0.4},
	} {
		truth := (cells[0] + cells[1]) / (cells[0] + cells[2])
		covered, tooHigh := 0, 0
		for range runs {
			i := draw(rng, 500, cells).Ratio(0.95)
			if i.Lo-1e-9 <= truth && truth <= i.Hi+1e-9 {
				covered++
			}
			if i.Lo > truth+1e-9 {
				tooHigh++
			}
		}
		least, _ := binomialBounds(runs, 0.945)
		_, most := binomialBounds(runs, 0.96)
		if covered < least || covered > most {
			t.Errorf("%v: coverage %.4f", cells, float64(covered)/runs)
		}
		if _, most := binomialBounds(runs, 0.03); tooHigh > most {
			t.Errorf("%v: the lower end claims too much in %d of %d", cells, tooHigh, runs)
		}
	}
}

func TestRatioAtItsEdges(t *testing.T) {
	for _, c := range []struct {
		p            Paired
		within       float64
		loZero, hiUp bool
	}{
		{Paired{}, 1, true, true},
		{Paired{Neither: 10}, 1, true, true},
		{Paired{OnlyB: 10, Neither: 490}, 0, true, false},
		{Paired{OnlyA: 10, Neither: 490}, 20, false, true},
		{Paired{Both: 500}, 1, false, false},
		{Paired{Both: 480, OnlyB: 20}, 0.96, false, false},
	} {
		i := c.p.Ratio(0.95)
		if !i.Contains(c.within) || (i.Lo == 0) != c.loZero || math.IsInf(i.Hi, 1) != c.hiUp || math.IsNaN(i.Lo) || math.IsNaN(i.Hi) {
			t.Errorf("%+v: %v", c.p, i)
		}
	}
	i := Paired{Both: 480, OnlyA: 3, OnlyB: 12, Neither: 5}.Ratio(0.95)
	r := Paired{Both: 480, OnlyA: 12, OnlyB: 3, Neither: 5}.Ratio(0.95)
	if math.Abs(i.Lo*r.Hi-1) > 1e-6 || math.Abs(i.Hi*r.Lo-1) > 1e-6 {
		t.Errorf("the ratio reversed is not its inverse: %v, %v", i, r)
	}
}

func TestWilsonCoversWhatItSaysOnAverage(t *testing.T) {
	for _, n := range []int{50, 500} {
		sum, count := 0.0, 0
		for p := 0.01; p < 1; p += 0.0098 {
			b := distuv.Binomial{N: float64(n), P: p}
			covered := 0.0
			for k := 0; k <= n; k++ {
				if Wilson(k, n, 0.95).Contains(p) {
					covered += b.Prob(float64(k))
				}
			}
			if covered < 0.88 {
				t.Errorf("n = %d, p = %.4f: coverage %.4f", n, p, covered)
			}
			sum += covered
			count++
		}
		if mean := sum / float64(count); math.Abs(mean-0.95) > 0.005 {
			t.Errorf("n = %d: mean coverage %.4f", n, mean)
		}
	}
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{{0, 0, 0, 1}, {0, 10, 0, 0.2775}, {10, 10, 0.7225, 1}, {5, 10, 0.2366, 0.7634}, {485, 500, 0.9511, 0.9817}} {
		if i := Wilson(c.k, c.n, 0.95); math.Abs(i.Lo-c.lo) > 1e-4 || math.Abs(i.Hi-c.hi) > 1e-4 {
			t.Errorf("%d of %d: %v, want %v–%v", c.k, c.n, i, c.lo, c.hi)
		}
	}
}

func TestBootstrapCoversSkewedAmounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const runs, pairs = 800, 150
	covered := 0
	a, b := make([]float64, pairs), make([]float64, pairs)
	truth := 100 * (math.Exp(0.3+0.5*0.5/2) - math.Exp(0.5*0.5/2))
	for r := range runs {
		for i := range pairs {
			common := rng.NormFloat64() * 0.3
			a[i] = 100 * math.Exp(0.3+common+0.4*rng.NormFloat64())
			b[i] = 100 * math.Exp(common+0.4*rng.NormFloat64())
		}
		i, err := Bootstrap{0.95, 600, uint64(r)}.Difference(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if i.Contains(truth) {
			covered++
		}
	}
	least, _ := binomialBounds(runs, 0.93)
	_, most := binomialBounds(runs, 0.96)
	if covered < least || covered > most {
		t.Errorf("%d of %d intervals hold the truth, want %d to %d", covered, runs, least, most)
	}
}

func TestAccelerationIsThatOfTheJackknife(t *testing.T) {
	d := []float64{1, 2, 2, 3, 9, 30}
	total := 0.0
	for _, v := range d {
		total += v
	}
	n := float64(len(d))
	var leftOut []float64
	centre := 0.0
	for _, v := range d {
		m := (total - v) / (n - 1)
		leftOut = append(leftOut, m)
		centre += m / n
	}
	square, cube := 0.0, 0.0
	for _, m := range leftOut {
		square += math.Pow(centre-m, 2)
		cube += math.Pow(centre-m, 3)
	}
	if got, want := acceleration(d, total/n), cube/(6*math.Pow(square, 1.5)); math.Abs(got-want) > 1e-12 || want < 0.05 {
		t.Errorf("acceleration %v, by leaving one out %v", got, want)
	}
}

// Resampled means of ±1 tie with the mean often; taking ties for "not below"
// would look like a bias and shift the interval.
func TestTiesAreNoBias(t *testing.T) {
	var a, b []float64
	for i := range 40 {
		a, b = append(a, float64(i%2)), append(b, float64((i+1)%2))
	}
	sum := 0.0
	for seed := range uint64(40) {
		i, err := Bootstrap{0.9, 500, seed}.Difference(a, b)
		if err != nil {
			t.Fatal(err)
		}
		sum += (i.Lo + i.Hi) / 40
	}
	if math.Abs(sum) > 0.02 {
		t.Errorf("the intervals' ends add up to %v on average, want 0", sum)
	}
}

func TestBootstrapIsSeededAndSaysWhatItCannotDo(t *testing.T) {
	a, b := []float64{3, 5, 4, 9, 2, 7}, []float64{1, 2, 4, 4, 2, 3}
	one, err := Bootstrap{0.95, 500, 1}.Difference(a, b)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := Bootstrap{0.95, 500, 1}.Difference(a, b)
	if one != again || !one.Contains(14.0/6) || one.Lo >= one.Hi {
		t.Errorf("%v, again %v", one, again)
	}
	if c, err := (Bootstrap{0.95, 100, 1}).Difference([]float64{3, 4, 5}, []float64{1, 2, 3}); err != nil || c != (Interval{2, 2}) {
		t.Errorf("a constant difference: %v, %v", c, err)
	}
	for _, o := range []struct {
		o    Bootstrap
		a, b []float64
	}{
		{Bootstrap{0.95, 10, 1}, a, b[:2]}, {Bootstrap{0.95, 10, 1}, nil, nil}, {Bootstrap{1, 10, 1}, a, b}, {Bootstrap{0.95, 0, 1}, a, b},
	} {
		if i, err := o.o.Difference(o.a, o.b); err == nil {
			t.Errorf("%+v gives %v", o.o, i)
		}
	}
}
