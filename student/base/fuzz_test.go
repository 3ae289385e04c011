package base

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"retort/internal/modelfile"
)

// A file that somebody made ends in a base or in an error, and takes memory by what
// it holds and not by what it says that it holds.
func FuzzOpenGGUF(f *testing.F) {
	for _, k := range kinds {
		if k.family == "" {
			continue
		}
		var b bytes.Buffer
		if err := modelfile.WriteGGUF(&b, metadata(k.family, k.config), tensors(newModel(f, k.config), k.halves, ggufName)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	var b bytes.Buffer
	if err := modelfile.WriteGGUF(&b, latentMetadata("vocab_size", uint32(1)), latentFile(f, func(_ string, shape []int) []int { return shape })); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	path := filepath.Join(f.TempDir(), "m.gguf")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b, err := Open(path)
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+100*len(data)); took > most {
			t.Errorf("opening %d bytes took %d of memory, more than %d", len(data), took, most)
		}
		if err != nil {
			return
		}
		defer b.Close()
		for _, x := range b.Config().Tensors() {
			n := 1
			for _, d := range x.Shape {
				n *= d
			}
			if err := b.Load(x.Name, x.Shape, make([]float32, n)); err != nil {
				t.Error(err)
			}
		}
		_, _ = b.Format() // a template may be refused
	})
}
