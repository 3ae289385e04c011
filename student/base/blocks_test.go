package base

import (
	"io"
	"path/filepath"
	"slices"
	"testing"

	"retort/internal/kernel"
	"retort/internal/modelfile"
)

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
		for _, x := range c.Tensors() {
			kind, rows, err := b.Blocks(x.Name, x.Shape)
			if err != nil {
				t.Fatalf("%s: %v", x.Name, err)
			}
			if kind == 0 {
				continue
			}
			count--
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
				t.Errorf("%s: %s in %v stands for other numbers than Load gives", k.family, x.Name, kind)
			}
		}
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
