package base

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/internal/kernel"
	"retort/internal/modelfile"
)

// blocksAreNumbers holds a base's blocks against its numbers, and returns how many
// matrices lie in blocks.
func blocksAreNumbers(t *testing.T, b *Base) (count int) {
	t.Helper()
	for _, x := range b.Config().Tensors() {
		kind, rows, err := b.Blocks(x.Name, x.Shape)
		if err != nil {
			t.Fatalf("%s: %v", x.Name, err)
		}
		if kind == 0 {
			continue
		}
		count++
		n, width := x.Shape[0], x.Shape[1]
		got, want := make([]float32, n*width), make([]float32, n*width)
		w := kernel.NewBlockWeights(kind, n, width, rows)
		for i := range n {
			w.Row(got[i*width:][:width], i)
		}
		if err := b.Load(x.Name, x.Shape, want); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s in %v stands for other numbers than Load gives", b.Architecture, x.Name, kind)
		}
	}
	return count
}

// Experts lie side by side in a file of latent attention.
func TestBlocksOfALatentFileAreItsNumbers(t *testing.T) {
	c := config(deepSeek)
	c.Hidden, c.QLoraRank, c.KVLoraRank, c.Intermediate, c.MoEIntermediate, c.Heads, c.VDim = 64, 32, 32, 96, 32, 4, 8
	src := latentSource{config: c}
	var all []modelfile.Tensor
	at := map[string]int{} // of what experts share
	for i, x := range newModel(t, c).Tensors() {
		if strings.Contains(x.Name, "kv_b_proj") {
			k, v := DivideKVB(c, x.Data)
			blk := "blk." + strings.Split(x.Name, ".")[2]
			keys, values := KVBShapes(c)
			all = append(all, modelfile.Tensor{Name: blk + ".attn_k_b.weight", Shape: keys, Type: modelfile.F32, Data: k},
				modelfile.Tensor{Name: blk + ".attn_v_b.weight", Shape: values, Type: modelfile.Q8_0, Data: v})
			continue
		}
		file, expert := src.place(x.Name)
		if expert > 0 {
			to := &all[at[file]]
			to.Data = append(slices.Clone(to.Data), x.Data...)
			continue
		}
		to := modelfile.Tensor{Name: file, Shape: x.Shape, Type: modelfile.F32, Data: x.Data}
		if expert == 0 {
			at[file], to.Shape = len(all), append([]int{c.RoutedExperts}, x.Shape...)
		}
		if len(x.Shape) == 2 && x.Shape[1]%32 == 0 && !strings.Contains(x.Name, "mlp.gate.") {
			to.Type = []modelfile.Type{modelfile.Q8_0, modelfile.Q4_0, modelfile.Q4_1}[i%3]
		}
		all = append(all, to)
	}
	pairs := metadata(latentFamily, c)
	for name, v := range map[string]any{
		"attention.kv_lora_rank": uint32(c.KVLoraRank), "attention.q_lora_rank": uint32(c.QLoraRank), "rope.dimension_count": uint32(c.RopeDim),
		"attention.key_length_mla": uint32(c.NopeDim + c.RopeDim), "attention.value_length_mla": uint32(c.VDim), "leading_dense_block_count": uint32(c.DenseLayers),
		"expert_count": uint32(c.RoutedExperts), "expert_used_count": uint32(c.TopK), "expert_shared_count": uint32(c.SharedExperts),
		"expert_feed_forward_length": uint32(c.MoEIntermediate), "expert_weights_scale": float32(c.RoutedScale), "expert_gating_func": uint32(2), "expert_weights_norm": true,
	} {
		pairs = append(pairs, modelfile.KV{Key: latentFamily + "." + name, Value: v})
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	create(t, path, func(w io.Writer) error { return modelfile.WriteGGUF(w, pairs, all) })
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := blocksAreNumbers(t, b); n < 3*c.RoutedExperts+8 || !b.InBlocks() {
		t.Errorf("%d matrices lie in blocks", n)
	}
}

// Rows of blocks stand for the numbers that Load gives, in the same order.
func TestBlocksOfAFileAreItsNumbers(t *testing.T) {
	for _, k := range kinds {
		if k.family == "" {
			continue
		}
		c := k.config
		c.Hidden, c.Heads, c.KVHeads, c.RopeDim, c.VDim, c.Intermediate = 64, 4, 2, 8, 8, 96
		all := tensors(newModel(t, c), k.halves, ggufName)
		count := 0
		for i, x := range all {
			if len(x.Shape) == 2 && x.Shape[1]%32 == 0 && i%5 > 0 {
				all[i].Type = []modelfile.Type{modelfile.Q8_0, modelfile.Q4_0, modelfile.Q4_1}[i%3]
				count++
			}
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		create(t, path, func(w io.Writer) error { return modelfile.WriteGGUF(w, metadata(k.family, c), all) })
		b, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		count -= blocksAreNumbers(t, b)
		if count != 0 {
			t.Errorf("%s: %d matrices more lie in blocks than are handed out", k.family, count)
		}
		if _, _, err := b.Blocks("model.layers.0.mlp.up_proj.weight", []int{96, 32}); err == nil {
			t.Error("blocks of another shape are handed out")
		}
		whole, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if kind, rows, err := whole.Blocks("model.layers.0.mlp.up_proj.weight", []int{96, 64}); kind != 0 || rows != nil || err != nil {
			t.Errorf("what was read whole hands out %v, %d bytes, %v", kind, len(rows), err)
		}
	}
}
