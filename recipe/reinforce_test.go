package recipe

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/student/chat"
	"retort/student/tokenizer"
	"retort/student/train"
	"retort/workspace"
)

const reinforced2 = `retort: 1
name: reinforced
teacher: {reference: {}}
budget: {usd: 1}
prompts: [{family: chain, steps: [2, 2], train: 60, heldout: 20}]
student: {preset: tiny, vocabulary: 320, context: 200}
train:
  - {sft: {epochs: 2}}
  - {grpo: {GRPO}}
eval: {against: [teacher, taught]}
export: [huggingface]
`

func TestAStudentIsReinforcedAfterItWasTaught(t *testing.T) {
	for _, c := range []struct {
		grpo, of string
		watched  int
	}{
		{"family: chain, train: 40, watch: 8, steps: 3, problems: 4, group: 3, max_tokens: 40", "chain", 8},
		{"watch: 8, steps: 2, problems: 4, group: 3, max_tokens: 40, kl: 0.1, updates: 2, curriculum: false", "the recipe's prompts", 8},
	} {
		d := newDesk(t)
		text := strings.Replace(reinforced2, "GRPO", c.grpo, 1)
		res := d.run(text)
		x := res.Report.Reinforcement
		if x == nil || x.Problems != c.of || x.Watched != c.watched || x.Tokens == 0 || len(x.Drawn) != x.Steps || x.Start == nil || x.Best == nil || *x.Best < *x.Start {
			t.Fatalf("%s: the report says %+v", c.grpo, x)
		}
		if len(res.Report.Beside) != 1 || res.Report.Beside[0].Name != "taught" {
			t.Errorf("beside it stand %+v", res.Report.Beside)
		}
		if !slices.Equal(res.Report.Stages, []string{"collect", "dataset", "tokenizer", "train", "reinforce", "eval", "export"}) {
			t.Errorf("stages are %v", res.Report.Stages)
		}
		page, err := os.ReadFile(res.Report.Page)
		if err != nil || !strings.Contains(string(page), "What it found out for itself") || !strings.Contains(string(page), "Right answers while it was reinforced") {
			t.Errorf("the page does not tell of it (%v)", err)
		}
		// Again it is the same; with its last checkpoint damaged, and the one before, it says so.
		if again := d.run(text); again.Report.Model.Hash != res.Report.Model.Hash {
			t.Errorf("run again it is %s, before %s", again.Report.Model.Hash, res.Report.Model.Hash)
		}
		if found, err := FindRun(d.ws, res.Report.Run); err != nil || !found.Finished || found.Model != res.Report.Model.Hash || !slices.Contains(found.Done, "reinforce") {
			t.Errorf("among the runs it is %+v (%v)", found, err)
		}
		other := newDesk(t)
		if got := other.run(text); got.Report.Model.Hash != res.Report.Model.Hash {
			t.Errorf("elsewhere it is %s, here %s", got.Report.Model.Hash, res.Report.Model.Hash)
		}
	}
}

// Problems to learn from, to look at and to be examined on are none the same.
func TestReinforcementKeepsProblemsApart(t *testing.T) {
	for _, grpo := range []string{"family: chain, train: 300, watch: 100, problems: 4", "watch: 10, problems: 4"} {
		d := newDesk(t)
		r, err := newRun(t.Context(), d.load(strings.Replace(reinforced2, "GRPO", grpo, 1)), d.options())
		if err != nil {
			t.Fatal(err)
		}
		r.format = ownFormat(t)
		learn, watch, err := r.trials(r.grpo())
		if err != nil {
			t.Fatal(err)
		}
		role := map[string]string{}
		for _, p := range r.sources[0].split.Heldout {
			role[p.ID] = "held out"
		}
		for name, all := range map[string][]trial{"learned from": learn, "looked at": watch} {
			if len(all) < 10 {
				t.Errorf("%s: only %d problems are %s", grpo, len(all), name)
			}
			for _, x := range all {
				if was := role[x.problem.ID]; was != "" {
					t.Errorf("%s: problem %s is %s and %s", grpo, x.problem.ID, was, name)
				}
				role[x.problem.ID] = name
			}
		}
	}
}

func TestWhatIsDrawnIsJudged(t *testing.T) {
	d := newDesk(t)
	r, err := newRun(t.Context(), d.load(strings.Replace(reinforced2, "GRPO", "family: chain", 1)), d.options())
	if err != nil {
		t.Fatal(err)
	}
	r.format = ownFormat(t)
	learn, _, err := r.trials(r.grpo())
	if err != nil {
		t.Fatal(err)
	}
	x, tok := learn[0], r.format.Tokenizer()
	end, _ := tok.ID("<|im_end|>")
	long := strings.Repeat("and so on ", 40)
	for _, c := range []struct {
		said  string
		ended bool
		want  train.Judgement
	}{
		{"<think>why</think>" + x.problem.Answer, true, train.Judgement{Right: true, Formed: true, Reasoned: true}},
		{"<think>why</think>" + x.problem.Answer, false, train.Judgement{Reasoned: true}},
		{x.problem.Answer, true, train.Judgement{Right: true}},
		{"<think>why</think>no idea", true, train.Judgement{Formed: true, Reasoned: true}},
		{"<think>" + long + "</think>" + x.problem.Answer, true, train.Judgement{Right: true, Formed: true, Reasoned: true, Repeats: true}},
		{"<think>why", true, train.Judgement{Reasoned: true}},
	} {
		a := train.Answer{Tokens: tok.Encode(c.said), Ended: c.ended}
		if c.ended {
			a.Tokens = append(a.Tokens, end)
		}
		if got := r.judgeDrawn(&x, a); got != c.want {
			t.Errorf("%q, ended %v: %+v, want %+v", c.said, c.ended, got, c.want)
		}
	}
}

func TestAlarmsOfReinforcementAreShown(t *testing.T) {
	d := newDesk(t)
	r, err := newRun(t.Context(), d.load(strings.Replace(reinforced2, "GRPO", "family: chain", 1)), d.options())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(r.dir, reinforceDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.saveReinforced(train.GRPOResult{Steps: 9, Start: math.NaN(), Best: math.NaN(), Alarms: []train.Alarm{{Step: 7, Kind: train.AlarmUnreasoned, Before: 0.01, Now: 0.7}}}); err != nil {
		t.Fatal(err)
	}
	if err := workspace.WriteFileAtomic(filepath.Join(r.dir, reinforceDir, train.MetricsFile), []byte(`{"step":1,"right":0.5}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.reportReinforcement(); err != nil {
		t.Fatal(err)
	}
	x := r.report.Reinforcement
	if x.Start != nil || len(x.Alarms) != 1 || !strings.Contains(x.Alarms[0], "Step 7, right without reasoning: 70.0% of answers, 1.0% in the first steps") {
		t.Errorf("it says %+v", x)
	}
}

// ownFormat is how one talks with a student whose vocabulary is bytes and little more.
func ownFormat(t *testing.T) *chat.Format {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"system\nuser\nassistant\n"}), tokenizer.Options{VocabSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	return chat.Own(tok)
}
