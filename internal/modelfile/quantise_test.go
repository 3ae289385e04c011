package modelfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// testdata/quantised.json are values (normal, tiny, huge, halfway between two numbers,
// zero, constant) and what gguf-py 0.19 (quants.quantize) makes of them.
func TestBlocksAreWrittenAsGGMLWritesThem(t *testing.T) {
	text, err := os.ReadFile("testdata/quantised.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Type          Type
		Values, Bytes []byte
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 3 {
		t.Fatalf("%d types, want 3", len(cases))
	}
	for _, c := range cases {
		values := make([]float32, len(c.Values)/4)
		decodeF32(values, c.Values)
		var b bytes.Buffer
		if err := writeValues(&b, c.Type, values); err != nil {
			t.Fatal(err)
		}
		size := blockTypes[c.Type].bytes
		for i, got := range slices.Collect(slices.Chunk(b.Bytes(), size)) {
			if want := c.Bytes[i*size:][:size]; !bytes.Equal(got, want) {
				t.Errorf("%s: block %d is %x, want %x", c.Type, i, got, want)
			}
		}
		back := make([]float32, len(values))
		if err := readValues(bytes.NewReader(b.Bytes()), Info{Shape: []int{len(back)}, Type: c.Type}, back); err != nil {
			t.Fatal(err)
		}
		if err := c.Type.Round(values); err != nil || !slices.Equal(values, back) {
			t.Errorf("%s: rounded values are not those of a file (%v)", c.Type, err)
		}
	}
}

// A block's values come back within half a step, up to the rounding of its scales.
func TestBlocksKeepValuesWithinHalfAStep(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, typ := range []Type{Q8_0, Q4_0, Q4_1} {
		for range 2000 {
			x := make([]float32, 32)
			scale, shift := math.Exp(4*rng.Float64()), rng.NormFloat64()
			for i := range x {
				x[i] = float32(scale * (rng.NormFloat64() + shift))
			}
			got := slices.Clone(x)
			if err := typ.Round(got); err != nil {
				t.Fatal(err)
			}
			least, most := float64(slices.Min(x)), float64(slices.Max(x))
			far := max(-least, most)
			step := map[Type]float64{Q8_0: far / 127, Q4_0: far / 8, Q4_1: (most - least) / 15}[typ]
			limit := step/2 + far*0x1p-10
			for i, v := range got {
				// Of Q4_0 the farthest value is -8 steps, and there is no +8.
				if d := math.Abs(float64(v) - float64(x[i])); d > limit && !(typ == Q4_0 && d <= step+far*0x1p-10) {
					t.Fatalf("%s: %v becomes %v, with steps of %v", typ, x[i], v, step)
				}
			}
		}
	}
}

func TestWhatBlocksCannotHoldIsRefused(t *testing.T) {
	block := func(at int, v float32) []float32 {
		x := make([]float32, 3*32)
		x[at] = v
		return x
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		typ   Type
		value float32
	}{
		{Q8_0, nan}, {Q4_0, nan}, {Q4_1, nan}, {Q8_0, inf}, {Q4_0, inf}, {Q4_1, inf}, {Q8_0, 1e7}, {Q4_0, -6e5}, {Q4_1, -7e4}, {Q4_1, 1e6}, {F16, 65520}, {BF16, math.MaxFloat32},
	} {
		x := block(40, c.value)
		err := WriteGGUF(new(bytes.Buffer), nil, []Tensor{{"x", []int{3, 32}, c.typ, x}})
		if err == nil || !strings.Contains(err.Error(), "tensor x: "+string(c.typ)) {
			t.Errorf("%s of %v gives %v", c.typ, c.value, err)
		}
		if c.typ.Round(x) == nil {
			t.Errorf("%s rounds %v", c.typ, c.value)
		}
	}
	for _, c := range []struct {
		want  string
		shape []int
		typ   Type
	}{
		{"no whole blocks of Q8_0", []int{4, 24}, Q8_0},
		{`type "Q6_K" cannot be written`, []int{3, 32}, "Q6_K"},
		{`type "" cannot be written`, []int{3, 32}, ""},
	} {
		if err := WriteGGUF(new(bytes.Buffer), nil, []Tensor{{"x", c.shape, c.typ, make([]float32, 96)}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want an error about %q", err, c.want)
		}
	}
	if err := WriteSafetensors(new(bytes.Buffer), nil, []Tensor{{"x", []int{3, 32}, Q8_0, make([]float32, 96)}}); err == nil || !strings.Contains(err.Error(), "safetensors has no type Q8_0") {
		t.Errorf("blocks in safetensors give %v", err)
	}
}

// Long tensors of blocks lie where the header says, and the next one behind them.
func TestBlocksInAFile(t *testing.T) {
	var all []Tensor
	for i, typ := range []Type{Q4_1, F32, Q8_0, Q4_0, F16} {
		x := make([]float32, 64*96)
		for j := range x {
			x[j] = float32(i+j%93) / 16
		}
		all = append(all, Tensor{string(typ), []int{64, 96}, typ, x})
	}
	var b bytes.Buffer
	if err := WriteGGUF(&b, nil, all); err != nil {
		t.Fatal(err)
	}
	g, err := ReadGGUF(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		got := make([]float32, len(x.Data))
		if err := g.Read(x.Name, got); err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(x.Data)
		if err := x.Type.Round(want); err != nil {
			t.Fatal(err)
		}
		if info, _ := g.Lookup(x.Name); info.Type != x.Type || !slices.Equal(got, want) {
			t.Errorf("%s comes back as %s, or with other values", x.Type, info.Type)
		}
	}
	first, _ := g.Lookup(string(Q4_1))
	if d := binary.LittleEndian.Uint16(b.Bytes()[first.Offset:]); d != toF16(float32(31)/16/15) {
		t.Errorf("its first scale is %04x", d)
	}
}
