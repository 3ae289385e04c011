package price

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"retort/exchange"
)

func TestListPricesAreExact(t *testing.T) {
	p, err := PerMillion("x", 0.15, 0.075, 0.6)
	if err != nil || p.Input != 150_000 || p.CachedInput != 75_000 || p.Output != 600_000 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := PerMillion("x", 0.15, -1, 0.6); err != nil || p.CachedInput != p.Input {
		t.Errorf("without a cached price: %+v, %v", p, err)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), -1, 2e6, 0.0000001} {
		if p, err := PerMillion("x", bad, 0, 0); err == nil {
			t.Errorf("%v became %+v", bad, p)
		}
	}
}

func TestCostAgreesWithBigIntegersAndNeverWraps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, name) }
		p := Price{Input: exchange.Pico(n("in", 1e12)), Output: exchange.Pico(n("out", 1e12))}
		p.CachedInput = exchange.Pico(n("cached", int64(p.Input)))
		u := exchange.Usage{Input: n("inputs", 1<<40), Output: n("outputs", 1<<40)}
		u.CachedInput = n("hits", u.Input)
		sum := new(big.Int)
		for _, f := range [][2]int64{{int64(p.Input), u.Input - u.CachedInput}, {int64(p.CachedInput), u.CachedInput}, {int64(p.Output), u.Output}} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(f[0]), big.NewInt(f[1])))
		}
		if !sum.IsInt64() {
			sum.SetInt64(math.MaxInt64)
		}
		got := p.Cost(u)
		if sum.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("%+v of %+v costs %d, want %v", p, u, got, sum)
		}
		if worst := p.Worst(u.Input, u.Output); worst < got {
			t.Fatalf("worst %d is below the cost %d", worst, got)
		}
	})
}

func TestHostileCountsCostNothingNegative(t *testing.T) {
	p := Price{Input: 3, CachedInput: 1, Output: 5}
	if c := p.Cost(exchange.Usage{Input: -5, CachedInput: math.MaxInt64, Output: math.MinInt64}); c != 0 {
		t.Errorf("cost %d", c)
	}
}
