package base

import (
	"slices"

	"retort/student/model"
)

// The other way of reading, for whoever writes a model as these files have it.

// Halves are the values of a tensor of a model of c with heads in halves: a copy where
// that differs.
func Halves(c model.Config, t model.Tensor) []float32 {
	if c.KVHeads == 0 || !rotated(t.Name) {
		return t.Data
	}
	data := slices.Clone(t.Data)
	halve(data, c.RopeDim, len(data)/t.Shape[0])
	return data
}

// Neighbours reorders the values of the tensor of that name and shape of a model of c,
// read with heads in halves, to what the model has.
func Neighbours(c model.Config, name string, shape []int, data []float32) {
	if c.KVHeads > 0 && rotated(name) {
		interleave(data, c.RopeDim, len(data)/shape[0])
	}
}

// GGUFName is how GGUF's llama, qwen2 and qwen3 name a tensor of grouped-query
// attention; "" if they have no such tensor.
func GGUFName(name string) string { return ggufName(name) }
