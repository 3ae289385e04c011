package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// teacherAt is a recipe for a teacher of one's own.
const teacherAt = `retort: 1
name: own
teacher:
  base_url: BASE
  model: m
  terms: self-hosted
  price: {input: 1, output: 2}
  limits: {attempts: 1}
budget: {usd: 1}
prompts:
  - {family: chain, train: 2, heldout: 1}
`

func TestMistakesInARecipeAreNamedWithPlaceAndRemedy(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace []string
		want    []string
	}{
		{"unknown key", []string{"budget:", "budgte:"}, []string{"recipe.yaml:4:1:", `"budgte"`, `did you mean "budget"?`}},
		{"unknown inner key", []string{"epochs: 1", "epoch: 1"}, []string{"recipe.yaml:9:16:", `did you mean "epochs"?`}},
		{"key of another place", []string{"name: mini", "name: mini\ntemperature: 1"}, []string{":3:1:", "teacher.request.temperature"}},
		{"wrong type", []string{"train: 60", "train: many"}, []string{":6:"}},
		{"not YAML", []string{"prompts:", "prompts: ]["}, []string{"recipe.yaml:5:"}},
		{"version", []string{"retort: 1", "retort: 9"}, []string{"recipe.yaml:1:1:", "format 9", "retort: 1"}},
		{"family", []string{"family: chain", "family: chian"}, []string{":6:", "did you mean chain?"}},
		{"impossible value", []string{"modulus: 5", "modulus: 6"}, []string{":6:", "modulus", "prime"}},
		{"foreign parameter", []string{"modulus: 5", "digits: [2, 2]"}, []string{":6:", "digits"}},
		{"negative budget", []string{"usd: 1", "usd: -1"}, []string{":4:", "negative"}},
		{"no budget", []string{"budget: {usd: 1}\n", ""}, []string{"budget: {usd:"}},
		{"preset", []string{"tiny-dense", "huge"}, []string{":8:", "huge"}},
		{"contestant", []string{"untrained", "everybody"}, []string{":10:", "everybody"}},
		{"name", []string{"name: mini", "name: ../up"}, []string{":2:", "../up"}},
		{"missing prompt file", []string{"family: chain, modulus: 5, steps: [2, 2]", "file: nowhere.jsonl"}, []string{":6:", "nowhere.jsonl"}},
		{"other run", []string{"untrained", "{recipe: nowhere.yaml}"}, []string{"nowhere.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := retort(t, t.TempDir(), "recipe", "check", write(t, tiny, c.replace...))
			if r.code == exitDone { // some mistakes show only when the run begins
				r = retort(t, t.TempDir(), "run", write(t, tiny, c.replace...))
			}
			if r.code != exitUsage {
				t.Errorf("exit code %d, want %d", r.code, exitUsage)
			}
			for _, want := range c.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("no %q in: %s", want, r.stderr)
				}
			}
		})
	}
}

func TestAMissingRecipeIsNamed(t *testing.T) {
	r := retort(t, t.TempDir(), "run", "nowhere.yaml")
	if r.code == exitDone || !strings.Contains(r.stderr, "nowhere.yaml") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func TestWrongUsageSaysWhatIsRight(t *testing.T) {
	for _, line := range [][]string{{"run"}, {"run", "a", "b"}, {"run", "--nonsense"}, {"serve"}, {"recipe", "show"}} {
		r := retort(t, t.TempDir(), line...)
		if r.code != exitUsage || r.stderr == "" {
			t.Errorf("%v: code %d, want %d: %s", line, r.code, exitUsage, r.stderr)
		}
	}
}

func TestWhatATeacherRefusesIsSaidOnceAndClearly(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		want    []string
	}{
		{"unreachable", nil, []string{nobody}},
		{"wrong key", answer(401, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`), []string{"key"}},
		{"no such model", answer(200, `{"object":"list","data":[{"id":"n","object":"model"}]}`), []string{`m`, "n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := nobody
			if c.handler != nil {
				s := httptest.NewServer(c.handler)
				defer s.Close()
				url = s.URL
			}
			r := retort(t, t.TempDir(), "run", write(t, teacherAt, "BASE", url+"/v1"))
			if r.code != exitFailed {
				t.Errorf("exit code %d, want %d", r.code, exitFailed)
			}
			for _, want := range c.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("no %q in: %s", want, r.stderr)
				}
			}
		})
	}
}

func TestTermsAndPricesAreAskedBeforeAnythingIsSent(t *testing.T) {
	ws := t.TempDir()
	blocked := retort(t, ws, "run", write(t, teacherAt, "BASE", "https://api.openai.com/v1", "  terms: self-hosted\n", ""))
	if blocked.code != exitTerms || !strings.Contains(strings.ToLower(blocked.stderr), "openai") {
		t.Errorf("OpenAI: code %d, want %d: %s", blocked.code, exitTerms, blocked.stderr)
	}
	unknown := retort(t, ws, "run", write(t, teacherAt, "BASE", "https://models.example/v1", "  terms: self-hosted\n", ""))
	if unknown.code != exitTerms || !strings.Contains(unknown.stderr, "terms") {
		t.Errorf("a provider that nobody knows: code %d, want %d: %s", unknown.code, exitTerms, unknown.stderr)
	}
	price := retort(t, ws, "run", write(t, teacherAt, "BASE", "http://127.0.0.1:9/v1", "  price: {input: 1, output: 2}\n", "", "terms: self-hosted", "terms: smollm2"))
	if price.code == exitDone || !strings.Contains(price.stderr, "price") {
		t.Errorf("a price that is not known: code %d: %s", price.code, price.stderr)
	}
	if entries, _ := os.ReadDir(filepath.Join(ws, "ledger")); len(entries) != 0 {
		t.Errorf("something was recorded: %v", entries)
	}
}

func TestAKeyThatIsNotSetIsNamedAndOneThatIsNeverShows(t *testing.T) {
	file := write(t, teacherAt, "BASE", "http://127.0.0.1:9/v1", "model: m", "model: m\n  api_key_env: OWN_TEACHER_KEY")
	r := retort(t, t.TempDir(), "run", file)
	if r.code != exitUsage || !strings.Contains(r.stderr, "OWN_TEACHER_KEY") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := retort(t, t.TempDir(), "reference", "serve", "--listen", l.Addr().String())
	if r.code != exitFailed || !strings.Contains(r.stderr, l.Addr().String()) {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func TestDamageIsNamedAndTheRestIsRead(t *testing.T) {
	ws := t.TempDir()
	path := write(t, tiny)
	first := summary(t, ws, path)
	runDir := filepath.Join(ws, "runs", first.Run)

	t.Run("a checkpoint", func(t *testing.T) {
		all, err := filepath.Glob(filepath.Join(runDir, "checkpoints", "checkpoint-*"))
		if err != nil || len(all) == 0 {
			t.Fatalf("%v, %v", all, err)
		}
		flip(t, all[len(all)-1])
		r := retort(t, ws, "run", path, "--json")
		if r.code == exitDone || !strings.Contains(r.stderr, filepath.Base(all[len(all)-1])) || !strings.Contains(r.stderr, "remove") {
			t.Errorf("code %d; the only checkpoint is damaged, which should be said, and what to do: %s", r.code, r.stderr)
		}
		if err := os.RemoveAll(filepath.Join(runDir, "checkpoints")); err != nil {
			t.Fatal(err)
		}
		if again := summary(t, ws, path); again.Model.Hash != first.Model.Hash {
			t.Errorf("trained again, the model is %s and was %s", again.Model.Hash, first.Model.Hash)
		}
	})
	t.Run("a dataset", func(t *testing.T) {
		flip(t, filepath.Join(ws, "datasets", first.Dataset.Hash, "passport.json"))
		r := retort(t, ws, "run", write(t, tiny, "epochs: 1", "epochs: 2"))
		if r.code == exitDone || !strings.Contains(r.stderr, first.Dataset.Hash) {
			t.Errorf("code %d: %s", r.code, r.stderr)
		}
	})
	t.Run("a frame of the ledger", func(t *testing.T) {
		logs, err := filepath.Glob(filepath.Join(ws, "ledger", "*.parquet"))
		if err != nil || len(logs) == 0 {
			t.Fatalf("%v, %v", logs, err)
		}
		flip(t, logs[0])
		if err := os.RemoveAll(filepath.Join(ws, "datasets", first.Dataset.Hash)); err != nil {
			t.Fatal(err)
		}
		r := retort(t, ws, "run", write(t, tiny, "epochs: 1", "epochs: 3"))
		if r.code != exitDone || !strings.Contains(r.stderr, filepath.Base(logs[0])) {
			t.Errorf("code %d, or the file is not named: %s", r.code, r.stderr)
		}
	})
}

// flip changes one byte in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 0x40
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
