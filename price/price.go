// Package price says what a token costs: prices per model and provider, in
// integer pico-dollars, each valid from a date, and the most that a request
// can cost before it is sent.
//
// It fetches nothing and knows few prices, since prices change by the hour and
// the endpoint: what it does not know is refused with ErrUnknown and the line
// to write into the recipe. It keeps no account of what was spent; meter does.
//
// Units: a Pico is 10⁻¹² US dollars. One US dollar per million tokens is
// 1,000,000 pico-dollars a token, so list prices with up to six decimal places
// are exact.
package price

import (
	"fmt"
	"math"
	"math/bits"

	"retort/exchange"
)

// Price is what the tokens of one model cost, in pico-dollars per token.
type Price struct {
	ID          string        // the price-book entry, as recorded with every exchange
	Input       exchange.Pico // a token of the request
	CachedInput exchange.Pico // a token of the request that the provider had in its cache
	Output      exchange.Pico // a token of the answer, its reasoning included

	// CacheWrite and CacheWriteLong are what a token of the request costs that
	// the provider writes to its cache, for minutes or for an hour and longer;
	// 0 means that it costs as much as any other.
	CacheWrite, CacheWriteLong exchange.Pico
}

// PerMillion makes a price of US dollars per million tokens, as providers list
// them. A cached price that is negative means that cached tokens cost the same
// as others.
func PerMillion(id string, in, cached, out float64) (Price, error) {
	if cached < 0 {
		cached = in
	}
	p := Price{ID: id}
	for _, f := range []struct {
		name string
		usd  float64
		to   *exchange.Pico
	}{{"input", in, &p.Input}, {"cached_input", cached, &p.CachedInput}, {"output", out, &p.Output}} {
		v := math.Round(f.usd * 1e6)
		if math.IsNaN(v) || v < 0 || v > 1e12 {
			return Price{}, fmt.Errorf("price %s: %s is %v, must be between 0 and 1000000 US dollars per million tokens", id, f.name, f.usd)
		}
		if f.usd > 0 && math.Abs(v-f.usd*1e6) > 1e-3 {
			return Price{}, fmt.Errorf("price %s: %s is %v, which is finer than 0.000001 US dollars per million tokens", id, f.name, f.usd)
		}
		*f.to = exchange.Pico(v)
	}
	return p, nil
}

// Free reports whether no token costs anything.
func (p Price) Free() bool { return p.Input == 0 && p.CachedInput == 0 && p.Output == 0 }

// Cost is what an exchange with this usage costs. An amount beyond what a Pico
// holds becomes the largest Pico, so that a hostile count never wraps around
// into a small one; negative counts count as zero.
func (p Price) Cost(u exchange.Usage) exchange.Pico {
	rest := max(u.Input, 0)
	part := func(n int64) int64 { // no more of the input than there is
		n = min(max(n, 0), rest)
		rest -= n
		return n
	}
	sum := mulSat(p.CachedInput, part(u.CachedInput))
	sum = addSat(sum, mulSat(p.write(), part(u.CacheWrite)))
	sum = addSat(sum, mulSat(p.writeLong(), part(u.CacheWriteLong)))
	return addSat(addSat(sum, mulSat(p.Input, rest)), mulSat(p.Output, u.Output))
}

// Worst is the most that a request can cost whose input is at most inputUpper
// tokens and whose answers are together at most outputUpper.
func (p Price) Worst(inputUpper, outputUpper int64) exchange.Pico {
	return addSat(mulSat(max(p.Input, p.CachedInput, p.write(), p.writeLong()), inputUpper), mulSat(p.Output, outputUpper))
}

func (p Price) write() exchange.Pico {
	if p.CacheWrite == 0 {
		return p.Input
	}
	return p.CacheWrite
}

func (p Price) writeLong() exchange.Pico {
	if p.CacheWriteLong == 0 {
		return p.write()
	}
	return p.CacheWriteLong
}

const most = exchange.Pico(math.MaxInt64)

func mulSat(p exchange.Pico, n int64) exchange.Pico {
	if n <= 0 || p <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(p), uint64(n))
	if hi != 0 || lo > math.MaxInt64 {
		return most
	}
	return exchange.Pico(lo)
}

func addSat(a, b exchange.Pico) exchange.Pico {
	if a > most-b {
		return most
	}
	return a + b
}
