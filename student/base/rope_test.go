package base

import (
	"math"
	"testing"

	"retort/student/model"
)

func TestTheRuleOfRotaryFactorsIsFound(t *testing.T) {
	for _, test := range []struct {
		name  string
		head  int
		theta float64
		rule  RopeScaling
	}{
		{"Llama 3.1", 128, 5e5, RopeScaling{"llama3", 8, 1, 4, 8192}},
		{"Llama 3.2", 64, 5e5, RopeScaling{"llama3", 32, 1, 4, 8192}},
		{"other bounds", 96, 1e4, RopeScaling{"llama3", 3, 2, 11, 777}},
		{"one wave between", 32, 500, RopeScaling{"llama3", 8, 1, 4, 64}},
		{"no wave between", 8, 1e6, RopeScaling{"llama3", 8, 1, 4, 1000}},
		{"linear", 64, 1e4, RopeScaling{Type: "linear", Factor: 2.5}},
		{"one", 64, 1e4, RopeScaling{Type: "linear", Factor: 1}},
	} {
		c := model.Config{RopeDim: test.head, RopeTheta: test.theta}
		want, err := test.rule.factors(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, noise := range []float64{0, 1e-7} { // what a file has that was computed in single precision
			given := make([]float32, len(want))
			for i, f := range want {
				given[i] = f
				if f != 1 && float64(f) != test.rule.Factor {
					given[i] = float32(float64(f) * (1 + noise*math.Sin(float64(i))))
				}
			}
			got, ok := RopeScalingOf(c, given)
			if !ok || got.Type != test.rule.Type || !got.gives(c, want) {
				t.Errorf("%s: found %+v (%v), want %+v", test.name, got, ok, test.rule)
			}
			if test.rule.Low == 1 && test.rule.Original == 8192 && got != test.rule {
				t.Errorf("%s: found %+v, want the same numbers", test.name, got)
			}
		}
	}
	c := model.Config{RopeDim: 8, RopeTheta: 100}
	for _, factors := range [][]float32{{1, 3, 2, 5}, {1, 1, 1, 0.5}, {4, 1, 4, 4}, {1, 1, float32(math.NaN()), 2}} {
		if got, ok := RopeScalingOf(c, factors); ok {
			t.Errorf("%v are taken for %+v", factors, got)
		}
	}
}
