package stat

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Under exchangeability P(p ≤ t) ≤ t, over draws of calibration and test score.
func TestConformalPHoldsItsLevelUnderTheNull(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const runs, n = 20_000, 99
	levels := []float64{0.01, 0.05, 0.1, 0.5}
	count := make([]int, len(levels))
	for range runs {
		cal := make([]float64, n)
		for i := range cal {
			cal[i] = math.Round(4*rng.NormFloat64()) / 4 // with ties
		}
		slices.Sort(cal)
		p := ConformalP(cal, math.Round(4*rng.NormFloat64())/4)
		for i, l := range levels {
			if p <= l {
				count[i]++
			}
		}
	}
	for i, l := range levels {
		if most := AtMost(runs, l, 0.999); count[i] > most {
			t.Errorf("p ≤ %v in %d of %d runs; at most %d were to be expected", l, count[i], runs, most)
		}
	}
	if count[3] < runs/3 {
		t.Errorf("p ≤ 0.5 in %d of %d runs: the p-value is of no use", count[3], runs)
	}
}

func TestSizesAreThoseOfTheRules(t *testing.T) {
	for _, c := range []struct {
		level        float64
		attain, hold int
	}{{1e-3, 999, 2995}, {1e-4, 9999, 29956}, {0.01, 99, 299}} {
		if got := SizeToAttain(c.level); got != c.attain {
			t.Errorf("to attain %v it takes %d, not %d", c.level, c.attain, got)
		}
		if got := SizeToHold(c.level, 0.95); got != c.hold {
			t.Errorf("to hold %v it takes %d, not %d", c.level, c.hold, got)
		}
	}
}

// The lifetime e-value: its mean is at most 1 and it reaches 1/level with
// probability at most the level, with one score a look that depend on each other.
func TestTheLifetimeLevelHoldsUnderTheNull(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	const level, runs, n = 0.05, 4_000, 99
	meant := []float64{0.4, 0.3, 0.2, 0.1}
	plan, err := PlanLooks(level, []int{n, n, n, n}, meant)
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for i, l := range plan {
		total += l.Weight
		if l.Level > 0 && l.Level < 1/float64(n+1) {
			t.Errorf("look %d has the level %v, which %d scores cannot attain", i, l.Level, n)
		}
	}
	if total > 1+1e-9 {
		t.Errorf("the weights come to %v", total)
	}
	alarms, sum := 0, 0.0
	person := func() [4]float64 {
		var s [4]float64
		base := rng.NormFloat64()
		for k := range s {
			s[k] = base + 0.5*rng.NormFloat64()
		}
		return s
	}
	for range runs {
		var cal [4][]float64
		for range n {
			for k, v := range person() {
				cal[k] = append(cal[k], v)
			}
		}
		e := 0.0
		for k, v := range person() {
			slices.Sort(cal[k])
			e += plan[k].Weight * plan[k].E(ConformalP(cal[k], v))
		}
		sum += e
		if e >= 1/level-1e-9 {
			alarms++
		}
	}
	if most := AtMost(runs, level, 0.999); alarms > most {
		t.Errorf("%d alarms in %d lives; at most %d were to be expected", alarms, runs, most)
	}
	if mean := sum / runs; mean > 1.25 {
		t.Errorf("the mean e-value of innocent accounts is %v", mean)
	}
	if alarms == 0 {
		t.Error("the level is never used: no power")
	}
}

func TestLooksThatCannotReachTheirLevelHaveNone(t *testing.T) {
	plan, err := PlanLooks(1e-3, []int{2995, 2995, 100, 0}, []float64{0.4, 0.3, 0.2, 0.1})
	if err != nil {
		t.Fatal(err)
	}
	if plan[0].Level < 1/2996.0 || plan[1].Level < 1/2996.0 || plan[2].Level != 0 || plan[3].Level != 0 {
		t.Errorf("the plan is %+v", plan)
	}
	if _, err := PlanLooks(2, nil, nil); err == nil {
		t.Error("a level of 2 is accepted")
	}
}

// Among exchangeable groups the rule "flag what is above all decoys" has e-values of
// mean at most 1.
func TestDecoyEHasMeanAtMostOneUnderTheNull(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const runs, n = 40_000, 40
	sum := 0.0
	for range runs {
		mine, flagged := rng.ExpFloat64(), 0
		for range n {
			if rng.ExpFloat64() >= mine {
				flagged++
			}
		}
		if flagged <= 2 { // the rule that flags the highest three of all
			sum += DecoyE(n, 2)
		}
	}
	if mean := sum / runs; mean > 1.1 {
		t.Errorf("the mean e-value is %v", mean)
	}
	if DecoyE(353, 0) != 354 || DecoyE(450, 1) != 225.5 || DecoyE(-1, 0) != 0 {
		t.Error("the e-value is not (n + 1)/(1 + flagged)")
	}
}

// Drift of the bulk is found, a campaign on top is not drift, and no drift is found
// where there is none.
func TestBulkDriftHoldsItsLevelAndIgnoresTheTop(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	draw := func(n int, shift float64) []float64 {
		s := make([]float64, n)
		for i := range s {
			s[i] = rng.NormFloat64() + shift
		}
		slices.Sort(s)
		return s
	}
	const runs = 1500
	below := 0
	for range runs {
		if BulkDrift(draw(1000, 0), draw(400, 0), 0.8) <= 0.05 {
			below++
		}
	}
	if most := AtMost(runs, 0.05, 0.999); below > most {
		t.Errorf("drift found in %d of %d runs without any; at most %d were to be expected", below, runs, most)
	}
	if below < runs/200 {
		t.Errorf("drift found in %d of %d runs: the test cannot fail", below, runs)
	}
	if p := BulkDrift(draw(1000, 0), draw(400, 1), 0.8); p > 1e-4 {
		t.Errorf("a drift of one standard deviation has p = %v", p)
	}
	mixed := append(draw(400, 0), draw(100, 9)...)
	slices.Sort(mixed)
	if p := BulkDrift(draw(1000, 0), mixed, 0.8); p < 0.001 {
		t.Errorf("a campaign on top of ordinary scores has p = %v", p)
	}
}

func TestAtMostIsTheBinomialQuantile(t *testing.T) {
	if got := AtMost(10_000, 1e-3, 0.99); got != 18 {
		t.Errorf("of 10,000 at 10⁻³ at most %d, not 18", got)
	}
	if got := AtMost(200, 0.05, 0.99); got != 18 {
		t.Errorf("of 200 at 5%% at most %d, not 18", got)
	}
}
