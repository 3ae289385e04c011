package recipe

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"retort/exchange"
	"retort/price"
)

func TestApportionGivesEachSourceItsShare(t *testing.T) {
	for _, c := range []struct {
		n     int
		sizes []int
		want  []int
	}{
		{20, []int{100, 100}, []int{10, 10}},
		{6, []int{150, 175, 275}, []int{1, 2, 3}},
		{2, []int{1000, 10, 10}, []int{1, 1, 1}}, // one of each at least
		{50, []int{3, 0, 10}, []int{3, 0, 10}},   // no more than there is
		{10, []int{1, 99}, []int{1, 9}},
	} {
		if got := apportion(c.n, c.sizes); !slices.Equal(got, c.want) {
			t.Errorf("apportion(%d, %v) = %v, want %v", c.n, c.sizes, got, c.want)
		}
	}
}

func TestFitKeepsASlopeOnlyWhereThereIsOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var x, sloped, flat []float64
	for range 60 {
		v := 50 + 200*rng.Float64()
		x = append(x, v)
		sloped = append(sloped, 12+0.25*v+rng.NormFloat64())
		flat = append(flat, 80+10*rng.NormFloat64())
	}
	l := fit(x, sloped)
	if math.Abs(l.slope-0.25) > 0.01 {
		t.Errorf("slope %v", l.slope)
	}
	// 100 points with a mean of 300, beyond what was seen.
	sum, variance := l.sum(100, 30000)
	if want := 100 * (12 + 0.25*300); math.Abs(sum-want) > 3*math.Sqrt(variance) || variance <= 100 {
		t.Errorf("sum %v ± %v, want %v", sum, math.Sqrt(variance), want)
	}
	if l := fit(x, flat); l.slope != 0 {
		t.Errorf("a slope of %v where there is none", l.slope)
	}
	if l := fit([]float64{5, 5, 5}, []float64{1, 2, 3}); l.slope != 0 || l.at != 2 {
		t.Errorf("equal x: %+v", l)
	}
	if v, _ := fit([]float64{1}, []float64{7}).sum(3, 3); v != 21 {
		t.Errorf("one point: %v", v)
	}
}

// The interval must hold what it says: 95% of the sums that come.
func TestThePredictionIntervalHoldsWhatItSays(t *testing.T) {
	p, err := price.PerMillion("p", 1, -1, 4)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	draw := func() observation {
		bytes := 100 + 300*rng.Float64()
		return observation{bytes: bytes, input: math.Round(8 + bytes/4), output: math.Round(20 + 120*rng.Float64()), accepted: true, worst: 1e9}
	}
	const rounds = 400
	inside, bias := 0, 0.0
	for range rounds {
		var f forecast
		for range 24 {
			f.seen = append(f.seen, draw())
		}
		real := 0.0
		for range 300 {
			o := draw()
			f.want.n++
			f.want.bytes += o.bytes
			real += float64(p.Cost(usage(o))) / float64(exchange.Dollar)
		}
		e := &Estimate{Answers: 24}
		e.add([]forecast{f}, forecast{seen: f.seen}, p)
		if e.CI[0] <= real && real <= e.CI[1] {
			inside++
		}
		bias += e.USD/real - 1
	}
	if share := float64(inside) / rounds; share < 0.91 || share > 0.99 {
		t.Errorf("a 95%% interval holds %.1f%%", 100*share)
	}
	if bias /= rounds; math.Abs(bias) > 0.01 {
		t.Errorf("predictions are off by %.2f%% on the mean", 100*bias)
	}
}

func TestWhatAttemptsCostThatCameToNothingIsExpectedAgain(t *testing.T) {
	p, err := price.PerMillion("p", 1, -1, 1)
	if err != nil {
		t.Fatal(err)
	}
	var f forecast
	for i := range 20 {
		o := observation{bytes: 100, input: 25, output: 25, worst: 1000e6, accepted: true}
		if i == 0 {
			o.excess = 1000e6 // one attempt of twenty was charged its worst case
		}
		f.seen = append(f.seen, o)
	}
	f.want = demand{n: 100, bytes: 10000, worst: 100 * 1000e6}
	e := &Estimate{Answers: 20}
	e.add([]forecast{f}, f, p)
	if want := (100*50 + 5*1000) * 1e-6; math.Abs(e.USD-want) > 1e-9 {
		t.Errorf("$%v expected, want $%v", e.USD, want)
	}
}

func usage(o observation) (u exchange.Usage) {
	u.Input, u.Output = int64(o.input), int64(o.output)
	return u
}

func TestAcceptanceIsNeverNothing(t *testing.T) {
	none := make([]observation, 20)
	if a := acceptance(none); a <= 0 || a > 0.05 {
		t.Errorf("nothing accepted of 20: %v", a)
	}
	all := []observation{{accepted: true}, {accepted: true}}
	if a := acceptance(all); a != 1 {
		t.Errorf("all accepted: %v", a)
	}
}
