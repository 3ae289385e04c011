package modelfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func sample() []Tensor {
	return []Tensor{
		{"a.weight", []int{2, 3}, F32, []float32{1, -2, 3.5, 0, float32(math.Copysign(0, -1)), 1e-30}},
		{"b.bias", []int{5}, F16, []float32{1, 0.333251953125, -65504, 0, 6e-8}},
		{"c", []int{1, 2, 2}, BF16, []float32{1, -3.140625, 1e30, 0.5}},
	}
}

func readAll(t *testing.T, read func(string, []float32) error, want []Tensor) {
	t.Helper()
	for _, w := range want {
		got := make([]float32, len(w.Data))
		if err := read(w.Name, got); err != nil {
			t.Fatal(err)
		}
		for i, v := range w.Data {
			limit := 0.0
			switch w.Type {
			case F16:
				limit = 0x1p-24
			case BF16:
				limit = math.Abs(float64(v)) / 256
			}
			if d := math.Abs(float64(got[i]) - float64(v)); d > limit || math.Signbit(float64(v)) != math.Signbit(float64(got[i])) {
				t.Errorf("%s[%d] came back as %v, want %v", w.Name, i, got[i], v)
			}
		}
	}
}

func create(t *testing.T, path string, fill func(io.Writer) error) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	meta := map[string]string{"format": "pt", "x": "<&>"}
	create(t, path, func(w io.Writer) error { return WriteSafetensors(w, meta, sample()) })
	s, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !reflect.DeepEqual(s.Metadata, meta) {
		t.Errorf("metadata %v, want %v", s.Metadata, meta)
	}
	readAll(t, s.Read, sample())
	for i, want := range sample() {
		if got := s.Tensors[i]; got.Name != want.Name || !reflect.DeepEqual(got.Shape, want.Shape) || got.Type != want.Type {
			t.Errorf("tensor %d is %+v", i, got)
		}
	}
	if s.Tensors[0].Offset%64 != 0 {
		t.Errorf("the data begins at byte %d, want a multiple of 64", s.Tensors[0].Offset)
	}
	if err := s.Read("a.weight", make([]float32, 5)); err == nil {
		t.Error("a tensor of 6 values was read into 5")
	}
	if err := s.Read("nope", nil); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("reading a tensor that is not there: %v", err)
	}
}

func ggufMeta() []KV {
	return []KV{
		{"general.architecture", "deepseek2"},
		{"u8", uint8(200)}, {"i8", int8(-5)}, {"u16", uint16(65535)}, {"i16", int16(-300)},
		{"u32", uint32(1 << 31)}, {"i32", int32(-1)}, {"f32", float32(0.1)}, {"yes", true}, {"no", false},
		{"u64", uint64(1 << 63)}, {"i64", int64(-1 << 40)}, {"f64", 0.1}, {"empty", ""},
		{"tokens", []string{"a", "", "Ġb"}}, {"types", []int32{1, 3, -4}}, {"scores", []float32{0.5}},
		{"flags", []bool{true, false}}, {"none", []string{}}, {"bytes", []uint8{1, 2}}, {"longs", []int64{1}},
	}
}

func TestGGUFRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	create(t, path, func(w io.Writer) error { return WriteGGUF(w, ggufMeta(), sample()) })
	g, err := OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if !reflect.DeepEqual(g.Metadata, ggufMeta()) {
		t.Errorf("metadata %v, want %v", g.Metadata, ggufMeta())
	}
	if g.Version != 3 || g.Value("i64") != int64(-1<<40) || g.Value("absent") != nil {
		t.Errorf("version %d, i64 %v, absent %v", g.Version, g.Value("i64"), g.Value("absent"))
	}
	readAll(t, g.Read, sample())
	for _, info := range g.Tensors {
		if info.Offset%32 != 0 {
			t.Errorf("tensor %s begins at byte %d, want a multiple of 32", info.Name, info.Offset)
		}
	}
}

func TestHalfPrecisionRoundsToNearestEven(t *testing.T) {
	for h := range 1 << 16 {
		v := fromF16(uint16(h))
		if v != v {
			if back := toF16(v); back&0x7c00 != 0x7c00 || back&0x3ff == 0 {
				t.Fatalf("NaN %04x becomes %04x", h, back)
			}
			continue
		}
		if back := toF16(v); back != uint16(h) {
			t.Fatalf("%04x is %v and comes back as %04x", h, v, back)
		}
		next := fromF16(uint16(h + 1))
		if h&0x7fff >= 0x7bff {
			continue
		}
		middle := float32((float64(v) + float64(next)) / 2)
		even := uint16(h + h&1)
		if got := toF16(middle); got != even {
			t.Fatalf("the middle of %v and %v rounds to %04x, want %04x", v, next, got, even)
		}
		if got := toF16(math.Nextafter32(middle, next)); got != uint16(h+1) {
			t.Fatalf("just beyond the middle of %v and %v rounds to %04x", v, next, got)
		}
	}
	for _, c := range []struct {
		in   float32
		want uint16
	}{{65519, 0x7bff}, {65520, 0x7c00}, {1e30, 0x7c00}, {float32(math.Inf(-1)), 0xfc00}} {
		if got := toF16(c.in); got != c.want {
			t.Errorf("%v becomes %04x, want %04x", c.in, got, c.want)
		}
	}
	for _, c := range []struct {
		bits uint32
		want uint16
	}{{0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x7f800000, 0x7f80}, {0x7f7fffff, 0x7f80}, {0x7f800001, 0x7fc0}} {
		if got := toBF16(math.Float32frombits(c.bits)); got != c.want {
			t.Errorf("bits %08x become bfloat16 %04x, want %04x", c.bits, got, c.want)
		}
	}
}

func safetensorsOf(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestHostileSafetensorsAreRefused(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "too few"},
		{"header beyond the file", append(binary.LittleEndian.AppendUint64(nil, 1<<40), '{'), "header of"},
		{"negative header", append(binary.LittleEndian.AppendUint64(nil, 1<<63), '{'), "header of"},
		{"not JSON", safetensorsOf(`[1]`, 0), "begin with"},
		{"cut", safetensorsOf(`{`+a, 8), "header"},
		{"goes on", safetensorsOf(`{`+a+`}{}`, 8), "goes on"},
		{"twice", safetensorsOf(`{`+a+`,`+a+`}`, 8), "comes twice"},
		{"metadata twice", safetensorsOf(`{"__metadata__":{},"__metadata__":{}}`, 0), "comes twice"},
		{"metadata of numbers", safetensorsOf(`{"__metadata__":{"a":1}}`, 0), "metadata"},
		{"outside", safetensorsOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4), "lies at"},
		{"negative", safetensorsOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}`, 8), "lies at"},
		{"backwards", safetensorsOf(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[8,0]}}`, 8), "lies at"},
		{"size", safetensorsOf(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), "has 8 bytes"},
		{"overflow", safetensorsOf(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}`, 8), "impossible shape"},
		{"overflow in bytes", safetensorsOf(`{"a":{"dtype":"F64","shape":[576460752303423487],"data_offsets":[0,8]}}`, 8), "has 8 bytes"},
		{"negative shape", safetensorsOf(`{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}`, 8), "impossible shape"},
		{"no shape", safetensorsOf(`{"a":{"dtype":"F32","data_offsets":[0,8]}}`, 8), "lacks"},
		{"null shape", safetensorsOf(`{"a":{"dtype":"F32","shape":null,"data_offsets":[0,8]}}`, 8), "lacks"},
		{"one offset", safetensorsOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}}`, 8), "lacks"},
		{"deep", safetensorsOf(`{"a":`+strings.Repeat("[", 1e5)+strings.Repeat("]", 1e5)+`}`, 0), "depth"},
		{"type", safetensorsOf(`{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}`, 8), "unknown type"},
		{"field", safetensorsOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8), "unknown field"},
		{"name", safetensorsOf(`{"a\n":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "name"},
		{"overlap", safetensorsOf(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "overlap"},
		{"the same place", safetensorsOf(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "overlap"},
		{"hole", safetensorsOf(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20), "hole"},
		{"rest", safetensorsOf(`{`+a+`}`, 9), "belong to no tensor"},
	} {
		_, err := ReadSafetensors(bytes.NewReader(c.file), int64(len(c.file)))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a format error about %q", c.name, err, c.want)
		}
	}
}

// builder writes GGUF headers that WriteGGUF would not.
type builder struct{ b []byte }

func newGGUF(version uint32, tensors, pairs uint64) *builder {
	b := &builder{[]byte("GGUF")}
	return b.u32(version).u64(tensors).u64(pairs)
}
func (b *builder) u8(v byte) *builder    { b.b = append(b.b, v); return b }
func (b *builder) u32(v uint32) *builder { b.b = binary.LittleEndian.AppendUint32(b.b, v); return b }
func (b *builder) u64(v uint64) *builder { b.b = binary.LittleEndian.AppendUint64(b.b, v); return b }
func (b *builder) str(s string) *builder { b.b = appendString(b.b, s); return b }
func (b *builder) zeros(n int) *builder  { b.b = append(b.b, make([]byte, n)...); return b }
func (b *builder) tensor(name string, typ uint32, offset uint64, dims ...uint64) *builder {
	b.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		b.u64(d)
	}
	return b.u32(typ).u64(offset)
}

func TestHostileGGUFIsRefused(t *testing.T) {
	deep := newGGUF(3, 0, 1).str("k").u32(ggufArray)
	for range 20 {
		deep.u32(ggufArray).u64(1)
	}
	deep.u32(ggufUint8).u64(0).zeros(100)
	for _, c := range []struct {
		name string
		file *builder
		want string
	}{
		{"empty", &builder{}, "begin with"},
		{"magic", &builder{[]byte("GGUX\x03\x00\x00\x00")}, "begin with"},
		{"version", newGGUF(9, 0, 0), "version 9"},
		{"big-endian", newGGUF(0x03000000, 0, 0), "big-endian"},
		{"tensor count", newGGUF(3, 1<<60, 0).zeros(100), "tensors in"},
		{"pair count", newGGUF(3, 0, 1<<63).zeros(100), "pairs in"},
		{"key length", newGGUF(3, 0, 1).u64(1 << 50).zeros(100), "metadata key of"},
		{"value length", newGGUF(3, 0, 1).str("k").u32(ggufString).u64(1 << 62).zeros(20), "metadata k of"},
		{"value type", newGGUF(3, 0, 1).str("k").u32(77).zeros(20), "unknown type 77"},
		{"boolean", newGGUF(3, 0, 1).str("k").u32(ggufBool).u8(2).zeros(20), "boolean 2"},
		{"array length", newGGUF(3, 0, 1).str("k").u32(ggufArray).u32(ggufString).u64(1 << 58).zeros(50), "elements of"},
		{"array type", newGGUF(3, 0, 1).str("k").u32(ggufArray).u32(99).u64(1).zeros(50), "unknown type 99"},
		{"nesting", deep, "nested more"},
		{"key twice", newGGUF(3, 0, 2).str("k").u32(ggufUint8).u8(1).str("k").u32(ggufUint8).u8(1).zeros(20), "comes twice"},
		{"empty key", newGGUF(3, 0, 1).str("").u32(ggufUint32).u32(1).zeros(20), "is empty"},
		{"alignment", newGGUF(3, 0, 1).str("general.alignment").u32(ggufUint32).u32(33), "power of two"},
		{"alignment type", newGGUF(3, 0, 1).str("general.alignment").u32(ggufUint64).u64(32), "power of two"},
		{"name twice", newGGUF(3, 2, 0).tensor("a", 0, 0, 8).tensor("a", 0, 32, 8).zeros(100), "comes twice"},
		{"no name", newGGUF(3, 1, 0).tensor("", 0, 0, 8).zeros(100), "is empty"},
		{"dimensions", newGGUF(3, 1, 0).tensor("a", 0, 0, 1, 1, 1, 1, 1).zeros(100), "5 dimensions"},
		{"no dimensions", newGGUF(3, 1, 0).tensor("a", 0, 0).zeros(100), "0 dimensions"},
		{"dimension 0", newGGUF(3, 1, 0).tensor("a", 0, 0, 0).zeros(100), "dimension of 0"},
		{"overflow", newGGUF(3, 1, 0).tensor("a", 0, 0, 1<<30, 1<<30, 1<<30, 1<<30).zeros(100), "impossible shape"},
		{"too large", newGGUF(3, 1, 0).tensor("a", 0, 0, 1<<20, 1<<20).zeros(100), "larger than the file"},
		{"type", newGGUF(3, 1, 0).tensor("a", 4, 0, 8).zeros(100), "unknown type 4"},
		{"half a block", newGGUF(3, 1, 0).tensor("a", 2, 0, 40).zeros(100), "impossible shape"},
		{"misaligned", newGGUF(3, 1, 0).tensor("a", 0, 8, 8).zeros(100), "multiple of 32"},
		{"outside", newGGUF(3, 1, 0).tensor("a", 0, 96, 8).zeros(100), "lies at"},
		{"offset overflow", newGGUF(3, 1, 0).tensor("a", 0, 1<<63+1<<62, 8).zeros(100), "outside of the file"},
		{"overlap", newGGUF(3, 2, 0).tensor("a", 0, 0, 16).tensor("b", 0, 32, 8).zeros(150), "overlap"},
		{"cut", newGGUF(3, 1, 0).tensor("a", 0, 0, 1), "ends before"},
	} {
		_, err := ReadGGUF(bytes.NewReader(c.file.b), int64(len(c.file.b)))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a format error about %q", c.name, err, c.want)
		}
	}
}

func TestEveryCutOfAFileIsRefused(t *testing.T) {
	var st, gg bytes.Buffer
	if err := WriteSafetensors(&st, map[string]string{"format": "pt"}, sample()); err != nil {
		t.Fatal(err)
	}
	if err := WriteGGUF(&gg, ggufMeta(), sample()); err != nil {
		t.Fatal(err)
	}
	for n := range st.Len() {
		if _, err := ReadSafetensors(bytes.NewReader(st.Bytes()[:n]), int64(n)); err == nil {
			t.Errorf("the first %d of %d bytes of a safetensors file are accepted", n, st.Len())
		}
	}
	end := gg.Len() - int(pad(sample()[2].size())) // padding after the last tensor may be missing
	for n := range end {
		if _, err := ReadGGUF(bytes.NewReader(gg.Bytes()[:n]), int64(n)); err == nil {
			t.Errorf("the first %d of %d bytes of a GGUF are accepted", n, gg.Len())
		}
	}
}

func TestWritersRefuseWhatReadersWould(t *testing.T) {
	ok := Tensor{"a", []int{1}, F32, []float32{1}}
	long := ok
	long.Name = strings.Repeat("x", 64)
	for _, c := range []struct {
		name    string
		tensors []Tensor
		gguf    bool // only
	}{
		{"no name", []Tensor{{"", []int{1}, F32, []float32{1}}}, false},
		{"a name twice", []Tensor{ok, ok}, false},
		{"shape", []Tensor{{"a", []int{2}, F32, []float32{1}}}, false},
		{"type", []Tensor{{"a", []int{1}, "Q4_0", []float32{1}}}, false},
		{"long name", []Tensor{long}, true},
		{"scalar", []Tensor{{"a", nil, F32, []float32{1}}}, true},
	} {
		if err := WriteGGUF(io.Discard, nil, c.tensors); err == nil {
			t.Errorf("%s: written as GGUF", c.name)
		}
		if err := WriteSafetensors(io.Discard, nil, c.tensors); (err == nil) != c.gguf {
			t.Errorf("%s: as safetensors: %v", c.name, err)
		}
	}
	for _, kv := range []KV{{"", 1}, {"k", 1}, {"k", struct{}{}}, {"general.alignment", uint32(64)}} {
		if err := WriteGGUF(io.Discard, []KV{kv}, nil); err == nil {
			t.Errorf("metadata %v is written", kv)
		}
	}
}

// failing takes so many bytes and then no more, as a full disk does.
type failing struct{ left int }

var errFull = errors.New("no space left")

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return f.left, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

func TestFullDiskIsReported(t *testing.T) {
	for _, n := range []int{0, 100, 200} {
		if err := WriteSafetensors(&failing{n}, nil, sample()); !errors.Is(err, errFull) {
			t.Errorf("safetensors with room for %d bytes: %v", n, err)
		}
		if err := WriteGGUF(&failing{n}, ggufMeta(), sample()); !errors.Is(err, errFull) {
			t.Errorf("GGUF with room for %d bytes: %v", n, err)
		}
	}
}

func FuzzReadSafetensors(f *testing.F) {
	var b bytes.Buffer
	WriteSafetensors(&b, map[string]string{"format": "pt"}, sample())
	f.Add(b.Bytes())
	f.Add(safetensorsOf(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadSafetensors(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			checkInfos(t, s.Tensors, s.Read, int64(len(data)))
		}
	})
}

func FuzzReadGGUF(f *testing.F) {
	var b bytes.Buffer
	WriteGGUF(&b, ggufMeta(), sample())
	f.Add(b.Bytes())
	f.Add(newGGUF(3, 0, 1).str("k").u32(ggufArray).u32(ggufArray).u64(1).u32(ggufUint8).u64(2).zeros(2).b)
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := ReadGGUF(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			checkInfos(t, g.Tensors, g.Read, int64(len(data)))
		}
	})
}

// checkInfos reads every tensor of an accepted file, which lies inside of it.
func checkInfos(t *testing.T, infos []Info, read func(string, []float32) error, size int64) {
	var total int64
	for _, info := range infos {
		if info.Offset < 0 || info.Size < 0 || info.Offset+info.Size > size {
			t.Errorf("tensor %q lies outside of the file", info.Name)
		}
		if total += info.Size; total > size {
			t.Error("tensors have more bytes than the file")
		}
		if info.Type.Block() == 0 {
			continue
		}
		if err := read(info.Name, make([]float32, info.Len())); err != nil {
			t.Error(err)
		}
	}
}
