package recipe

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"retort/internal/strict"
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
		"retort: 1\nname: a\nprompts: [{served: {}}, {served: {since: 2026-10-01, until: 3d, account: b, model: [c, 'd*']}, heldout: 3, terms: own-data}]\n",
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
		minimal + "train: [{sft: {precision: bf16}}]\n",
		minimal + "train: [{sft: {accumulate: 2}}]\n",
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

// shipped are the recipes that come with the program. What else stands there is
// another room's: recipe/loop's closed loop.
func shipped(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../recipes/*.yaml")
	files = slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == "closed-loop.yaml" })
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	return files
}

func TestEveryRecipeThatComesWithTheProgramIsRight(t *testing.T) {
	for _, f := range shipped(t) {
		r, err := Load(f)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := r.sources(t.Context(), nil); err != nil {
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
	for _, key := range []string{"retort", "name", "seed", "use", "teacher", "budget", "prompts", "verify", "accept", "curate", "student", "train", "eval", "export", "student_prompt", "terms", "model"} {
		if p, ok := schema.Properties[key]; !ok || p.Description == "" {
			t.Errorf("%q is missing or undescribed: %+v", key, p)
		}
	}
	if s := string(raw); !strings.Contains(s, "muon_rate") || !strings.Contains(s, "missing_usage") || !strings.Contains(s, "modulus") || !strings.Contains(s, "starlark") || !strings.Contains(s, "overrides") || !strings.Contains(s, "imported") || !strings.Contains(s, "RFC 3339") && !strings.Contains(s, "12h before the first plan") || !strings.Contains(s, "lora") || !strings.Contains(s, "forgotten") {
		t.Error("inner keys are missing")
	}
}

// Editors check recipes by the schema: it must accept what the program does.
func TestTheSchemaAcceptsEveryRecipe(t *testing.T) {
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("recipe.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("recipe.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text []byte) error {
		asJSON, err := yaml.YAMLToJSON(text)
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	for _, f := range shipped(t) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		r, err := Load(f)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := check(shown); err != nil {
			t.Errorf("%s with every default: %v\n%s", f, err, shown)
		}
	}
	for _, text := range []string{own, underTerms, imports, servedRecipe, handRecipe, strings.Replace(servedRecipe, "{}", "{account: a, model: [b, c]}", 1), minimal + "terms: {agreements: [a.json], overrides: [{row: openai, actions: [export], basis: b}]}\nmodel: {notices: [a, {file: b}]}\n"} {
		text = strings.NewReplacer("DISTRIBUTED", "true", "URL", "http://127.0.0.1/v1").Replace(text)
		if err := check([]byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	if check([]byte(minimal+"studnet: {}\n")) == nil {
		t.Error("the schema accepts a key that there is not")
	}
}

func TestTheNearestKeyIsAKeyThatIsNear(t *testing.T) {
	valid := []string{"epochs", "tokens", "optimizer"}
	for key, want := range map[string]string{"epoch": "epochs", "Epochs": "epochs", "optimiser": "optimizer", "zzz": "", "tokne": "tokens"} {
		if got := strict.Nearest(key, valid); got != want {
			t.Errorf("nearest(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestStagesAreInTheOrderInWhichTheyNeedEachOther(t *testing.T) {
	var names []string
	for _, s := range (&run{Recipe: &Recipe{Train: []Train{{SFT: &SFT{}}, {GRPO: &GRPO{}}}}}).stages() {
		names = append(names, s.name)
	}
	if d := cmp.Diff([]string{"collect", "dataset", "tokenizer", "train", "reinforce", "eval", "export", "report"}, names); d != "" {
		t.Error(d)
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"q.jsonl": `{"q": "1+1?"}` + "\n", "no.json": "{", "agreement.json": `{"id": "own"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const head = "retort: 1\nname: r\nteacher: {reference: {}}\nbudget: {usd: 1}\n"
	const chain = "prompts: [{family: chain, train: 1}]\n"
	for _, c := range []struct{ text, place, says string }{
		{head + "prompts:\n  - {file: q.jsonl, temlate: x}\n", ":6:21: ", `did you mean "template"?`},
		{head + "prompts:\n  - {family: chain, train: 1, template: x}\n", ":6:5: ", "leave file, field and gold out"},
		{head + "prompts:\n  - {file: q.jsonl, messages: m, template: '{{q}}'}\n", ":6:21: ", "leave template and field out"},
		{head + "prompts:\n  - {file: q.jsonl, heldout: {count: 1, expect: a}}\n", ":6:41: ", "name the file too"},
		{head + "prompts:\n  - {file: q.jsonl, samples: 1000}\n", ":6:21: ", "between 1 and 100"},
		{head + "prompts:\n  - {file: q.jsonl, format: sharegpt}\n", ":6:21: ", "belongs to imported conversations"},
		{head + "prompts:\n  - {imported: q.jsonl}\n", ":6:5: ", "under which terms"},
		{head + "prompts:\n  - {served: {snce: 30d}}\n", ":6:15: ", `did you mean "since"?`},
		{head + "prompts:\n  - {served: {since: yesterday}}\n", ":6:15: ", `prompts[0].served.since: "yesterday" is no date`},
		{head + "prompts:\n  - {served: {until: 3 weeks}}\n", ":6:15: ", "time before now (30d, 12h)"},
		{head + "prompts:\n  - {served: {since: 2026-02-01, until: 2026-01-01}}\n", ":6:15: ", "2026-02-01 is not before 2026-01-01"},
		{head + "prompts:\n  - {served: {since: 2d, until: 3d}}\n", ":6:15: ", "where the span ends"},
		{head + "prompts:\n  - {served: {account: ['']}}\n", ":6:15: ", "name an account"},
		{head + "prompts:\n  - {served: {model: ''}}\n", ":6:15: ", "or a pattern"},
		{head + "prompts:\n  - {served: {}, turns: all}\n", ":6:18: ", "has one answer"},
		{head + "prompts:\n  - {served: {}, consent: none}\n", ":6:18: ", "retort accounts consent"},
		{head + "prompts:\n  - {served: {}, format: log}\n", ":6:18: ", "leave format out"},
		{head + "prompts:\n  - {served: {}, field: q}\n", ":6:18: ", "leave field out"},
		{head + "prompts:\n  - {served: {}, file: q.jsonl}\n", ":6:5: ", "exclude each other"},
		{head + "prompts:\n  - {served: {}, steps: [2, 2]}\n", ":6:5: ", "no difficulty"},
		{head + "prompts:\n  - {served: {}, samples: 2}\n", ":6:18: ", "nothing is asked"},
		{head + "prompts:\n  - {served: {}, heldout: {file: q.jsonl}}\n", ":6:28: ", "number of requests"},
		{head + "prompts:\n  - {served: {}}\nstudent_prompt: {shots: drop}\n", ":7:18: ", "only its system prompt"},
		{head + "prompts:\n  - {served: {}}\nstudent_prompt: {template: drop}\n", ":7:18: ", "only its system prompt"},
		{head + "prompts:\n  - {imported: q.jsonl, terms: own-data, format: shargpt}\n", ":6:42: ", "none of the formats"},
		{head + "prompts:\n  - {imported: q.jsonl, terms: own-data, consent: recorded}\n", ":6:42: ", "where is it recorded?"},
		{head + "prompts:\n  - {imported: q.jsonl, terms: own-data, consent: maybe}\n", ":6:42: ", "none of recorded, none and unknown"},
		{head + chain + "verify: [{task: {}}, {regex: '('}]\n", ":6:23: ", "verify[1].regex"},
		{head + chain + "verify:\n  - {json_schema: no.json}\n", ":7:6: ", "verify[0].json_schema"},
		{head + chain + "verify:\n  - {starlark: gone.star}\n", ":7:6: ", "gone.star"},
		{head + chain + "verify:\n  - {task: {}, exact: {}}\n", ":7:5: ", "at once"},
		{head + chain + "student_prompt: {system: drop}\n", ":6:1: ", "this recipe has none"},
		{head + chain + "student: {base: m.gguf, preset: tiny}\n", ":6:25: ", "leave one of them out"},
		{head + chain + "student: {base: m.gguf, vocabulary: 500}\n", ":6:25: ", "brings its own tokenizer"},
		{head + chain + "student: {lora: {rank: 8}}\n", ":6:11: ", "name one"},
		{head + chain + "student: {terms: mit}\n", ":6:11: ", "nobody's licence"},
		{head + chain + "student: {base: m.gguf, lora: {rank: 2000}}\n", ":6:32: ", "not between 1 and 1024"},
		{head + chain + "student: {base: m.gguf, lora: {dropout: 1}}\n", ":6:32: ", "not a share from 0 to below 1"},
		{head + chain + "student: {base: m.gguf, lora: {alpha: -1}}\n", ":6:32: ", "not a positive number"},
		{head + chain + "eval: {against: [base]}\n", ":6:18: ", "starts from nothing"},
		{head + chain + "student: {base: m.gguf}\neval: {against: [untrained]}\n", ":7:18: ", "starts from a base"},
		{head + chain + "eval: {forgotten: [general]}\n", ":6:8: ", "nothing to forget"},
		{head + chain + "student: {base: m.gguf}\neval: {forgotten: [{file: q.jsonl}]}\n", ":7:20: ", "which field holds the answer?"},
		{head + chain + "student: {base: m.gguf}\neval: {forgotten: [{family: general, file: q.jsonl}]}\n", ":7:20: ", "a family or a file"},
		{head + chain + "student: {base: m.gguf}\neval: {forgotten: [{family: general, digits: [2, 2]}]}\n", ":7:20: ", "difficulty"},
		{head + chain + "student: {base: m.gguf}\neval: {forgotten: [poetry]}\n", ":7:20: ", "poetry"},
		{head + "prompts: [{file: q.jsonl}]\ntrain: [{sft: {precision: int4}}]\n", ":6:16: ", "none of fp32, bf16 and auto"},
		{head + "prompts: [{file: q.jsonl}]\ntrain: [{sft: {accumulate: -1}}]\n", ":6:16: ", "in -1 parts"},
		{head + chain + "train: [{grpo: {}}]\n", ":6:1: ", "a step of sft and"},
		{head + chain + "train: [{sft: {}}, {sft: {}}]\n", ":6:1: ", "a step of sft and"},
		{head + chain + "train: [{sft: {}}, {grpo: {group: 1}}]\n", ":6:28: ", "at least 2"},
		{head + chain + "train: [{sft: {}}, {grpo: {family: chess}}]\n", ":6:28: ", "chess"},
		{head + chain + "train: [{sft: {}}, {grpo: {family: chain, train: 20}}]\n", ":6:43: ", "fewer than the 32"},
		{head + chain + "train: [{sft: {}}, {grpo: {train: 20}}]\n", ":6:21: ", "name a family"},
		{head + chain + "train: [{sft: {}}, {grpo: {max_tokens: 600}}]\n", ":6:28: ", "do not fit"},
		{head + chain + "train: [{sft: {}}, {grpo: {form_reward: 2}}]\n", ":6:28: ", "not between 0 and 1"},
		{head + chain + "student: {base: m.gguf, lora: {}}\ntrain: [{sft: {}}, {grpo: {}}]\n", ":7:21: ", "teaches an adapter"},
		{head + chain + "eval: {against: [taught]}\n", ":6:18: ", "not reinforced"},
		{head + "prompts: [{file: q.jsonl}]\nstudent_prompt: {shots: maybe}\n", ":6:18: ", "neither keep nor drop"},
		{head + chain + "terms: {agreements: [agreement.json]}\n", ":6:22: ", "agreement.json"},
		{head + chain + "terms: {overrides: [{row: openai, actions: [collect], basis: x}]}\n", ":6:21: ", "basis"},
		{head + chain + "terms: {overrides: [{row: opnai, actions: [collect], basis: 'a named basis'}]}\n", ":6:21: ", "opnai"},
		{strings.Replace(head, "{reference: {}}", "{reference: {}, wire: morse}", 1) + chain, ":3:26: ", "morse"},
		{strings.Replace(head, "{reference: {}}", "{base_url: 'http://127.0.0.1:1/v1', model: m, provider: nobody}", 1) + chain, ":3:56: ", "nobody"},
	} {
		_, err := Parse(filepath.Join(dir, "r.yaml"), []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("want %q and %q:\n%s\n%v", c.place, c.says, c.text, err)
		}
	}
}

// A recipe that uses none of the keys that came later keeps its hash, and with
// it its run and what that has cost.
func TestRecipesThatUseNoNewKeyKeepTheirHash(t *testing.T) {
	for file, want := range map[string]string{
		"countdown": "countdown-e8a59f465386", "quickstart": "quickstart-5b8a74d248e1", "smoke": "smoke-12b724f03d48", "why-reasoning": "why-reasoning-b1fc492df54b",
	} {
		r, err := Load("../recipes/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.RunName(); err != nil || got != want {
			t.Errorf("%s is now %s, %v; it was %s", file, got, err, want)
		}
	}
}

func TestTheHashLeavesOutWhatExportAloneDecides(t *testing.T) {
	base := hash(t, minimal)
	if h := hash(t, minimal+"model: {name: other, notices: [thanks]}\n"); h != base {
		t.Error("the model's name decides the run")
	}
	export := "terms: {overrides: [{row: openai, actions: [export], basis: 'Agreement 2026-17'}]}\n"
	if h := hash(t, minimal+export); h != base {
		t.Error("an override for export alone decides the run")
	}
	if h := hash(t, minimal+strings.Replace(export, "[export]", "[curate, export]", 1)); h == base {
		t.Error("an override for curation does not decide the run")
	}
}
