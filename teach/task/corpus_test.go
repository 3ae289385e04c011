package task

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func prompts(ps []Problem) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Prompt)
	}
	return out
}

func TestFilesOfPromptsAreRead(t *testing.T) {
	opt := FileOptions{Field: "body", Gold: "team"}
	for name, text := range map[string]string{
		"t.jsonl":  "\ufeff" + `{"id":1,"body":"My card\nfails","team":"billing"}` + "\n\n" + `{"team":7,"body":"It crashes, \"again\""}` + "\r\n",
		"t.ndjson": `{"body":"My card\nfails","team":"billing"}` + "\n\n" + `{"body":"It crashes, \"again\"","team":7,"more":{"a":[1]}}`,
		"t.csv":    "\ufeffid,body,team\n1,\"My card\nfails\",billing\n2,\"It crashes, \"\"again\"\"\",7\n",
	} {
		c, err := File(write(t, name, text), opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ps := c.Problems()
		if !slices.Equal(prompts(ps), []string{"My card\nfails", `It crashes, "again"`}) || ps[0].Answer != "billing" || ps[1].Answer != "7" {
			t.Errorf("%s: %+v", name, ps)
		}
		rows := map[string][]string{"t.jsonl": {"t.jsonl:1", "t.jsonl:3"}, "t.ndjson": {"t.ndjson:1", "t.ndjson:3"}, "t.csv": {"t.csv:2", "t.csv:4"}}[name]
		if ps[0].Row != rows[0] || ps[1].Row != rows[1] {
			t.Errorf("%s: rows %s and %s, want %v", name, ps[0].Row, ps[1].Row, rows)
		}
		if !c.HasGold() || c.Name() != "file" || c.VerifiableIdentity() {
			t.Errorf("%s: gold %v, name %s", name, c.HasGold(), c.Name())
		}
		for answer, want := range map[string]string{"billing": ReasonCorrect, " billing\n": ReasonCorrect, "Billing": ReasonWrong, "billing.": ReasonWrong, " ": ReasonNoAnswer} {
			if v := c.Verify(ps[0], answer); v.Reason != want || v.Correct != (want == ReasonCorrect) {
				t.Errorf("%s: answer %q gets %+v", name, answer, v)
			}
		}
	}
}

func TestFileWithoutGoldHasNoVerdict(t *testing.T) {
	c, err := File(write(t, "p.jsonl", `{"prompt":"Say hello."}`), FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v := c.Verify(c.Problems()[0], "hello"); c.HasGold() || v.Correct || v.Reason != ReasonNoGold || v.Answer != "hello" {
		t.Errorf("verdict %+v", v)
	}
}

func TestErrorsNameFileLineAndColumn(t *testing.T) {
	good := `{"prompt":"a","gold":"b"}` + "\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"p.jsonl", good + `{"prompt":"a" "gold":1}`, []string{"p.jsonl:2:15:", "not valid JSON"}},
		{"p.jsonl", good + `{"prompt":"a","gold":`, []string{"p.jsonl:2:21:", "not valid JSON"}},
		{"p.jsonl", good + `{"prompt":"a","gold":1} x`, []string{"p.jsonl:2:25:", "not valid JSON"}},
		{"p.jsonl", good + `["a"]`, []string{"p.jsonl:2:1:", "not a JSON object"}},
		{"p.jsonl", good + "\n" + `{"text":"a","gold":1}`, []string{"p.jsonl:3:", `"prompt"`, `"text", "gold"`}},
		{"p.jsonl", good + `{"prompt":5,"gold":1}`, []string{"p.jsonl:2:11:", `"prompt" is not a string`}},
		{"p.jsonl", good + `{"gold":1,"prompt":" "}`, []string{"p.jsonl:2:20:", "empty"}},
		{"p.jsonl", good + `{"prompt":"a","gold":""}`, []string{"p.jsonl:2:22:", "gold"}},
		{"p.jsonl", good + `{"prompt":"a","gold":null}`, []string{"p.jsonl:2:22:", "gold"}},
		{"p.jsonl", good + `{"prompt":"a","prompt":"b","gold":1}`, []string{"p.jsonl:2:24:", "twice"}},
		{"p.jsonl", good + "{\"prompt\":\"\xff\",\"gold\":1}", []string{"p.jsonl:2:12:", "UTF-8"}},
		{"p.jsonl", "\n \n", []string{"p.jsonl", "no prompts"}},
		{"p.csv", "", []string{"p.csv", "empty"}},
		{"p.csv", "prompt,gold\n", []string{"p.csv", "no prompts"}},
		{"p.csv", "prompt,gold\na,b\nc\n", []string{"p.csv:3:", "1 fields", "header 2"}},
		{"p.csv", "prompt,gold\na,b\n\"c\nd\"e,f\n", []string{"p.csv:4:2:", "CSV"}},
		{"p.csv", "prompt,gold\na,b\n,f\n", []string{"p.csv:3:1:", "empty"}},
		{"p.csv", "text,gold\na,b\n", []string{"p.csv:2", `"prompt"`, `"text", "gold"`}},
		{"p.csv", "prompt,gold,prompt\na,b,c\n", []string{"p.csv:1:13:", "twice"}},
		{"p.csv", "prompt,gold\na\xfe,b\n", []string{"p.csv:2:2:", "UTF-8"}},
		{"p.txt", "a", []string{"p.txt", ".jsonl", ".csv"}},
	} {
		_, err := File(write(t, c.name, c.text), FileOptions{Gold: "gold"})
		if err == nil {
			t.Errorf("%s %q was read", c.name, c.text)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s %q: %q does not say %q", c.name, c.text, err, w)
			}
		}
	}
	for _, name := range []string{"none.jsonl", "none.csv"} {
		if _, err := File(filepath.Join(t.TempDir(), name), FileOptions{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a missing %s: %v", name, err)
		}
	}
	if _, err := GSM8K(write(t, "g.jsonl", `{"question":"q","answer":"5"}`)); err == nil || !strings.Contains(err.Error(), "g.jsonl:1:26:") {
		t.Errorf("an answer without ####: %v", err)
	}
}

func TestCorpusSplitsCountEveryRow(t *testing.T) {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, `{"prompt":"Question %d"}`+"\n", i%15) // 0 to 4 are there twice
	}
	c, err := File(write(t, "p.jsonl", b.String()), FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(5) {
		s, err := c.Split(seed, 6)
		if err != nil {
			t.Fatal(err)
		}
		train := slices.Collect(s.Train)
		if len(s.Heldout) != 6 || len(train) != 9 || len(s.Skipped) != 5 {
			t.Fatalf("%d held out, %d to train, %d skipped", len(s.Heldout), len(train), len(s.Skipped))
		}
		held := map[string]bool{}
		for _, p := range s.Heldout {
			held[p.ID] = true
		}
		seen := map[string]bool{}
		for _, p := range train {
			if held[p.ID] || seen[p.ID] {
				t.Errorf("%s is held out or comes twice", p.Row)
			}
			seen[p.ID] = true
		}
		for _, k := range s.Skipped {
			if want := map[bool]string{true: SkipHeldout, false: SkipDuplicate}[held[k.Problem.ID]]; k.Reason != want {
				t.Errorf("%s is skipped as %s, want %s", k.Problem.Row, k.Reason, want)
			}
		}
		if again, _ := c.Split(seed, 6); !slices.Equal(prompts(again.Heldout), prompts(s.Heldout)) {
			t.Error("the same seed holds out other problems")
		}
	}
	if _, err := c.Split(1, 16); err == nil {
		t.Error("more problems were held out than there are")
	}
	other, err := File(write(t, "h.csv", "prompt\nQuestion 3\n\"Question  7\"\nQuestion 3\nQuestion 99\n"), FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := c.SplitFrom(other)
	if train := slices.Collect(s.Train); len(s.Heldout) != 3 || len(train) != 13 || len(s.Skipped) != 7 {
		t.Errorf("%d held out, %d to train, %d skipped", len(s.Heldout), len(train), len(s.Skipped))
	}
}

func TestMaskCutsWhatAllPromptsShare(t *testing.T) {
	c, err := File(write(t, "p.jsonl", `{"prompt":"Which team handles: card fails? Answer briefly."}
{"prompt":"Which team handles: it crashes? Answer briefly."}
{"prompt":"Which team handles: it hangs often? Answer briefly."}`), FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for prompt, want := range map[string]string{
		c.Problems()[0].Prompt:                           "card fails?",
		"Which team handles: a new one? Answer briefly.": "a new one?",
		"Something else entirely.":                       "Something else entirely.",
		"Which team handles: Answer briefly.":            "Which team handles: Answer briefly.",
	} {
		if got := c.Mask(prompt); got != want {
			t.Errorf("%q is masked as %q, want %q", prompt, got, want)
		}
	}
	for _, text := range []string{`{"prompt":"same"}` + "\n" + `{"prompt":"same"}`, `{"prompt":"one"}`, `{"prompt":"a b"}` + "\n" + `{"prompt":"a b a b"}`} {
		c, err := File(write(t, "p.jsonl", text), FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Problems() {
			if c.Mask(p.Prompt) == "" {
				t.Errorf("%q is masked away", p.Prompt)
			}
		}
	}
}

// Every gold answer of the real data set, with its working, is a right answer
// to its own question, and the number plus one is not.
func TestRealGSM8K(t *testing.T) {
	dir := os.Getenv("RETORT_TESTDATA")
	if dir == "" {
		t.Skip("RETORT_TESTDATA is not set: the GSM8K files are looked for there")
	}
	for name, rows := range map[string]int{"train.jsonl": 7473, "test.jsonl": 1319} {
		path := filepath.Join(dir, "gsm8k", name)
		c, err := GSM8K(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Problems()) != rows || !c.HasGold() {
			t.Errorf("%s has %d problems", name, len(c.Problems()))
		}
		worked := map[string]string{}
		err = readJSONL(path, func(at place, r row) error {
			a, err := r.text(at, "answer")
			worked[at.String()] = a
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Problems() {
			if v := c.Verify(p, worked[p.Row]); !v.Correct {
				t.Errorf("%s: its own working gets %+v, gold %s", p.Row, v, p.Answer)
			}
			for _, form := range []string{"%s", "The answer is %s.", "So she makes $%s.00 a day.", "**%s**", "Answer: %s dollars"} {
				if strings.Contains(form, "$") && (strings.Contains(p.Answer, ".") || strings.HasPrefix(p.Answer, "-")) {
					continue
				}
				if v := c.Verify(p, fmt.Sprintf(form, p.Answer)); !v.Correct {
					t.Errorf("%s: %s gets %+v", p.Row, fmt.Sprintf(form, p.Answer), v)
				}
				if v := c.Verify(p, fmt.Sprintf(form, p.Answer+"1")); v.Correct {
					t.Errorf("%s: %s is right", p.Row, fmt.Sprintf(form, p.Answer+"1"))
				}
			}
		}
		if _, err := c.Split(1, 500); err != nil {
			t.Error(err)
		}
	}
}
