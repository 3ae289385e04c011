package model

import (
	"math"
	"strings"
	"testing"
)

func TestAModelIsASourceOfItself(t *testing.T) {
	for _, change := range []func(*Config){func(c *Config) { c.QLoraRank = 7 }, grouped, experts} {
		m := testModel(t, odd(change), 3)
		got, err := FromTensors(m.Config(), m.Load)
		if err != nil {
			t.Fatal(err)
		}
		if got.Hash() != m.Hash() {
			t.Error("another model comes of what it hands out")
		}
		if hash, err := HashOf(struct{ Source }{m}); err != nil || hash != m.Hash() {
			t.Errorf("by tensors it is %s (%v), as a whole %s", hash, err, m.Hash())
		}
	}
	m := testModel(t, odd(grouped), 3)
	if err := m.Load("model.norm.bias", []int{1}, make([]float32, 1)); err == nil || !strings.Contains(err.Error(), "no tensor model.norm.bias") {
		t.Errorf("of a tensor that it lacks the error is %v", err)
	}
	if err := m.Load("model.norm.weight", []int{1}, make([]float32, 1)); err == nil || !strings.Contains(err.Error(), "not [1]") {
		t.Errorf("of another shape the error is %v", err)
	}
	m.w.norm[0] = float32(math.NaN())
	if _, err := HashOf(struct{ Source }{m}); err == nil || !strings.Contains(err.Error(), "element 0 is NaN") {
		t.Errorf("of what is no number the error is %v", err)
	}
}
