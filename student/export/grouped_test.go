package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
)

const turns = `{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}`

// foreign is a tokenizer and a format as a base brings them: special tokens before all
// others, one of which begins every text, and three ends.
func foreign(t testing.TB, rule tokenizer.Rule) *chat.Format {
	t.Helper()
	from := tinyTokenizer(t)
	plain := from.VisibleTokens()[:from.VocabSize()-len(from.Added())]
	v := tokenizer.Vocabulary{
		Pre: rule.String(), Merges: from.VisibleMerges(), BOS: "<s>",
		Tokens: append([]string{"<s>", "<|eot|>", "<|eom|>"}, append(slices.Clone(plain), "<|end|>", "<tool>")...),
	}
	v.Types = slices.Repeat([]int32{1}, len(v.Tokens))
	last := len(v.Tokens) - 1
	v.Types[0], v.Types[1], v.Types[2], v.Types[last-1], v.Types[last] = 3, 3, 3, 3, 4
	tok, err := v.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	f, err := chat.New(tok, chat.Spec{Template: turns, BOS: "<s>", EOS: "<|eot|>", End: []int32{1, 2, int32(last - 1)}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

type groupedKind struct {
	name, class, family string
	rule                tokenizer.Rule
	change              func(c *model.Config)
}

// groupedKinds have sizes that are all different, more rows than tokens, and numbers
// that GGUF's float32 holds.
var groupedKinds = []groupedKind{
	{"llama", "LlamaForCausalLM", "llama", tokenizer.SmolLM2, func(c *model.Config) {}},
	{"llama-3.1", "LlamaForCausalLM", "llama", tokenizer.Llama3, func(c *model.Config) { c.RopeFactors, c.RopeDim, c.VDim = true, 16, 16 }},
	{"qwen2", "Qwen2ForCausalLM", "qwen2", tokenizer.Qwen2, func(c *model.Config) { c.QKVBias, c.RopeDim, c.VDim = true, 24, 24 }},
	{"qwen2-wide", "Qwen2ForCausalLM", "llama", tokenizer.GPT2, func(c *model.Config) { c.QKVBias = true }},
	{"qwen3", "Qwen3ForCausalLM", "qwen3", tokenizer.Qwen2, func(c *model.Config) { c.QKNorm, c.TieEmbeddings = true, true }},
}

func (k groupedKind) model(t testing.TB, tokens int) *model.Model {
	t.Helper()
	c := model.Config{
		VocabSize: tokens + 5, Hidden: 96, Layers: 2, Heads: 4, KVHeads: 2, RopeDim: 10, VDim: 10, Intermediate: 64, DenseLayers: 2,
		RopeTheta: 512, NormEps: 1e-5, MaxPositions: 77, RoutedScale: 1,
	}
	k.change(&c)
	m, err := model.New(c, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Parameters() { // norms and biases too
		for i := range p.Data {
			p.Data[i] += float32(i%7) / 64
		}
	}
	for _, x := range m.Tensors() {
		if x.Name == model.RopeFactorsName { // Llama 3.1's, with the last digit of another program
			copy(x.Data, []float32{1, 1, 1.2984264, 3.8041377, 8, 8, 8, 8})
		}
	}
	return m
}

func writeGrouped(t testing.TB, k groupedKind, opt Options) (dir string, m *model.Model, f *chat.Format) {
	t.Helper()
	f = foreign(t, k.rule)
	m = k.model(t, f.Tokenizer().VocabSize())
	dir = filepath.Join(t.TempDir(), "m")
	if _, err := Write(context.Background(), dir, m, f, opt); err != nil {
		t.Fatalf("%s: %v", k.name, err)
	}
	return dir, m, f
}

func TestATaughtBaseComesBackAsItWasWritten(t *testing.T) {
	for _, k := range groupedKinds {
		dir, m, f := writeGrouped(t, k, Options{Formats: []Format{GGUF}})
		back, format, err := Load(dir)
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		if back.Hash() != m.Hash() {
			t.Errorf("%s: another model comes back", k.name)
		}
		if d := cmp.Diff(f.Spec(), format.Spec()); d != "" || string(format.Tokenizer().JSON()) != string(f.Tokenizer().JSON()) {
			t.Errorf("%s: another tokenizer or format comes back:\n%s", k.name, d)
		}
		if _, err := Verify(dir); err != nil {
			t.Error(err)
		}
		for _, path := range []string{dir, filepath.Join(dir, ggufFile)} {
			b, err := base.Read(path)
			if err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
			if b.Architecture != k.class && k.family != "llama" || b.Model.Config() != m.Config() {
				t.Errorf("%s: %s is read as %s, %+v", k.name, path, b.Architecture, b.Model.Config())
			}
			for i, x := range b.Model.Tensors() {
				for j, want := range m.Tensors()[i].Data {
					// transformers computes factors anew.
					if got := x.Data[j]; got != want && !(x.Name == model.RopeFactorsName && math.Abs(float64(got/want-1)) < 1e-6) {
						t.Fatalf("%s: element %d of %s is %v, want %v", k.name, j, x.Name, got, want)
					}
				}
			}
			bf, err := b.Format()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(f.Spec(), bf.Spec()); d != "" {
				t.Errorf("%s: %s is talked with otherwise:\n%s", k.name, path, d)
			}
			if id, ok := b.Tokenizer.BOS(); !ok || id != 0 {
				t.Errorf("%s: %s begins text with %d (%v)", k.name, path, id, ok)
			}
		}
	}
}

func TestConfigurationOfEachClass(t *testing.T) {
	rope := map[string]any{"rope_type": "default", "rope_theta": 512.0}
	for name, want := range map[string]map[string]any{
		"llama":      {"attention_bias": false, "mlp_bias": false, "head_dim": 10.0, "rope_parameters": rope, "rope_scaling": nil},
		"qwen2":      {"attention_bias": nil, "use_sliding_window": false, "mlp_bias": nil},
		"qwen2-wide": {"head_dim": 10.0},
		"qwen3":      {"attention_bias": false, "use_sliding_window": false, "tie_word_embeddings": true},
		"llama-3.1": {
			"rope_parameters": map[string]any{"rope_type": "llama3", "rope_theta": 512.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 96.0},
			"rope_scaling":    map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 96.0},
		},
	} {
		k := groupedKinds[slices.IndexFunc(groupedKinds, func(k groupedKind) bool { return k.name == name })]
		dir, m, f := writeGrouped(t, k, Options{})
		got := readObject(t, dir, configFile)
		for key, value := range map[string]any{
			"architectures": []any{k.class}, "num_key_value_heads": 2.0, "rope_theta": 512.0, "hidden_act": "silu", "rms_norm_eps": 1e-5,
			"vocab_size": float64(m.Config().VocabSize), "bos_token_id": 0.0, "eos_token_id": 1.0, "dtype": "float32",
		} {
			want[key] = value
		}
		for key, value := range want {
			if have, ok := got[key]; !cmp.Equal(have, value) || !ok && value != nil {
				t.Errorf("%s: %s is %v, want %v", name, key, have, value)
			}
		}
		last := float64(f.Tokenizer().VocabSize() - 2)
		if g := readObject(t, dir, generationFile); !cmp.Equal(g["eos_token_id"], []any{1.0, 2.0, last}) || g["pad_token_id"] != last || g["bos_token_id"] != 0.0 {
			t.Errorf("%s: generation is by %v", name, g)
		}
		if w := readObject(t, dir, wordsFile); w["chat_template"] != turns || w["bos_token"] != "<s>" || w["eos_token"] != "<|eot|>" || w["pad_token"] != "<|end|>" || w["add_bos_token"] != true {
			t.Errorf("%s: text is by %v", name, w)
		}
		if s := readObject(t, dir, specialsFile); !cmp.Equal(s["additional_special_tokens"], []any{"<|eom|>"}) || s["bos_token"] != "<s>" {
			t.Errorf("%s: special are %v", name, s)
		}
	}
}

func readObject(t testing.TB, dir, name string) (v map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestGGUFOfATaughtBase(t *testing.T) {
	for _, k := range groupedKinds {
		dir, m, f := writeGrouped(t, k, Options{Formats: []Format{GGUF}, Lineage: Lineage{Base: &BaseRef{Name: "a/base", Hash: "77"}}})
		g, err := modelfile.OpenGGUF(filepath.Join(dir, ggufFile))
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		tokens := g.Value("tokenizer.ggml.tokens").([]string)
		types := g.Value("tokenizer.ggml.token_type").([]int32)
		known, rows := f.Tokenizer().VocabSize(), m.Config().VocabSize
		if len(tokens) != rows || len(types) != rows || tokens[known] != "[PAD"+number(known)+"]" || types[known] != tokenUnused || types[known-1] != tokenUserDefined || types[0] != tokenControl {
			t.Errorf("%s: %d tokens of %d, which end %q of types %v", k.name, len(tokens), rows, tokens[known-1:], types[known-1:])
		}
		for key, want := range map[string]any{
			"general.architecture": k.family, k.family + ".attention.head_count_kv": uint32(2), k.family + ".rope.freq_base": float32(512),
			k.family + ".attention.key_length": uint32(m.Config().RopeDim), "tokenizer.ggml.pre": k.rule.String(), "general.file_type": uint32(0),
			"tokenizer.ggml.bos_token_id": uint32(0), "tokenizer.ggml.eos_token_id": uint32(1), "tokenizer.ggml.eot_token_id": uint32(2),
			"tokenizer.ggml.eom_token_id": uint32(known - 2), "tokenizer.ggml.padding_token_id": uint32(known - 2),
			"tokenizer.ggml.add_bos_token": true, "tokenizer.chat_template": turns, "general.base_model.0.name": "a/base", "general.quantization_version": nil,
		} {
			if got := g.Value(key); got != want {
				t.Errorf("%s: %s is %v, want %v", k.name, key, got, want)
			}
		}
		// The tokens of rows that no token has are not read as tokens of a next export.
		b, err := base.Read(filepath.Join(dir, ggufFile))
		if err != nil {
			t.Fatal(err)
		}
		bf, err := b.Format()
		if err != nil {
			t.Fatal(err)
		}
		again := filepath.Join(t.TempDir(), "again")
		if _, err := Write(context.Background(), again, b.Model, bf, Options{Formats: []Format{GGUF}, Lineage: Lineage{Base: &BaseRef{Name: "a/base", Hash: "77"}}}); err != nil {
			t.Fatal(err)
		}
		if first, second := readAll(t, dir)[ggufFile], readAll(t, again)[ggufFile]; first != second {
			t.Errorf("%s: read and written again the file has other bytes", k.name)
		}
	}
}

func number(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// What a file holds is what Narrowed says, of every architecture and type.
func TestNarrowedIsWhatTheFileHolds(t *testing.T) {
	type written struct {
		name   string
		m      *model.Model
		f      *chat.Format
		layout Layout
	}
	var all []written
	for _, k := range groupedKinds {
		f := foreign(t, k.rule)
		all = append(all, written{k.name, k.model(t, f.Tokenizer().VocabSize()), f, Absorbed})
	}
	tok := tinyTokenizer(t)
	for name, c := range configs(tok.VocabSize()) {
		c.Hidden, c.NopeDim, c.KVLoraRank, c.MoEIntermediate = 64, 32, 32, c.MoEIntermediate/11*32 // rows that can be cut into blocks
		m, err := model.New(c, 1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, written{name, m, chat.Own(tok), Absorbed}, written{name + " legacy", m, chat.Own(tok), Legacy})
	}
	for _, w := range all {
		for _, typ := range []modelfile.Type{modelfile.F16, modelfile.Q8_0, modelfile.Q4_0, modelfile.Q4_1} {
			file := tensorsOf(t, w.m, w.f, Options{GGUFType: typ, GGUFLayout: w.layout})
			n, err := Narrowed(w.m, typ, w.layout)
			if err != nil {
				t.Fatal(err)
			}
			want := tensorsOf(t, n, w.f, Options{GGUFLayout: w.layout})
			blocks := 0
			for name, x := range file {
				if !slices.Equal(x.values, want[name].values) {
					t.Errorf("%s as %s: %s (%s) is not what Narrowed says", w.name, typ, name, x.Type)
				}
				if x.Type.Block() > 1 {
					blocks++
				}
				row := x.Shape[len(x.Shape)-1]
				logits := name == "output.weight" || name == "token_embd.weight" && w.m.Config().TieEmbeddings
				expect := typ
				switch {
				case len(x.Shape) == 1 || strings.HasSuffix(name, "ffn_gate_inp.weight"):
					expect = modelfile.F32
				case row%typ.Block() != 0:
					expect = modelfile.F16
				case logits && typ != modelfile.F16:
					expect = modelfile.Q8_0
				}
				if x.Type != expect {
					t.Errorf("%s as %s: %s is %s, want %s", w.name, typ, name, x.Type, expect)
				}
			}
			if (blocks == 0) != (typ == modelfile.F16) || n.Hash() == w.m.Hash() {
				t.Errorf("%s as %s: %d matrices in blocks", w.name, typ, blocks)
			}
		}
	}
	if _, err := Narrowed(all[0].m, "Q6_K", Absorbed); err == nil {
		t.Error("a type that is not written narrows")
	}
}

type heldTensor struct {
	modelfile.Info
	values []float32
}

func tensorsOf(t *testing.T, m *model.Model, f *chat.Format, opt Options) map[string]heldTensor {
	t.Helper()
	opt.Formats = []Format{GGUF}
	s, err := newStudent(m, f, opt)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.writeGGUF(&b); err != nil {
		t.Fatal(err)
	}
	g, err := modelfile.ReadGGUF(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]heldTensor{}
	for _, info := range g.Tensors {
		x := heldTensor{info, make([]float32, info.Len())}
		if err := g.Read(info.Name, x.values); err != nil {
			t.Fatal(err)
		}
		out[info.Name] = x
	}
	if typ := opt.GGUFType; typ.Block() > 1 && g.Value("general.quantization_version") != uint32(2) {
		t.Errorf("%s without the version of its blocks", typ)
	}
	return out
}

func adapterOf(t testing.TB, c model.Config) *model.Adapter {
	t.Helper()
	a, err := model.NewAdapter(c, model.LoRA{Rank: 3, Alpha: 5, Targets: []string{"q_proj", "down_proj"}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range a.Tensors() {
		for i := range x.Data {
			x.Data[i] += float32(i%11) / 64
		}
	}
	return a
}

func TestTheAdapterIsWrittenBesideTheWeights(t *testing.T) {
	k := groupedKinds[0]
	f := foreign(t, k.rule)
	untaught := k.model(t, f.Tokenizer().VocabSize())
	a, taught := adapterOf(t, untaught.Config()), untaught.Clone()
	if err := a.Merge(taught); err != nil {
		t.Fatal(err)
	}
	l := lineage()
	l.License = ""
	l.Base = &BaseRef{Name: "some/base-*1*", Architecture: k.class, Hash: untaught.Hash(), License: "mit"}
	dir := filepath.Join(t.TempDir(), "m")
	manifest, err := Write(context.Background(), dir, taught, f, Options{Formats: []Format{GGUF}, Adapter: a, Lineage: l, GGUFType: modelfile.Q8_0})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(p.Files, manifest.Files) || p.Adapter == nil || p.Adapter.Hash != a.Hash() || !reflect.DeepEqual(p.Adapter.LoRA, a.LoRA()) || !cmp.Equal(p.Base, l.Base) {
		t.Errorf("the passport says of the adapter %+v, of the base %+v, of files %v", p.Adapter, p.Base, p.Files)
	}
	listed := 0
	for _, x := range p.Files {
		if strings.HasPrefix(x.Name, "adapter/") {
			listed++
		}
	}
	back, err := base.ReadAdapter(filepath.Join(dir, adapterDir), untaught)
	if err != nil || back.Hash() != a.Hash() || listed != 2 {
		t.Errorf("another adapter is read, or none (%v), of %d files", err, listed)
	}
	if _, err := base.ReadAdapter(filepath.Join(dir, adapterDir), taught); !errors.Is(err, base.ErrOtherBase) {
		t.Errorf("for the taught model it gives %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, cardFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`base_model: "some/base-*1*"`, "base_model_relation: finetune", "  - llama\n", "by an adapter of rank 3, which is merged", `some/base-\*1\*`,
		"The architecture is LlamaForCausalLM", "It knows what its base knew", "PeftModel.from_pretrained", "`<|eot|>` end a turn",
		"rounded to\nQ8_0", "Its base was given under mit", "rank 3, alpha 5, on q\\_proj, down\\_proj", untaught.Hash(),
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the card lacks %q:\n%s", want, data)
		}
	}
	for _, not := range []string{"random weights", "DeepSeek", "ChatML"} {
		if strings.Contains(string(data), not) {
			t.Errorf("the card says %q", not)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, adapterDir, "adapter_config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mismatch *MismatchError
	if _, err := Verify(dir); !errors.As(err, &mismatch) || mismatch.What != "adapter/adapter_config.json" {
		t.Errorf("of a changed adapter Verify says %v", err)
	}
}

func TestTheCardSaysWhereTransformersTakesAnotherTokenizer(t *testing.T) {
	for _, k := range groupedKinds {
		dir, _, _ := writeGrouped(t, k, Options{})
		says := strings.Contains(readAll(t, dir)[cardFile], "load it with PreTrainedTokenizerFast")
		if says != (k.name == "qwen2-wide") {
			t.Errorf("%s: %v", k.name, says)
		}
	}
}

func TestTaughtBasesThatCannotBeWrittenAreRefused(t *testing.T) {
	k, f := groupedKinds[0], foreign(t, tokenizer.Llama3)
	tokens := f.Tokenizer().VocabSize()
	of := func(change func(c *model.Config)) *model.Model {
		return groupedKind{name: "x", change: change}.model(t, tokens)
	}
	spec := func(change func(s *chat.Spec)) *chat.Format {
		s := f.Spec()
		s.End = slices.Clone(s.End)
		change(&s)
		out, err := chat.New(f.Tokenizer(), s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	m := k.model(t, tokens)
	odd := of(func(c *model.Config) { c.RopeFactors, c.RopeDim, c.VDim = true, 8, 8 })
	for _, x := range odd.Tensors() {
		if x.Name == model.RopeFactorsName {
			copy(x.Data, []float32{1, 3, 2, 5})
		}
	}
	nan := m.Clone()
	nan.Tensors()[3].Data[1] = float32(math.Inf(1))
	large := m.Clone()
	large.Tensors()[0].Data[1] = 1e9
	a := adapterOf(t, m.Config())
	broken := adapterOf(t, m.Config())
	broken.Tensors()[0].Data[0] = float32(math.NaN())
	with := Lineage{Base: &BaseRef{Name: "b", Hash: "1"}}
	parent := t.TempDir()
	for _, c := range []struct {
		want string
		m    *model.Model
		f    *chat.Format
		opt  Options
	}{
		{"both biases and norms", of(func(c *model.Config) { c.QKVBias, c.QKNorm = true, true }), f, Options{}},
		{"mixture of experts", of(func(c *model.Config) {
			c.DenseLayers, c.MoEIntermediate, c.RoutedExperts, c.SharedExperts, c.TopK = 1, 8, 3, 1, 1
		}), f, Options{}},
		{"none of the rules that transformers has", odd, f, Options{}},
		{"qwen3 has no factors", of(func(c *model.Config) { c.QKNorm, c.RopeFactors = true, true }), f, Options{Formats: []Format{GGUF}}},
		{"has diverged", nan, f, Options{}},
		{"model.gguf: write GGUF: tensor", large, f, Options{Formats: []Format{GGUF}, GGUFType: modelfile.Q8_0}},
		{"model.gguf: write GGUF: tensor", large, f, Options{Formats: []Format{GGUF}, GGUFType: modelfile.F16}},
		{"tokens and the tokenizer", groupedKind{change: func(c *model.Config) { c.VocabSize = tokens - 1 }}.model(t, tokens), f, Options{}},
		{`bos_token "the" is not one of its added tokens`, m, spec(func(s *chat.Spec) { s.BOS = "the" }), Options{}},
		{`eos_token "nope" is not one of its added tokens`, m, spec(func(s *chat.Spec) { s.EOS = "nope" }), Options{}},
		{"it could be text", m, spec(func(s *chat.Spec) { s.EOS, s.End = "", []int32{40, 1} }), Options{}},
		{"keys for 3 tokens that end an answer, and this model has 5", m, spec(func(s *chat.Spec) { s.End = append(s.End, 50, 51) }), Options{Formats: []Format{GGUF}}},
		{"does not name one with its hash", m, f, Options{Adapter: a}},
		{"the adapter is for a model of another configuration", of(func(c *model.Config) { c.RopeTheta = 1024 }), f, Options{Adapter: a, Lineage: with}},
		{"the adapter's matrix", m, f, Options{Adapter: broken, Lineage: with}},
	} {
		if _, err := Write(context.Background(), filepath.Join(parent, "m"), c.m, c.f, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want an error about %q", err, c.want)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("failed exports leave %v", left)
	}
}

// stopped is done once it has been asked so many times.
type stopped struct {
	context.Context
	left int
}

func (s *stopped) Err() error {
	if s.left--; s.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestAnInterruptedExportLeavesWhatWasThere(t *testing.T) {
	k := groupedKinds[0]
	f := foreign(t, k.rule)
	m := k.model(t, f.Tokenizer().VocabSize())
	parent := t.TempDir()
	dir := filepath.Join(parent, "m")
	opt := Options{Formats: []Format{GGUF}, Adapter: adapterOf(t, m.Config()), Lineage: Lineage{Base: &BaseRef{Name: "b", Hash: "1"}}}
	if _, err := Write(context.Background(), dir, m, f, opt); err != nil {
		t.Fatal(err)
	}
	whole, done := readAll(t, dir), false
	for n := 0; !done; n += 1 + n/4 {
		_, err := Write(&stopped{context.Background(), n}, dir, m, f, opt)
		if done = err == nil; !done && !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %d it says %v", n, err)
		}
		if _, err := Verify(dir); err != nil {
			t.Fatalf("stopped at %d: %v", n, err)
		}
		if left, _ := os.ReadDir(parent); len(left) != 1 {
			t.Fatalf("stopped at %d it leaves %v", n, left)
		}
		if n > 1000 {
			t.Fatal("it is never done")
		}
	}
	if d := cmp.Diff(whole, readAll(t, dir)); d != "" {
		t.Errorf("written again the files differ:\n%s", d)
	}
}

func TestPassportsThatNameFilesElsewhereAreRefused(t *testing.T) {
	for _, name := range []string{"../secret", "/etc/passwd", "adapter/../../x", "", ".", "a//b"} {
		dir, _, _ := writeGrouped(t, groupedKinds[0], Options{})
		p := readObject(t, dir, passportFile)
		p["files"].([]any)[0].(map[string]any)["name"] = name
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, passportFile), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), "not a file of the directory") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
