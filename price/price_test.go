package price

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

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

func TestWhatIsWrittenToACacheHasAPriceOfItsOwn(t *testing.T) {
	p := Price{Input: 100, CachedInput: 10, Output: 1000, CacheWrite: 125, CacheWriteLong: 200}
	u := exchange.Usage{Input: 60, CachedInput: 30, CacheWrite: 20, CacheWriteLong: 5, Output: 1}
	if got, want := p.Cost(u), exchange.Pico(30*10+20*125+5*200+5*100+1000); got != want {
		t.Errorf("cost %d, want %d", got, want)
	}
	plain := Price{Input: 100, CachedInput: 10, Output: 1000}
	if got, want := plain.Cost(u), exchange.Pico(30*10+30*100+1000); got != want {
		t.Errorf("without a price of their own: cost %d, want %d", got, want)
	}
	short := exchange.Request{MaxTokens: 1, Params: []byte(`{"cache_control":{"type":"ephemeral"}}`)}
	long := exchange.Request{MaxTokens: 1, Params: []byte(`{"cache_control":{"type":"ephemeral","ttl":"1h"}}`)}
	if got, want := p.WorstOf(short, 1), exchange.Pico(InputBound(short)*125+1000); got != want {
		t.Errorf("worst case %d, want %d", got, want)
	}
	if got, want := p.WorstOf(long, 1), exchange.Pico(InputBound(long)*200+1000); got != want {
		t.Errorf("worst case for an hour %d, want %d", got, want)
	}
	if got := p.Cost(exchange.Usage{Input: 3, CachedInput: 2, CacheWrite: 9, CacheWriteLong: 9}); got != 2*10+125 {
		t.Errorf("more written than there was: %d", got)
	}
}

func TestHostileCountsCostNothingNegative(t *testing.T) {
	p := Price{Input: 3, CachedInput: 1, Output: 5}
	if c := p.Cost(exchange.Usage{Input: -5, CachedInput: math.MaxInt64, Output: math.MinInt64}); c != 0 {
		t.Errorf("cost %d", c)
	}
}

func TestThePriceOfTheDayIsFound(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC) }
	b, err := NewBook(
		Entry{"p", "m", day(10), Price{ID: "second"}},
		Entry{"p", "m", day(1), Price{ID: "first"}},
		Entry{"p", AnyModel, day(5), Price{ID: "any"}},
		Entry{"q", "m", day(20), Price{ID: "other"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		provider, model string
		at              time.Time
		want            string
	}{
		{"p", "m", day(1), "first"}, {"p", "m", day(10).Add(-1), "first"}, {"p", "m", day(10), "second"}, {"p", "m", day(30), "second"},
		{"p", "x", day(5), "any"}, {"p", "x", day(4), ""}, {"q", "m", day(19), ""}, {"q", "m", day(21), "other"}, {"z", "m", day(21), ""},
	} {
		got, err := b.Lookup(c.provider, c.model, c.at)
		if got.ID != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s of %s on %s: %q, %v, want %q", c.model, c.provider, c.at, got.ID, err, c.want)
		}
		if err != nil && (!errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "price: {input:")) {
			t.Errorf("error does not say what to write: %v", err)
		}
	}
	if _, err := NewBook(Entry{"p", "m", day(1), Price{ID: "a"}}, Entry{"p", "m", day(1), Price{ID: "b"}}); err == nil {
		t.Error("two prices for one day were accepted")
	}
}

func TestDefaultBook(t *testing.T) {
	p, err := Default().Lookup(Reference, "anything", time.Now())
	if err != nil || p.Free() || p.Input%1000 == 0 && p.Output%1000 == 0 || p.Input%100_000 == 0 {
		t.Errorf("the reference teacher's price %+v, %v should be neither zero nor round", p, err)
	}
	if p, err := Default().Lookup(SelfHosted, "mine", time.Now()); err != nil || !p.Free() {
		t.Errorf("self-hosted: %+v, %v", p, err)
	}
	if _, err := Default().Lookup("loopback", "mine", time.Now()); !errors.Is(err, ErrUnknown) {
		t.Errorf("an address alone is no statement that it costs nothing: %v", err)
	}
}

func TestInputBoundCoversTextThatNormalisationLengthens(t *testing.T) {
	ask := func(s string) int64 {
		return InputBound(exchange.Request{Messages: []exchange.Message{{Role: "user", Content: s}}})
	}
	base := ask("")
	for s, want := range map[string]int64{"abc": 3, "\u00e9": 3, "\ufdfa": 33, "\xff": 3, "\U0001d160": 12} {
		if got := ask(s) - base; got != want {
			t.Errorf("%q counts as %d bytes, want %d", s, got, want)
		}
	}
	plain := InputBound(exchange.Request{Params: []byte(`{"top_k":1}`)})
	tools := InputBound(exchange.Request{Params: []byte(`{"tools":[]}`)})
	if tools-plain < 1000 {
		t.Errorf("tools add only %d tokens", tools-plain)
	}
	p := Price{Input: 2, CachedInput: 1, Output: 5}
	if got, want := p.WorstOf(exchange.Request{MaxTokens: 7}, 3), exchange.Pico(2*perRequest+5*21); got != want {
		t.Errorf("worst case %d, want %d", got, want)
	}
}
