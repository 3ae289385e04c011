package exchange

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
)

// Pico is money: an integer number of 10⁻¹² US dollars. One exchange fits in
// 64 bits (up to 9.2 million dollars); sums are kept in a PicoSum.
type Pico int64

// Dollar is one US dollar.
const Dollar Pico = 1_000_000_000_000

// Dollars converts an amount given in a recipe. It refuses what is not a
// finite amount in range, since money is never rounded silently to a bound.
func Dollars(usd float64) (Pico, error) {
	v := math.Round(usd * float64(Dollar))
	if math.IsNaN(v) || v < 0 || v >= math.MaxInt64 {
		return 0, fmt.Errorf("%v is not an amount in US dollars between 0 and %d", usd, math.MaxInt64/int64(Dollar))
	}
	return Pico(v), nil
}

// USD returns the amount as a number of dollars, for JSON and display only.
func (p Pico) USD() float64 { return float64(p) / float64(Dollar) }

// String prints the exact amount in dollars, at least to the cent.
func (p Pico) String() string {
	var s PicoSum
	s.Add(p)
	return s.String()
}

// PicoSum adds amounts in 128 bits (two's complement). The zero value is zero.
type PicoSum struct {
	hi int64
	lo uint64
}

// Add adds p.
func (s *PicoSum) Add(p Pico) {
	lo, carry := bits.Add64(s.lo, uint64(p), 0)
	s.lo = lo
	s.hi += int64(p>>63) + int64(carry) // p>>63 is the sign extension: 0 or -1
}

// AddSum adds another sum.
func (s *PicoSum) AddSum(t PicoSum) {
	lo, carry := bits.Add64(s.lo, t.lo, 0)
	s.lo = lo
	s.hi += t.hi + int64(carry)
}

// Cmp compares two sums: -1, 0 or +1.
func (s PicoSum) Cmp(t PicoSum) int {
	switch {
	case s.hi < t.hi || s.hi == t.hi && s.lo < t.lo:
		return -1
	case s == t:
		return 0
	}
	return 1
}

// Big returns the sum as a big integer of pico-dollars.
func (s PicoSum) Big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(s.hi), 64)
	return b.Add(b, new(big.Int).SetUint64(s.lo))
}

// USD returns the sum as a number of dollars, for JSON and display only.
func (s PicoSum) USD() float64 {
	f, _ := new(big.Rat).SetFrac(s.Big(), big.NewInt(int64(Dollar))).Float64()
	return f
}

// String prints the exact amount in dollars, at least to the cent.
func (s PicoSum) String() string {
	b := s.Big()
	sign := ""
	if b.Sign() < 0 {
		sign = "-"
		b.Neg(b)
	}
	q, r := new(big.Int).QuoRem(b, big.NewInt(int64(Dollar)), new(big.Int))
	frac := strings.TrimRight(fmt.Sprintf("%012d", r), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s$%s.%s", sign, q, frac)
}
