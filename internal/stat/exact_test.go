package stat

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

func TestExactBoundsErrNoOftenerThanTheySay(t *testing.T) {
	for _, n := range []int{1, 7, 30, 200} {
		for p := 0.01; p < 1; p += 0.07 {
			b := distuv.Binomial{N: float64(n), P: p}
			low, high := 0.0, 0.0
			for k := 0; k <= n; k++ {
				if LowerBound(k, n, 0.95) > p {
					low += b.Prob(float64(k))
				}
				if UpperBound(k, n, 0.95) < p {
					high += b.Prob(float64(k))
				}
			}
			if low > 0.05+1e-9 || high > 0.05+1e-9 {
				t.Errorf("n %d, p %.2f: the bounds err with %.4f and %.4f", n, p, low, high)
			}
			if n == 200 && (low < 0.01 || high < 0.01) && p > 0.1 && p < 0.9 {
				t.Errorf("n %d, p %.2f: the bounds err with %.4f and %.4f: they are useless", n, p, low, high)
			}
		}
	}
	for _, c := range []struct{ got, want float64 }{
		{LowerBound(30, 30, 0.95), math.Pow(0.05, 1./30)}, {UpperBound(0, 30, 0.95), 1 - math.Pow(0.05, 1./30)},
		{LowerBound(0, 5, 0.95), 0}, {UpperBound(5, 5, 0.95), 1}, {LowerBound(0, 0, 0.95), 0}, {UpperBound(0, 0, 0.95), 1},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
}
