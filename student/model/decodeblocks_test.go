package model

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"retort/internal/kernel"
	"retort/internal/modelfile"
)

// inBlocks is a model in a GGUF file under Hugging Face's names.
type inBlocks struct {
	config Config
	file   *modelfile.GGUF
}

func (s inBlocks) Config() Config { return s.config }

func (s inBlocks) Load(name string, _ []int, dst []float32) error { return s.file.Read(name, dst) }

func (s inBlocks) Blocks(name string, _ []int) (kernel.BlockType, []byte, error) {
	info, _ := s.file.Lookup(name)
	t, ok := kernel.ParseBlockType(string(info.Type))
	if !ok {
		return 0, nil, nil
	}
	b := make([]byte, info.Size)
	err := s.file.ReadBytes(name, 0, b)
	return t, b, err
}

// newInBlocks writes a model's matrices in blocks, of a type for each kind, but for
// some that lie in numbers as files have them: routers, and one layer's gates.
func newInBlocks(t testing.TB, c Config, seed uint64) inBlocks {
	t.Helper()
	var all []modelfile.Tensor
	for _, x := range testModel(t, c, seed).Tensors() {
		form := modelfile.Q4_1
		switch {
		case len(x.Shape) != 2 || x.Shape[1]%32 != 0 || strings.Contains(x.Name, "mlp.gate.") || strings.Contains(x.Name, "1.mlp.gate_proj"):
			form = modelfile.F32
		case strings.Contains(x.Name, "embed") || strings.Contains(x.Name, "v_proj"):
			form = modelfile.Q8_0
		case strings.Contains(x.Name, "down") || strings.Contains(x.Name, "kv_a_proj"):
			form = modelfile.Q4_0
		}
		all = append(all, modelfile.Tensor{Name: x.Name, Shape: x.Shape, Type: form, Data: x.Data})
	}
	var b bytes.Buffer
	if err := modelfile.WriteGGUF(&b, nil, all); err != nil {
		t.Fatal(err)
	}
	file, err := modelfile.ReadGGUF(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return inBlocks{c, file}
}

// blockModels have rows that are whole blocks.
var blockModels = []struct {
	name   string
	config Config
}{
	{"grouped in blocks", odd(func(c *Config) {
		grouped(c)
		c.Hidden, c.Heads, c.KVHeads, c.RopeDim, c.VDim, c.Intermediate, c.VocabSize = 64, 6, 2, 16, 16, 160, 130
		c.TieEmbeddings, c.QKVBias, c.QKNorm = true, true, true
	})},
	{"grouped in blocks, untied", odd(func(c *Config) {
		grouped(c)
		c.Hidden, c.Heads, c.KVHeads, c.RopeDim, c.VDim, c.Intermediate, c.VocabSize = 96, 4, 1, 32, 32, 64, 67
	})},
	{"experts in blocks", odd(func(c *Config) {
		experts(c)
		c.Hidden, c.Heads, c.VDim, c.KVLoraRank, c.Intermediate, c.MoEIntermediate = 64, 4, 8, 32, 96, 32
	})},
}

// decodable are models to decode with, in numbers and in blocks.
func decodable(t testing.TB) (all []decodableModel) {
	for _, m := range oddModels {
		made := testModel(t, m.config, 23)
		all = append(all, decodableModel{m.name, made, kernel.FormatFP32, m.config})
	}
	for _, m := range blockModels {
		all = append(all, decodableModel{m.name, newInBlocks(t, m.config, 23), kernel.FormatBlocks, m.config})
	}
	return all
}

type decodableModel struct {
	name   string
	source Source
	format kernel.Format
	config Config
}

func (m decodableModel) decoder(t testing.TB, pool *kernel.Pool, opt DecoderOptions) *Decoder {
	t.Helper()
	opt.Format = m.format
	d, err := LoadDecoder(m.source, pool, opt)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is decoded with blocks is near to what is with the numbers that they stand for.
func TestBlocksStayNearTheirNumbers(t *testing.T) {
	for _, test := range blockModels {
		src := newInBlocks(t, test.config, 31)
		tokens := testBatch(test.config, 32, 60).Tokens
		read := func(f kernel.Format, adapters ...*Adapter) ([]float32, *Decoder) {
			d := decodableModel{test.name, src, f, test.config}.decoder(t, testPool(t, 2), DecoderOptions{MaxContext: 100, Adapters: adapters})
			d.Begin(0, len(adapters), nil, 60)
			logits := slices.Clone(must(t)(d.Read([]Chunk{{Tokens: tokens[:50], Prompt: true, Wanted: EveryLogits}})))
			for _, x := range tokens[50:] {
				logits = append(logits, must(t)(step(d, 0, x))...)
			}
			return logits, d
		}
		compare := func(what string, got, want []float32) {
			t.Helper()
			sum, all := 0.0, 0.0
			for i := range got {
				sum += math.Pow(float64(got[i]-want[i]), 2)
				all += math.Pow(float64(want[i]), 2)
			}
			most := 0.03
			if test.config.DenseLayers < test.config.Layers {
				most = 0.2 // a router of random weights makes another choice of rounding
			}
			if off := math.Sqrt(sum / all); !(off < most) || off == 0 {
				t.Errorf("%s%s: logits are off by %v of their size, want at most %v", test.name, what, off, most)
			}
		}
		want, numbers := read(kernel.FormatFP32)
		got, blocks := read(kernel.FormatBlocks)
		compare("", got, want)
		if 2*blocks.WeightBytes() > numbers.WeightBytes() {
			t.Errorf("%s: blocks take %d bytes, numbers %d", test.name, blocks.WeightBytes(), numbers.WeightBytes())
		}
		if !test.config.grouped() {
			continue
		}
		if 2*blocks.CacheBytes() != numbers.CacheBytes() {
			t.Errorf("%s: a token takes %d bytes of a cache beside blocks, %d beside numbers", test.name, blocks.CacheBytes(), numbers.CacheBytes())
		}
		a := testAdapter(t, test.config, LoRA{Rank: 3, Alpha: 6})
		adapted, _ := read(kernel.FormatFP32, a)
		got, _ = read(kernel.FormatBlocks, a)
		compare(" with an adapter", got, adapted)
		if slices.Equal(adapted, want) {
			t.Error("an adapter changes nothing")
		}
	}
}

type brokenSource struct {
	inBlocks
	fail, broken string // names
}

func (s brokenSource) Load(name string, shape []int, dst []float32) error {
	if name == s.fail {
		return fmt.Errorf("cannot be read")
	}
	err := s.inBlocks.Load(name, shape, dst)
	if name == s.broken {
		dst[len(dst)-1] = float32(math.Inf(1))
	}
	return err
}

func (s brokenSource) Blocks(name string, shape []int) (kernel.BlockType, []byte, error) {
	if name == s.fail {
		return 0, nil, fmt.Errorf("cannot be read")
	}
	kind, b, err := s.inBlocks.Blocks(name, shape)
	if name == s.broken && kind != 0 {
		b[1] = 0x7c // the first scale
	}
	return kind, b, err
}

func TestASourceThatIsBrokenIsRefusedByName(t *testing.T) {
	src := newInBlocks(t, blockModels[1].config, 1)
	for _, f := range []kernel.Format{kernel.FormatFP32, kernel.FormatBlocks} {
		for _, x := range src.config.Tensors() {
			for broken, want := range map[brokenSource]string{
				{src, x.Name, ""}: "loading tensor " + x.Name + ": cannot be read",
				{src, "", x.Name}: "loading tensor " + x.Name + ": ",
			} {
				_, err := LoadDecoder(broken, testPool(t, 1), DecoderOptions{MaxContext: 8, Format: f})
				if err == nil || !strings.Contains(err.Error(), want) || broken.broken != "" && !strings.Contains(err.Error(), "finite") {
					t.Errorf("%v of %+v: the error is %v, want one that says %q", f, broken, err, want)
				}
			}
		}
	}
}
