package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"retort/recipe"
	"retort/report"
	"retort/teach/dataset"
	"retort/teach/reference"
)

// asCommand makes this test binary the retort command, for tests that need a
// process of its own, to kill it.
const asCommand = "RETORT_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// result is what one command line gave.
type result struct {
	code           int
	stdout, stderr string
}

// retort runs one command line in this process, in a workspace.
func retort(t *testing.T, workspace string, line ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"NO_COLOR": "1"}
	code := Main(context.Background(), append([]string{"--workspace", workspace}, line...), strings.NewReader(""), &stdout, &stderr,
		func(name string) string { return env[name] })
	return result{code, stdout.String(), stderr.String()}
}

// summary runs a recipe to its end and returns its figures.
func summary(t *testing.T, workspace string, line ...string) recipe.Summary {
	t.Helper()
	r := retort(t, workspace, append([]string{"run", "--json"}, line...)...)
	if r.code != exitDone {
		t.Fatalf("exit code %d:\n%s", r.code, r.stderr)
	}
	var s recipe.Summary
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("stdout is not one JSON object: %v\n%s", err, r.stdout)
	}
	return s
}

// tiny is a recipe that goes the whole way in a second or two.
const tiny = `retort: 1
name: mini
teacher: {reference: {}}
budget: {usd: 1}
prompts:
  - {family: chain, modulus: 5, steps: [2, 2], train: 60, heldout: 10}
  - {family: countdown, numbers: 3, max: 9, train: 40, heldout: 10}
student: {preset: tiny-dense, vocabulary: 400, context: 256}
train: [{sft: {epochs: 1}}]
eval: {against: [teacher, untrained, int8]}
`

// write puts a recipe into a file, with text replaced: old, new, old, new.
func write(t *testing.T, text string, replace ...string) string {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("the recipe has no %q to replace", replace[i])
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOneCommandGoesFromTheTeacherToAModelThatLoads(t *testing.T) {
	ws := t.TempDir()
	s := summary(t, ws, "../../recipes/smoke.yaml")
	if s.Dataset.Examples != 600 || s.Ledger.Exchanges != 675 || len(s.Refused) != 0 {
		t.Errorf("%d examples of %d exchanges, refused %v; want 600 of 675 and none", s.Dataset.Examples, s.Ledger.Exchanges, s.Refused)
	}
	if s.Ledger.Reported != s.Ledger.Bill || s.Ledger.UpperBound != "$0.00" {
		t.Errorf("we charge %s and at most %s, the teacher's bill says %s", s.Ledger.Reported, s.Ledger.UpperBound, s.Ledger.Bill)
	}
	if len(s.Eval) != 4 || s.Eval[3].Family != report.Overall || s.Eval[3].N != 75 || s.Eval[3].Teacher != 1 {
		t.Errorf("evaluation: %+v", s.Eval)
	}
	if len(s.Beside) != 1 || s.Beside[0].Shares[report.Overall] != 0 {
		t.Errorf("an untrained student should get nothing right: %+v", s.Beside)
	}
	d, err := dataset.Open(filepath.Join(ws, "datasets", s.Dataset.Hash))
	if err != nil || d.Passport.Recipe.Name != "smoke" {
		t.Errorf("dataset: %v", err)
	}
	for _, name := range []string{"model.safetensors", "model.gguf", "Modelfile", "tokenizer.json", "config.json", "passport.json", "README.md"} {
		if _, err := os.Stat(filepath.Join(ws, "models", s.Model.Hash, name)); err != nil {
			t.Error(err)
		}
	}
	page, err := os.ReadFile(s.Report)
	if err != nil || !bytes.Contains(page, []byte(s.Model.Hash)) {
		t.Errorf("report: %v", err)
	}

	again := retort(t, ws, "run", "../../recipes/smoke.yaml")
	if again.code != exitDone || !strings.Contains(again.stdout, s.Dataset.Hash) || !strings.Contains(again.stdout, s.Model.Hash) {
		t.Errorf("running it again: code %d\n%s%s", again.code, again.stdout, again.stderr)
	}
	if got := chatWith(t, ws, s.Model.Hash); got == "" {
		t.Error("the model said nothing in chat")
	}
}

func chatWith(t *testing.T, ws, model string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(context.Background(), []string{"chat", filepath.Join(ws, "models", model), "--max-tokens", "20"},
		strings.NewReader("What is 12 times 34?\n\n"), &stdout, &stderr, func(string) string { return "" })
	if code != exitDone {
		t.Errorf("chat: code %d: %s", code, stderr.String())
	}
	return stdout.String()
}

func TestSameRecipeSameBytesWhateverTheThreads(t *testing.T) {
	recipe := write(t, tiny)
	one := summary(t, t.TempDir(), recipe, "--threads", "1")
	three := summary(t, t.TempDir(), recipe, "--threads", "3")
	if one.Dataset.Hash != three.Dataset.Hash || one.Model.Hash != three.Model.Hash {
		t.Errorf("datasets %s and %s, models %s and %s", one.Dataset.Hash, three.Dataset.Hash, one.Model.Hash, three.Model.Hash)
	}
	if one.Refused["wrong"] == 0 {
		t.Errorf("the teacher is imperfect at countdown, yet nothing was refused: %v", one.Refused)
	}
	other := summary(t, t.TempDir(), write(t, tiny, "name: mini", "name: mini\nseed: 2"))
	if other.Dataset.Hash == one.Dataset.Hash || other.Model.Hash == one.Model.Hash {
		t.Error("another seed gave the same dataset or model")
	}
}

func TestAChangedRecipePaysOnlyForWhatTheLedgerLacks(t *testing.T) {
	ws := t.TempDir()
	first := summary(t, ws, write(t, tiny))
	second := summary(t, ws, write(t, tiny, "train: [{sft: {epochs: 1}}]", "train: [{sft: {epochs: 1, muon_rate: 0.02}}]"))
	if second.Ledger.Exchanges != 0 || second.Ledger.CostUSD != 0 {
		t.Errorf("another learning rate asked the teacher %d times for $%v", second.Ledger.Exchanges, second.Ledger.CostUSD)
	}
	if second.Dataset.Hash != first.Dataset.Hash || second.Model.Hash == first.Model.Hash {
		t.Error("want the same dataset and another model")
	}
	plan := retort(t, ws, "run", "--plan", "--json", write(t, tiny, "train: 60", "train: 70"))
	var p recipe.Plan
	if err := json.Unmarshal([]byte(plan.stdout), &p); err != nil {
		t.Fatalf("%v: %s%s", err, plan.stdout, plan.stderr)
	}
	if p.New != 10 || p.Worst <= 0 || p.Expected == nil || *p.Expected <= 0 || *p.Expected > p.Worst {
		t.Errorf("plan for ten more examples: %+v", p)
	}
	// Questions beyond the first hundred were asked too, for the answers that
	// were refused; the plan counts only what is sure to be asked.
	third := summary(t, ws, write(t, tiny, "train: 60", "train: 70"))
	if third.Ledger.Exchanges != int64(p.New) {
		t.Errorf("the plan said %d new questions, the run asked %d", p.New, third.Ledger.Exchanges)
	}
}

// bill sums up the built-in teacher's bill of a run.
func bill(t *testing.T, ws, run string) (lines int) {
	t.Helper()
	b, err := reference.ReadBill(filepath.Join(ws, "runs", run, "bill.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

func TestTheBudgetIsAWallAndRaisingItResumes(t *testing.T) {
	undisturbed := summary(t, t.TempDir(), write(t, tiny))
	ws := t.TempDir()
	half := undisturbed.Ledger.CostUSD / 2
	text, err := json.Marshal(half)
	if err != nil {
		t.Fatal(err)
	}
	r := retort(t, ws, "run", write(t, tiny, "usd: 1", "usd: "+string(text)))
	if r.code != exitBudget {
		t.Fatalf("exit code %d, want %d:\n%s", r.code, exitBudget, r.stderr)
	}
	for _, want := range []string{"budget", "stopped after", "the same command goes on"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("the message has no %q:\n%s", want, r.stderr)
		}
	}
	runs, err := os.ReadDir(filepath.Join(ws, "runs"))
	if err != nil || len(runs) != 1 {
		t.Fatalf("runs: %v, %v", runs, err)
	}
	if n := bill(t, ws, runs[0].Name()); n == 0 {
		t.Error("nothing at all was asked")
	}
	lines, err := reference.ReadBill(filepath.Join(ws, "runs", runs[0].Name(), "bill.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	spent := 0.0
	for _, l := range lines {
		spent += l.Cost.USD()
	}
	if spent > half {
		t.Errorf("the teacher billed $%v of a budget of $%v", spent, half)
	}
	resumed := summary(t, ws, write(t, tiny))
	if resumed.Dataset.Hash != undisturbed.Dataset.Hash || resumed.Model.Hash != undisturbed.Model.Hash {
		t.Error("a run that went on after its budget was raised ended elsewhere")
	}
	if resumed.Ledger.Exchanges != undisturbed.Ledger.Exchanges {
		t.Errorf("it took %d exchanges, undisturbed %d: something was paid for twice", resumed.Ledger.Exchanges, undisturbed.Ledger.Exchanges)
	}
}

func TestFaultsAreSurvivedAndCounted(t *testing.T) {
	ws := t.TempDir()
	s := summary(t, ws, write(t, tiny, "{reference: {}}", `{limits: {stall: 200ms}, reference: {rps: 200, slowdown: {after: 200ms, for: 300ms},
  faults: {rate_limit: 0.05, server_error: 0.05, cut: 0.05, slow_start: 0.05, stall: 0.05, truncate: 0.05, malformed: 0.05,
    missing_usage: 0.05, empty_think: 0.05, burst: 20ms, slow_for: 20ms, stall_for: 2s}}}`))
	if s.Dataset.Examples != 100 {
		t.Errorf("%d examples, want 100", s.Dataset.Examples)
	}
	if s.Ledger.UpperBound == "$0.00" || s.Ledger.Reported == s.Ledger.Bill {
		t.Errorf("faults should leave attempts without usage: %+v", s.Ledger)
	}
}

// start begins a command in a process of its own.
func start(t *testing.T, ws string, line ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"--workspace", ws}, line...)...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

func TestTheSameRunTwiceAtOnceIsRefused(t *testing.T) {
	ws := t.TempDir()
	recipe := write(t, tiny, "train: 60", "train: 600")
	cmd := start(t, ws, "run", recipe)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := stderr.Read(one); err != nil { // it has begun
		t.Fatal(err)
	}
	r := retort(t, ws, "run", recipe)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if r.code != exitInUse || !strings.Contains(r.stderr, "process") {
		t.Errorf("exit code %d, want %d and who holds it:\n%s", r.code, exitInUse, r.stderr)
	}
}
