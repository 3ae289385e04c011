package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/recipe"
	"retort/student/chat"
	"retort/student/export"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/teach/collect"
	"retort/teach/task"
	"retort/terms"
)

// initIn runs `retort init` in a directory of its own, with answers.
func initIn(t *testing.T, dir, answers string, words ...string) result {
	t.Helper()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	code := Main(context.Background(), append([]string{"init"}, words...), strings.NewReader(answers), &stdout, &stderr, func(string) string { return "" })
	return result{code, stdout.String(), stderr.String()}
}

// checked runs `recipe check` on what init wrote, and reads it.
func checked(t *testing.T, r result) *recipe.Recipe {
	t.Helper()
	if r.code != exitDone {
		t.Fatalf("code %d: %s", r.code, r.stderr)
	}
	file := strings.TrimSpace(r.stdout)
	if c := commandLine(t, "recipe", "check", file); c.code != exitDone {
		text, _ := os.ReadFile(file)
		t.Fatalf("recipe check refuses what init wrote: %s\n%s", c.stderr, text)
	}
	got, err := recipe.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestInitWithDefaultsWritesARecipe(t *testing.T) {
	dir := t.TempDir()
	r := initIn(t, dir, "", "--yes")
	got := checked(t, r)
	if got.Teacher.Reference == nil || len(got.Prompts) != 3 || got.Use.Purpose != "assistant" || got.Use.Distributed || *got.Budget.USD != 5 {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"retort doctor first.yaml", "retort run --plan first.yaml", "retort run first.yaml"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("what to do next has no %q: %s", want, r.stderr)
		}
	}
	if !strings.Contains(string(read(t, "first.yaml")), "\n# ") {
		t.Error("the recipe has no comments")
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestInitTakesAnswersFromAPipe(t *testing.T) {
	// Purpose, distributed, teacher, prompts, examples, budget, name.
	r := initIn(t, t.TempDir(), "Extract\ny\n1\nchain, countdown\n101\n2.5\nmine\nnone\n")
	got := checked(t, r)
	if got.Name != "mine" || got.Use.Purpose != "extract" || !got.Use.Distributed || *got.Budget.USD != 2.5 {
		t.Errorf("%+v", got)
	}
	if len(got.Prompts) != 2 || got.Prompts[0].Train+got.Prompts[1].Train != 101 || got.Prompts[1].Heldout.Count == 0 {
		t.Errorf("%+v", got.Prompts)
	}
	if use, teacher := strings.Index(r.stderr, "What will the model be for"), strings.Index(r.stderr, "Who is the teacher"); use != 0 || teacher < 0 {
		t.Errorf("the intended use is not the first question:\n%s", r.stderr)
	}
}

func TestInitDescribesAFileOfPrompts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"data/tickets.csv": "id,body,label\n1,\"it broke, again\",red\n2,all fine,green\n3,hello,green\n4,hm,red\n5,ah,red\n6,oh,red\n7,so,red\n",
		"system.md":        "Be brief.\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "recipes"), 0o755); err != nil {
		t.Fatal(err)
	}
	words := []string{"--yes", "--purpose", "classify", "--teacher", "other", "--base-url", "http://127.0.0.1:9/v1/", "--model", "my: model", "--terms", "self-hosted",
		"--prompts", "data/tickets.csv", "--field", "Ticket {{id}}: {{body}}", "--gold", "label", "--system", "system.md", "-o", "recipes/t.yaml"}
	got := checked(t, initIn(t, dir, "", words...))
	p := got.Prompts[0]
	if p.File != "../data/tickets.csv" || p.Template != "Ticket {{id}}: {{body}}" || p.Gold != "label" || p.System != "../system.md" || p.Heldout.Count != 1 {
		t.Errorf("%+v", p)
	}
	if got.Name != "tickets" || got.Teacher.Model != "my: model" || got.Teacher.BaseURL != "http://127.0.0.1:9/v1" || got.Curate.Keep != "correct" || got.Budget.USD != nil {
		t.Errorf("%+v", got)
	}

	before := read(t, "recipes/t.yaml")
	if r := initIn(t, dir, "", append(words, "--name", "other")...); r.code != exitUsage || !strings.Contains(r.stderr, "--force") {
		t.Errorf("a recipe was written over: code %d: %s", r.code, r.stderr)
	}
	if !bytes.Equal(before, read(t, "recipes/t.yaml")) {
		t.Error("it changed")
	}
	if r := initIn(t, dir, "", append(words, "--name", "other", "--force")...); r.code != exitDone {
		t.Errorf("--force: code %d: %s", r.code, r.stderr)
	}
	words[slices.Index(words, "label")] = "none"
	if got := checked(t, initIn(t, dir, "", append(words, "--force")...)); got.Curate.Keep != "all" || got.Prompts[0].Gold != "" {
		t.Errorf("without right answers: %+v", got)
	}
}

func TestInitAsksTheTermsGateFirst(t *testing.T) {
	base := []string{"--yes", "--prompts", "multiply", "--budget", "1", "--price", "1,2"}
	for _, c := range []struct {
		name  string
		words []string
		code  int
		want  string
	}{
		{"forbidden", []string{"--teacher", "openai", "--model", "gpt-x"}, exitTerms, "openai"},
		{"left to a person", []string{"--teacher", "openai", "--model", "gpt-x", "--purpose", "classify"}, exitTerms, "openai"},
		{"decided by one", []string{"--teacher", "openai", "--model", "gpt-x", "--purpose", "classify", "--basis", "Our agreement: 3.3(e)", "--by", "legal"}, exitDone, ""},
		{"not if it is given away", []string{"--teacher", "openai", "--model", "gpt-x", "--purpose", "classify", "--distributed"}, exitTerms, "openai"},
		{"unknown", []string{"--teacher", "other", "--base-url", "https://api.example.com/v1", "--model", "m"}, exitUsage, "--terms"},
		{"stated", []string{"--teacher", "other", "--base-url", "https://api.example.com/v1", "--model", "m", "--terms", "self-hosted"}, exitDone, ""},
		{"no such row", []string{"--teacher", "other", "--base-url", "https://api.example.com/v1", "--model", "m", "--terms", "selfhosted"}, exitUsage, "selfhosted"},
		{"set aside", []string{"--teacher", "openai", "--model", "gpt-x", "--terms", "self-hosted"}, exitUsage, "openai"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := initIn(t, t.TempDir(), "", append(base, c.words...)...)
			if r.code != c.code || !strings.Contains(r.stderr, c.want) {
				t.Errorf("code %d, want %d and %q: %s", r.code, c.code, c.want, r.stderr)
			}
			if c.code == exitDone {
				checked(t, r)
			} else if files, err := filepath.Glob("*"); err != nil || len(files) != 0 {
				t.Errorf("a refusal left %v", files)
			}
		})
	}
}

// TestInitWritesWhatEveryProviderNeeds goes through all that are known. Those
// whose terms do not let answers be collected are refused as such.
func TestInitWritesWhatEveryProviderNeeds(t *testing.T) {
	passed := 0
	for _, p := range collect.Providers() {
		t.Run(p.Name, func(t *testing.T) {
			words := []string{"--yes", "--teacher", p.Name, "--model", "a-model", "--prompts", "chain", "--price", "0.5,1", "--budget", "3"}
			if p.KeyEnv == "" {
				words = append(words, "--terms", terms.SelfHosted)
			}
			r := initIn(t, t.TempDir(), "", words...)
			if r.code == exitTerms {
				return
			}
			got := checked(t, r).Teacher
			if got.Model != "a-model" || got.BaseURL != p.BaseURL || got.APIKeyEnv != p.KeyEnv || got.Price.Output != 1 {
				t.Errorf("%+v", got)
			}
			if q, err := collect.QuirksOf(got.Provider, got.BaseURL); err != nil || q.Name != p.Name {
				t.Errorf("the recipe's teacher is taken for %q (%v)", q.Name, err)
			}
			passed++
		})
	}
	if passed < 3 {
		t.Errorf("only %d providers pass the gate", passed)
	}
}

func TestInitTakesEveryFamily(t *testing.T) {
	got := checked(t, initIn(t, t.TempDir(), "", "--yes", "--prompts", strings.Join(task.Names(), ","), "--examples", "100"))
	if len(got.Prompts) != len(task.Names()) {
		t.Errorf("%d of %d families", len(got.Prompts), len(task.Names()))
	}
}

func TestInitTakesAnAgreementOfOnesOwn(t *testing.T) {
	dir := t.TempDir()
	row := `{"id":"our-contract","provider":"openai","document":"Contract 7","read":"2026-01-02","basis":"agreement","says":"Training is allowed.",
"default":"allow","reason":"the contract allows it","obligations":[],"hosts":["openai.com"]}`
	if err := os.WriteFile(filepath.Join(dir, "contract.json"), []byte(row), 0o644); err != nil {
		t.Fatal(err)
	}
	got := checked(t, initIn(t, dir, "", "--yes", "--teacher", "openai", "--model", "gpt-x", "--agreement", "contract.json", "--prompts", "chain", "--price", "1,2", "--budget", "1"))
	if got.Teacher.Terms != "our-contract" || got.Terms == nil || !slices.Contains(got.Terms.Agreements, "contract.json") {
		t.Errorf("%+v", got)
	}
}

func TestWrongAnswersAreRefusedWithWhatIsExpected(t *testing.T) {
	for _, c := range []struct {
		name, answers string
		words         []string
		want          string
	}{
		{"no input at all", "", nil, "--purpose, or --yes"},
		{"input that ends", "extract\nno\n", nil, "--teacher, or --yes"},
		{"a wrong answer in a pipe", "extract\nperhaps\n", nil, `--distributed "perhaps": yes or no`},
		{"a wrong flag", "", []string{"--yes", "--teacher", "somebody"}, "reference, openai"},
		{"neither file nor family", "", []string{"--yes", "--prompts", "mulitply"}, "multiply"},
		{"a key instead of its variable", "", []string{"--yes", "--teacher", "deepseek", "--model", "deepseek-chat", "--api-key-env", "sk-1234"}, "TEACHER_KEY"},
		{"no model", "", []string{"--yes", "--teacher", "deepseek"}, "--model"},
		{"no budget", "", []string{"--yes", "--teacher", "deepseek", "--model", "deepseek-chat", "--prompts", "chain", "--price", "1,1"}, "--budget"},
		{"no name for a directory", "", []string{"--yes", "--name", "../up"}, "a-z"},
		{"a field that there is not", "", []string{"--yes", "--prompts", "../../recipes/prompts/sample.jsonl", "--field", "nonsense"}, "nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range c.words {
				if strings.HasPrefix(w, "../../") {
					c.words[i] = filepath.Join(here, w)
				}
			}
			if r := initIn(t, t.TempDir(), c.answers, c.words...); r.code != exitUsage || !strings.Contains(r.stderr, c.want) {
				t.Errorf("code %d, want %d and %q: %s", r.code, exitUsage, c.want, r.stderr)
			}
		})
	}
}

// TestWhatTheCommentsSuggestIsARecipe takes every suggestion in a recipe's
// comments at its word.
func TestWhatTheCommentsSuggestIsARecipe(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rows.jsonl":  `{"prompt":"one","label":"1"}` + "\n" + `{"prompt":"two","label":"2"}` + "\n",
		"system.md":   "Be brief.\n",
		"shots.jsonl": `{"prompt":"three","answer":"3"}` + "\n",
		"FILE.json":   `{"type":"object"}`,
		"FILE.star":   "def check(answer, problem):\n    return True\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	checked(t, initIn(t, dir, "", "--yes", "--prompts", "rows.jsonl", "--gold", "label", "--name", "a"))
	text := string(read(t, "a.yaml"))
	try := func(what, changed string) {
		t.Helper()
		put(t, "b.yaml", changed)
		if r := commandLine(t, "recipe", "check", "b.yaml"); r.code != exitDone {
			t.Errorf("%s: %s", what, r.stderr)
		}
	}
	for _, form := range otherVerifiers {
		if !strings.Contains(text, form) {
			t.Errorf("the comments do not suggest %s", form)
		}
		full := strings.Replace(form, "json_schema: FILE", "json_schema: FILE.json", 1)
		full = strings.Replace(full, "starlark: FILE", "starlark: FILE.star", 1)
		try(form, strings.Replace(text, "verify: [{task: {}}]", "verify: [{task: {}}, "+full+"]", 1))
	}
	try("system and shots", strings.NewReplacer("# system:", "system:", "# shots:", "shots:").Replace(text))
	if strings.Count(text, "# system: system.md") != 1 || strings.Count(text, "# shots: shots.jsonl") != 1 {
		t.Errorf("system and shots are not suggested:\n%s", text)
	}
}

func TestInitTakesConversationsOfAFile(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	for i := range 30 {
		fmt.Fprintf(&rows, `{"conversations":[{"from":"human","value":"How much is %d and 1?"},{"from":"gpt","value":"%d"}]}`+"\n", i, i+1)
	}
	put(t, filepath.Join(dir, "chats.jsonl"), rows.String())
	put(t, filepath.Join(dir, "empty.jsonl"), `{"conversations":[{"from":"human","value":"x"},{"from":"gpt","value":""}]}`+"\n")
	words := []string{"--yes", "--teacher", "nobody", "--prompts", "chats.jsonl"}
	if r := initIn(t, dir, "", words...); r.code != exitUsage || !strings.Contains(r.stderr, "--terms") {
		t.Errorf("without terms: code %d, want %d: %s", r.code, exitUsage, r.stderr)
	}
	if r := initIn(t, dir, "", append(words, "--terms", "openai")...); r.code != exitTerms {
		t.Errorf("answers that may not be used: code %d, want %d: %s", r.code, exitTerms, r.stderr)
	}
	if r := initIn(t, dir, "", "--yes", "--teacher", "nobody", "--prompts", "empty.jsonl", "--terms", "own-data"); r.code != exitUsage || !strings.Contains(r.stderr, "refused: ") {
		t.Errorf("nothing to learn from: code %d, want %d and why: %s", r.code, exitUsage, r.stderr)
	}
	got := checked(t, initIn(t, dir, "", append(words, "--terms", "own-data")...))
	p := got.Prompts[0]
	if got.Name != "chats" || p.Imported != "chats.jsonl" || p.Terms != "own-data" || p.Heldout.Count != 5 || got.Budget.USD != nil || got.Teacher.BaseURL != "" {
		t.Errorf("%+v", got)
	}
	if r := commandLine(t, "recipe", "preview", "chats.yaml"); r.code != exitDone || !strings.Contains(r.stdout, "How much is") {
		t.Errorf("preview: code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// smallBase writes a small Llama of random weights as a Hugging Face directory, with
// a card that names a licence or none.
func smallBase(t *testing.T, license string) string {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"user\nWhat is 3 plus 4?", "assistant\n", "7"}), tokenizer.Options{VocabSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(model.Config{VocabSize: tok.VocabSize(), Hidden: 16, Layers: 1, Heads: 2, KVHeads: 1, RopeDim: 8, VDim: 8,
		Intermediate: 32, DenseLayers: 1, RopeTheta: 1000, NormEps: 1e-5, MaxPositions: 1024, RoutedScale: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "small")
	if _, err := export.Write(t.Context(), dir, m, chat.Own(tok), export.Options{Lineage: export.Lineage{License: license}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInitWritesARecipeForABase(t *testing.T) {
	dir := t.TempDir()
	log := `{"messages":[{"role":"user","content":"What is 3 plus %d?"},{"role":"assistant","content":"It is %d."}]}` + "\n"
	var lines strings.Builder
	for i := range 8 {
		fmt.Fprintf(&lines, log, i, 3+i)
	}
	if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	words := []string{"--yes", "--teacher", "nobody", "--prompts", "log.jsonl", "--terms", "own-data", "--base", smallBase(t, "mit")}
	got := checked(t, initIn(t, dir, "", words...))
	if s := got.Student; s.Base == "" || s.LoRA == nil || s.LoRA.Rank != 16 || s.Preset != "" || s.Terms != "" {
		t.Errorf("the student is %+v", s)
	}
	if a := got.Eval.Against; len(a) != 2 || a[1].Name != "base" {
		t.Errorf("it is compared with %+v", a)
	}

	unknown := smallBase(t, "")
	words[len(words)-1] = unknown
	if r := initIn(t, t.TempDir(), "", words...); r.code == exitDone {
		t.Error("a base without a licence passes unasked")
	}
	words[4] = filepath.Join(dir, "log.jsonl")
	if got := checked(t, initIn(t, t.TempDir(), "", append(words, "--base-terms", "own-model")...)); got.Student.Terms != "own-model" {
		t.Errorf("the student's terms are %q", got.Student.Terms)
	}
	words[len(words)-1] = smallBase(t, "cc-by-nc-4.0")
	if r := initIn(t, t.TempDir(), "", words...); r.code != exitTerms {
		t.Errorf("a licence for no commercial use: exit code %d\n%s", r.code, r.stderr)
	}
	words[len(words)-1] = filepath.Join(dir, "gone.gguf")
	if r := initIn(t, t.TempDir(), "", words...); r.code != exitUsage || !strings.Contains(r.stderr, "gone.gguf") {
		t.Errorf("a base that is not there: exit code %d\n%s", r.code, r.stderr)
	}
}
