package export

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/teach/dataset"
	"retort/terms"
)

func tinyTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"user\nWhat is 2 times 3?", "assistant\n", "2*3=6, so the answer is 6."}), tokenizer.Options{VocabSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// configs are small, with sizes that are all different, so that a transposed or
// mixed-up tensor cannot pass.
func configs(vocab int) map[string]model.Config {
	moe := model.Config{
		VocabSize: vocab, Hidden: 24, Layers: 3, Heads: 2, NopeDim: 6, RopeDim: 4, VDim: 5, KVLoraRank: 7, QLoraRank: 9,
		Intermediate: 20, MoEIntermediate: 11, RoutedExperts: 4, SharedExperts: 1, TopK: 2, DenseLayers: 1,
		RopeTheta: 200, NormEps: 1e-6, MaxPositions: 64, RoutedScale: 1.5,
	}
	dense := moe
	dense.DenseLayers, dense.QLoraRank, dense.TieEmbeddings = 3, 0, true
	dense.MoEIntermediate, dense.RoutedExperts, dense.SharedExperts, dense.TopK, dense.RoutedScale = 0, 0, 0, 0, 1
	return map[string]model.Config{"moe": moe, "dense": dense}
}

func lineage() Lineage {
	return Lineage{
		Name: "quickstart", Created: "2026-11-25T01:00:00Z", Tool: dataset.Tool{Name: "retort", Version: "test"},
		Recipe: dataset.Recipe{Name: "quickstart", Hash: "abcdef0123456789"}, License: "Apache-2.0",
		Dataset:  DatasetRef{Hash: "d00d", Examples: 12000, Families: map[string]int{"multiply": 3000}},
		Teachers: []dataset.Teacher{{Provider: "reference", Endpoint: "reference:1", Model: "teacher|*x*"}},
		Terms:    []dataset.Terms{{ID: "reference", Document: "own teacher", Basis: "own server", Decision: "allow", Obligations: []terms.Obligation{{Kind: terms.Duty, Text: "name the <teacher>"}}, Examples: 12000}},
		Training: Training{Tokens: 6_000_000, Steps: 3000, Seed: 1},
		Eval: []Result{
			{Family: "multiply", N: 500, Student: 0.97, Teacher: 1, Diff: -0.03, CI95: [2]float64{-0.046, -0.018}},
			{Family: "tickets", N: 40, Student: 0.8, CI95: [2]float64{0.65, 0.9}, Agreement: true},
		},
	}
}

func write(t *testing.T, name string, opt Options) (dir string, m *model.Model, tok *tokenizer.Tokenizer) {
	t.Helper()
	tok = tinyTokenizer(t)
	m, err := model.New(configs(tok.VocabSize())[name], 1)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "models", "m")
	got, err := Write(context.Background(), dir, m, chat.Own(tok), opt)
	if err != nil {
		t.Fatal(err)
	}
	if total, _ := m.Config().Params(); got.Hash != m.Hash() || got.Params != total || got.Dir != dir {
		t.Errorf("the manifest says %+v", got)
	}
	return dir, m, tok
}

func TestAModelComesBackAsItWasWritten(t *testing.T) {
	for name := range configs(300) {
		dir, m, tok := write(t, name, Options{Formats: []Format{HuggingFace, GGUF}, Lineage: lineage()})
		back, format, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if back.Hash() != m.Hash() || string(format.Tokenizer().JSON()) != string(tok.JSON()) {
			t.Errorf("%s: model or tokenizer changed", name)
		}
		p, err := Verify(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(lineage(), p.Lineage); d != "" {
			t.Errorf("%s: the passport's lineage differs:\n%s", name, d)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		want := []string{"Modelfile", "README.md", "config.json", "generation_config.json", "model.gguf", "model.safetensors",
			"passport.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
		if !slices.Equal(names, want) || len(p.Files) != len(want)-2 {
			t.Errorf("%s: the directory holds %v, the passport %d files", name, names, len(p.Files))
		}
	}
}

func TestWritingTwiceReplacesAndIsDeterministic(t *testing.T) {
	dir, m, tok := write(t, "moe", Options{Formats: []Format{GGUF}, Lineage: lineage()})
	first := readAll(t, dir)
	if _, err := Write(context.Background(), dir, m, chat.Own(tok), Options{Formats: []Format{GGUF}, Lineage: lineage()}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, readAll(t, dir)); d != "" {
		t.Errorf("the same export has other bytes:\n%s", d)
	}
	if _, err := Write(context.Background(), dir, m, chat.Own(tok), Options{Lineage: lineage()}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "model.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file of the replaced export is still there")
	}
}

// readAll reads a directory and those below it.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir+string(filepath.Separator))] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDamageIsRefused(t *testing.T) {
	flip := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	passport := func(change func(p *Passport)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			p, err := ReadPassport(dir)
			if err != nil {
				t.Fatal(err)
			}
			change(&p)
			data, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "passport.json"), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name     string
		damage   func(t *testing.T, dir string)
		want     string
		onlyLoad bool // Verify compares files with the passport, not the model
	}{
		{"weights", flip("model.safetensors"), "model.safetensors is", false},
		{"configuration", flip("config.json"), "config.json is", false},
		{"tokenizer", flip("tokenizer.json"), "tokenizer.json is", false},
		{"template", flip("tokenizer_config.json"), "tokenizer_config.json is", false},
		{"ends", flip("generation_config.json"), "generation_config.json is", false},
		{"special tokens", flip("special_tokens_map.json"), "special_tokens_map.json is", false},
		{"another template", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chat_template.jinja is no file", true},
		{"GGUF", flip("model.gguf"), "model.gguf is", false},
		{"cut", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 1000); err != nil {
				t.Fatal(err)
			}
		}, "found 1000 bytes", false},
		{"missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "model.safetensors")) }, "no file", false},
		{"no passport", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "passport.json")) }, "not a model of this program", false},
		{"model hash", passport(func(p *Passport) { p.Hash = strings.Repeat("0", 64) }), "the model's hash is 0000", true},
		{"other configuration", passport(func(p *Passport) { p.Config.RopeTheta = 10000 }), "the model's hash is", true},
		{"larger configuration", passport(func(p *Passport) { p.Config.Hidden = 1 << 12 }), "its configuration asks for", true},
		{"impossible configuration", passport(func(p *Passport) { p.Config.Heads = 0 }), "num_attention_heads", true},
		{"unlisted", passport(func(p *Passport) { p.Files = nil }), "does not list", true},
		{"format", passport(func(p *Passport) { p.Version = 9 }), "version 9", false},
	} {
		dir, _, _ := write(t, "moe", Options{Formats: []Format{GGUF}})
		c.damage(t, dir)
		_, _, err := Load(dir)
		if c.name == "GGUF" {
			if err != nil {
				t.Errorf("%s: Load says %v, though it does not read that file", c.name, err)
			}
			_, err = Verify(dir)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want an error about %q in %s", c.name, err, c.want, dir)
		}
		if _, err := Verify(dir); (err == nil) != c.onlyLoad {
			t.Errorf("%s: Verify says %v", c.name, err)
		}
	}
}

func TestNothingIsLeftOfAnExportThatFails(t *testing.T) {
	tok := tinyTokenizer(t)
	m, err := model.New(configs(tok.VocabSize())["moe"], 1)
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Write(cancelled, filepath.Join(parent, "m"), m, chat.Own(tok), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled export says %v", err)
	}
	small := m.Config()
	small.VocabSize--
	other, err := model.New(small, 1)
	if err != nil {
		t.Fatal(err)
	}
	diverged := m.Clone()
	diverged.Tensors()[3].Data[1] = float32(math.NaN())
	for _, c := range []struct {
		m    *model.Model
		opt  Options
		want string
	}{
		{m, Options{Formats: []Format{"onnx"}}, `"onnx" is unknown`},
		{m, Options{GGUFType: "Q4_K"}, `"Q4_K" is unknown`},
		{m, Options{GGUFLayout: "new"}, `"new" is unknown`},
		{other, Options{}, "tokens and the tokenizer"},
		{diverged, Options{}, "has diverged"},
	} {
		if _, err := Write(context.Background(), filepath.Join(parent, "m"), c.m, chat.Own(tok), c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want an error about %q", err, c.want)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("failed exports leave %v", left)
	}
}

// Whatever is left out of config.json is read as the 671B model's, silently.
func TestConfigurationLeavesNothingToDefaults(t *testing.T) {
	for name, want := range map[string]map[string]any{
		"moe":   {"q_lora_rank": 9.0, "n_routed_experts": 4.0, "first_k_dense_replace": 1.0, "routed_scaling_factor": 1.5, "tie_word_embeddings": false},
		"dense": {"q_lora_rank": nil, "n_routed_experts": 2.0, "first_k_dense_replace": 3.0, "routed_scaling_factor": 1.0, "tie_word_embeddings": true},
	} {
		dir, m, tok := write(t, name, Options{})
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		c := m.Config()
		eos, _ := tok.ID(tokenizer.ImEnd)
		for key, value := range map[string]any{
			"architectures": []any{"DeepseekV3ForCausalLM"}, "model_type": "deepseek_v3", "num_key_value_heads": float64(c.Heads),
			"n_group": 1.0, "topk_group": 1.0, "norm_topk_prob": true, "scoring_func": "sigmoid", "rope_interleave": true,
			"rope_theta": 200.0, "rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 200.0}, "rms_norm_eps": 1e-6,
			"num_nextn_predict_layers": 0.0, "attention_bias": false, "hidden_act": "silu", "eos_token_id": float64(eos),
		} {
			want[key] = value
		}
		for key, value := range want {
			if have, ok := got[key]; !ok || !cmp.Equal(have, value) {
				t.Errorf("%s: %s is %v, want %v", name, key, have, value)
			}
		}
	}
}

func TestNumbersOfTheConfigurationAreDecimals(t *testing.T) {
	for _, c := range []struct {
		in   decimal
		want string
	}{{1, "1.0"}, {1.5, "1.5"}, {1e-6, "0.000001"}, {200, "200.0"}, {0, "0.0"}, {1e30, "1e+30"}} {
		if got, err := json.Marshal(c.in); err != nil || string(got) != c.want {
			t.Errorf("%v is written as %s, %v, want %s", float64(c.in), got, err, c.want)
		}
	}
}

func TestGGUFHoldsTheSameWeights(t *testing.T) {
	for name, c := range configs(0) {
		for _, layout := range []Layout{Absorbed, Legacy} {
			dir, m, _ := write(t, name, Options{Formats: []Format{GGUF}, GGUFLayout: layout})
			g, err := modelfile.OpenGGUF(filepath.Join(dir, "model.gguf"))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			read := func(name string) []float32 {
				info, ok := g.Lookup(name)
				if !ok {
					t.Fatalf("there is no tensor %s", name)
				}
				x := make([]float32, info.Len())
				if err := g.Read(name, x); err != nil {
					t.Fatal(err)
				}
				return x
			}
			weights := map[string][]float32{}
			for _, x := range m.Tensors() {
				weights[x.Name] = x.Data
			}
			kvb := weights["model.layers.1.self_attn.kv_b_proj.weight"]
			if layout == Legacy {
				if !slices.Equal(read("blk.1.attn_kv_b.weight"), kvb) {
					t.Errorf("%s: attn_kv_b differs", name)
				}
			} else {
				k, v := read("blk.1.attn_k_b.weight"), read("blk.1.attn_v_b.weight")
				for h := range c.Heads {
					for j := range c.KVLoraRank {
						row := h * (c.NopeDim + c.VDim)
						for i := range c.NopeDim {
							if k[(h*c.KVLoraRank+j)*c.NopeDim+i] != kvb[(row+i)*c.KVLoraRank+j] {
								t.Fatalf("%s: attn_k_b[%d][%d][%d] is not kv_b's", name, h, j, i)
							}
						}
						for i := range c.VDim {
							if v[(h*c.VDim+i)*c.KVLoraRank+j] != kvb[(row+c.NopeDim+i)*c.KVLoraRank+j] {
								t.Fatalf("%s: attn_v_b[%d][%d][%d] is not kv_b's", name, h, i, j)
							}
						}
					}
				}
			}
			if name == "moe" {
				var want []float32
				for e := range c.RoutedExperts {
					want = append(want, weights["model.layers.2.mlp.experts."+string(rune('0'+e))+".down_proj.weight"]...)
				}
				if !slices.Equal(read("blk.2.ffn_down_exps.weight"), want) {
					t.Error("the experts are stacked in another order")
				}
			}
			if want := weights["lm_head.weight"]; want != nil && !slices.Equal(read("output.weight"), want) {
				t.Errorf("%s: output.weight differs", name)
			}
		}
	}
}

// What a student's GGUF holds can be taught and served as a base, to the same weights.
func TestOurGGUFIsReadAsABase(t *testing.T) {
	for name := range configs(0) {
		for _, layout := range []Layout{Absorbed, Legacy} {
			dir, m, tok := write(t, name, Options{Formats: []Format{GGUF}, GGUFLayout: layout})
			b, err := base.Read(filepath.Join(dir, "model.gguf"))
			if err != nil {
				t.Errorf("%s, %v: %v", name, layout, err)
				continue
			}
			if b.Model.Config() != m.Config() || b.Model.Hash() != m.Hash() {
				t.Errorf("%s, %v: read as another model, of %+v", name, layout, b.Model.Config())
			}
			own, err := b.Format()
			if err != nil || b.Tokenizer.VocabSize() != tok.VocabSize() {
				t.Fatalf("%s, %v: %v, %d tokens", name, layout, err, b.Tokenizer.VocabSize())
			}
			said := []exchange.Message{{Role: "user", Content: "What is 2 times 3?"}}
			want, err := chat.Own(tok).Prompt(said)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := own.Prompt(said); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s, %v: the prompt is %v (%v), want %v", name, layout, got, err, want)
			}
		}
	}
}

func TestF16GGUFKeepsNormsAndRouterWide(t *testing.T) {
	dir, _, _ := write(t, "moe", Options{Formats: []Format{GGUF}, GGUFType: modelfile.F16})
	g, err := modelfile.OpenGGUF(filepath.Join(dir, "model.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, x := range g.Tensors {
		want := modelfile.F16
		if strings.HasSuffix(x.Name, "norm.weight") || strings.HasSuffix(x.Name, "ffn_gate_inp.weight") || strings.HasSuffix(x.Name, ".bias") {
			want = modelfile.F32
		}
		if x.Type != want {
			t.Errorf("%s is %s, want %s", x.Name, x.Type, want)
		}
	}
	if g.Value("general.file_type") != uint32(1) {
		t.Errorf("general.file_type is %v", g.Value("general.file_type"))
	}
}

// Ollama runs its templates with text/template too.
func TestOllamaTemplateRendersTheConversation(t *testing.T) {
	type message struct{ Role, Content, Thinking string }
	msgs := []exchange.Message{
		{Role: "system", Content: "Be brief."}, {Role: "user", Content: "2 times 3?"},
		{Role: "assistant", Content: "6", Reasoning: "2*3=6"}, {Role: "user", Content: "times 4?"},
	}
	var data struct{ Messages []message }
	for _, m := range msgs {
		data.Messages = append(data.Messages, message{m.Role, m.Content, m.Reasoning})
	}
	var b strings.Builder
	if err := template.Must(template.New("").Parse(OllamaTemplate)).Execute(&b, data); err != nil {
		t.Fatal(err)
	}
	if want := chat.Render(msgs, true); b.String() != want {
		t.Errorf("it renders\n%q, want\n%q", b.String(), want)
	}
	dir, _, _ := write(t, "dense", Options{Formats: []Format{GGUF}})
	file, err := os.ReadFile(filepath.Join(dir, "Modelfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FROM ./model.gguf", OllamaTemplate, `PARAMETER stop "<|im_end|>"`, "PARAMETER num_ctx 64"} {
		if !strings.Contains(string(file), want) {
			t.Errorf("the Modelfile lacks %q", want)
		}
	}
}

func TestCardSaysWhatWasMeasuredAndUnderWhichTerms(t *testing.T) {
	dir, m, _ := write(t, "moe", Options{Formats: []Format{GGUF}, Lineage: lineage()})
	data, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	card := string(data)
	front, body, ok := strings.Cut(strings.TrimPrefix(card, "---\n"), "\n---\n")
	if !ok {
		t.Fatal("the card has no front matter")
	}
	var meta struct {
		License string
		Library string `yaml:"library_name"`
		Tags    []string
		Index   []struct {
			Results []struct {
				Dataset struct{ Name string }
				Metrics []struct {
					Type  string
					Value float64
				}
			}
		} `yaml:"model-index"`
	}
	if err := yaml.Unmarshal([]byte(front), &meta); err != nil {
		t.Fatalf("front matter: %v\n%s", err, front)
	}
	if meta.License != "Apache-2.0" || meta.Library != "transformers" || len(meta.Index) != 1 || len(meta.Index[0].Results) != 2 ||
		meta.Index[0].Results[0].Metrics[0].Value != 0.97 || meta.Index[0].Results[1].Metrics[0].Type != "agreement" {
		t.Errorf("front matter says %+v", meta)
	}
	for _, want := range []string{
		"| multiply | 500 | 97.0% | 100.0% | -3.0 (-4.6 to -1.8) |",
		"| tickets | 40 | 80.0% (65.0% to 90.0%) |",
		"agreement with the teacher", m.Hash(), `teacher\|\*x\*`, `name the \<teacher\>`, "12000 examples under **reference**", "retort serve", "ollama create",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the card lacks %q:\n%s", want, body)
		}
	}
	dir, _, _ = write(t, "moe", Options{})
	data, err = os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"without an evaluation", "No terms were recorded", "No licence was chosen"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the bare card lacks %q:\n%s", want, data)
		}
	}
	if strings.Contains(string(data), "ollama") {
		t.Error("the card speaks of a GGUF that is not there")
	}
}
