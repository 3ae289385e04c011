package recipe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const minimal = `retort: 1
name: r
teacher: {reference: {}}
budget: {usd: 1}
prompts: [{family: chain, train: 10, heldout: 2}]
`

func parse(t *testing.T, text string) *Recipe {
	t.Helper()
	r, err := Parse(filepath.Join(t.TempDir(), "r.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hash(t *testing.T, text string) string {
	t.Helper()
	h, err := parse(t, text).Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWhatIsShownIsTheSameRecipe(t *testing.T) {
	for _, text := range []string{
		minimal,
		strings.Replace(minimal, "{reference: {}}", "{base_url: 'http://127.0.0.1:1/v1', model: m, price: {input: 1, output: 2, cached_input: 0}, request: {extra_body: {a: [1, {b: 2}]}}}", 1) +
			"eval: {against: [teacher, {recipe: other.yaml}]}\ncurate: {reasoning: drop}\ntrain: [{sft: {tokens: 1000}}]\n",
	} {
		r := parse(t, text)
		shown, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again := parse(t, string(shown))
		a, _ := json.Marshal(r)
		b, _ := json.Marshal(again)
		if d := cmp.Diff(string(a), string(b)); d != "" {
			t.Errorf("reading what is shown gives another recipe:\n%s\n%s", shown, d)
		}
		for _, want := range []string{"batch_tokens: 2048", "concurrent: 32", "keep: correct"} {
			if !strings.Contains(string(shown), want) {
				t.Errorf("the default %q is not shown:\n%s", want, shown)
			}
		}
	}
}

func TestTheHashCoversWhatDecidesTheResult(t *testing.T) {
	base := hash(t, minimal)
	for _, same := range []string{
		strings.Replace(minimal, "usd: 1", "usd: 2", 1),
		strings.Replace(minimal, "{reference: {}}", "{reference: {}, limits: {concurrent: 2, rpm: 60}}", 1),
		minimal + "seed: 1\n",
		minimal + "curate: {keep: correct}\n",
	} {
		if hash(t, same) != base {
			t.Errorf("it moved with what does not decide the result:\n%s", same)
		}
	}
	seen := map[string]string{base: minimal}
	for _, other := range []string{
		minimal + "seed: 2\n",
		minimal + "curate: {reasoning: drop}\n",
		minimal + "train: [{sft: {epochs: 6}}]\n",
		strings.Replace(minimal, "name: r", "name: s", 1),
		strings.Replace(minimal, "train: 10", "train: 11", 1),
		strings.Replace(minimal, "{reference: {}}", "{reference: {seed: 5}}", 1),
		strings.Replace(minimal, "{reference: {}}", "{reference: {}, request: {temperature: 0}}", 1),
	} {
		h := hash(t, other)
		if twin, ok := seen[h]; ok {
			t.Errorf("two recipes have one hash:\n%s\n%s", twin, other)
		}
		seen[h] = other
	}
}

func TestTheHashCoversTheFilesThatAreNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.jsonl")
	read := func(content string) string {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Parse(filepath.Join(dir, "r.yaml"), []byte(strings.Replace(minimal, "family: chain, train: 10, heldout: 2", "file: p.jsonl", 1)))
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if read(`{"prompt":"a"}`) == read(`{"prompt":"b"}`) {
		t.Error("another file of prompts, the same hash")
	}
}

func TestEveryRecipeThatComesWithTheProgramIsRight(t *testing.T) {
	files, err := filepath.Glob("../recipes/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		r, err := Load(f)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := r.sources(); err != nil {
			t.Error(err)
		}
		if want := strings.TrimSuffix(filepath.Base(f), ".yaml"); r.Name != want {
			t.Errorf("%s is called %s", f, r.Name)
		}
	}
}

func TestTheSchemaKnowsEveryKey(t *testing.T) {
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]struct{ Description string }
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"retort", "name", "seed", "use", "teacher", "budget", "prompts", "verify", "accept", "curate", "student", "train", "eval", "export"} {
		if p, ok := schema.Properties[key]; !ok || p.Description == "" {
			t.Errorf("%q is missing or undescribed: %+v", key, p)
		}
	}
	if s := string(raw); !strings.Contains(s, "muon_rate") || !strings.Contains(s, "missing_usage") || !strings.Contains(s, "modulus") {
		t.Error("inner keys are missing")
	}
}

func TestTheNearestKeyIsAKeyThatIsNear(t *testing.T) {
	valid := []string{"epochs", "tokens", "optimizer"}
	for key, want := range map[string]string{"epoch": "epochs", "Epochs": "epochs", "optimiser": "optimizer", "zzz": "", "tokne": "tokens"} {
		if got := nearest(key, valid); got != want {
			t.Errorf("nearest(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestStagesAreInTheOrderInWhichTheyNeedEachOther(t *testing.T) {
	var names []string
	for _, s := range (&run{}).stages() {
		names = append(names, s.name)
	}
	if d := cmp.Diff([]string{"collect", "dataset", "tokenizer", "train", "eval", "export", "report"}, names); d != "" {
		t.Error(d)
	}
}
