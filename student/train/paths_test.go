package train

import (
	"fmt"
	"math"
	"testing"

	"retort/internal/kernel"
)

// Two hundred steps give the same weights with any number of threads, with each
// instruction set, and the first steps about the same losses with all of them:
// within 1e-4 in float32 of a dense student, whose rounding nothing amplifies yet.
func TestTwoHundredStepsOnEveryPath(t *testing.T) {
	was := kernel.Active()
	defer kernel.Use(was)
	first := map[string][]float64{} // losses by student and precision, of the first path
	for _, isa := range kernel.Available() {
		if err := kernel.Use(isa); err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			moe, precision := i%2 == 1, []string{"fp32", "bf16"}[i/2]
			if testing.Short() && isa == kernel.Portable && i > 0 {
				continue
			}
			name := fmt.Sprintf("experts %v, %s", moe, precision)
			var hash string
			var losses []float64
			for _, threads := range []int{1, 2, 4} {
				losses = losses[:0]
				p := kernel.NewPool(threads)
				res, err := SFT(t.Context(), small(t, moe), p, copies(2400, 1), Options{Epochs: 1, BatchTokens: 120, Precision: precision},
					func(p Progress) { losses = append(losses, p.Loss) })
				p.Close()
				if err != nil {
					t.Fatal(err)
				}
				if len(losses) < 200 {
					t.Fatalf("%d steps", len(losses))
				}
				if hash == "" {
					hash = res.Hash
				}
				if res.Hash != hash {
					t.Errorf("%v, %s: other weights after %d steps with %d threads", isa, name, len(losses), threads)
				}
			}
			if first[name] == nil {
				first[name] = append([]float64(nil), losses...)
			}
			for step := range 20 {
				if d := math.Abs(losses[step] - first[name][step]); d > 1e-4 && !moe && precision == "fp32" {
					t.Errorf("%v, %s: the loss of step %d is off by %v", isa, name, step+1, d)
				}
			}
		}
	}
}
