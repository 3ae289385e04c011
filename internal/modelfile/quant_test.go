package modelfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// testdata/blocks.json are random blocks of each type and what gguf-py 0.19
// (quants.dequantize) makes of them, as float32.
func TestBlocksAreReadAsGGMLReadsThem(t *testing.T) {
	text, err := os.ReadFile("testdata/blocks.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Type          Type
		Bytes, Values []byte
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 8 {
		t.Fatalf("%d types, want 8", len(cases))
	}
	for _, c := range cases {
		n := len(c.Values) / 4
		got := make([]float32, n)
		info := Info{Name: "x", Shape: []int{n}, Type: c.Type, Offset: 3, Size: int64(len(c.Bytes))}
		if err := readValues(bytes.NewReader(append([]byte("abc"), c.Bytes...)), info, got); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			want := math.Float32frombits(binary.LittleEndian.Uint32(c.Values[4*i:]))
			if v != want {
				t.Fatalf("%s: element %d is %v, want %v", c.Type, i, v, want)
			}
		}
	}
}

func TestBlockTypesAgreeWithGGUF(t *testing.T) {
	for _, g := range ggufTypes {
		if b, ok := blockTypes[g.name]; ok && (int64(b.elements) != g.block || int64(b.bytes) != g.bytes) {
			t.Errorf("%s: blocks of %d elements in %d bytes, want %d in %d", g.name, b.elements, b.bytes, g.block, g.bytes)
		}
	}
}

// A tensor that is longer than the buffer is read in whole blocks.
func TestLongTensorsAreReadInWholeBlocks(t *testing.T) {
	const blocks = 5000
	data := make([]byte, blocks*34)
	for i := range blocks {
		binary.LittleEndian.PutUint16(data[i*34:], toF16(1))
		data[i*34+2+i%32] = byte(i)
	}
	got := make([]float32, blocks*32)
	if err := readValues(bytes.NewReader(data), Info{Shape: []int{len(got)}, Type: "Q8_0", Size: int64(len(data))}, got); err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		want := float32(0)
		if block := i / 32; i%32 == block%32 {
			want = float32(int8(block))
		}
		if v != want {
			t.Fatalf("element %d is %v, want %v", i, v, want)
		}
	}
}
