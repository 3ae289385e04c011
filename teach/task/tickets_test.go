package task_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"retort/exchange"
	"retort/teach/curate"
	"retort/teach/task"
	"retort/teach/verify"
)

var update = flag.Bool("update", false, "write the recipe's tickets anew")

const (
	ticketDir  = "../../recipes/tickets"
	ticketSeed = 2026
	ticketRows = 600
	goldRows   = 200
)

// ticketRow is a row of the recipe's files, as a help desk exports it.
type ticketRow struct {
	ID       string          `json:"id"`
	Received string          `json:"received"`
	Channel  string          `json:"channel"`
	Body     string          `json:"body"`
	Label    json.RawMessage `json:"label,omitempty"`
}

// tickets draws the recipe's rows: those with their labels have nothing in
// common with those without.
func tickets(t *testing.T) (train, gold []ticketRow) {
	t.Helper()
	f, err := task.New("extract", task.Params{Words: []int{30, 85}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := task.NewSplit(f, ticketSeed, goldRows)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2025, 3, 3, 6, 12, 0, 0, time.UTC)
	row := func(n int, letter string, p task.Problem) ticketRow {
		body := f.Mask(p.Prompt)
		at = at.Add(time.Duration(3+len(body)%41) * time.Minute)
		channel := "chat"
		switch {
		case strings.HasPrefix(body, "Name: "):
			channel = "form"
		case strings.Contains(body, "\n\n"):
			channel = "mail"
		}
		return ticketRow{ID: fmt.Sprintf("%s%04d", letter, n), Received: at.Format("2006-01-02T15:04"), Channel: channel, Body: body}
	}
	for p := range s.Train {
		if train = append(train, row(len(train)+1, "T", p)); len(train) == ticketRows {
			break
		}
	}
	for i, p := range s.Heldout {
		r := row(i+1, "G", p)
		r.Label = p.Gold
		gold = append(gold, r)
	}
	return train, gold
}

func lines(t *testing.T, rows []ticketRow) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// The committed rows are what the family draws from the seed: run with -update
// after a change of its language.
func TestTheRecipesTicketsAreTheFamilys(t *testing.T) {
	train, gold := tickets(t)
	for name, rows := range map[string][]ticketRow{"tickets.jsonl": train, "gold.jsonl": gold} {
		path, want := filepath.Join(ticketDir, name), lines(t, rows)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the family draws: go test ./teach/task -run Tickets -update", path)
		}
	}
}

// readTickets reads both files as the recipe does.
func readTickets(t *testing.T) (train, gold *task.Corpus) {
	t.Helper()
	shots, err := task.ReadShots(filepath.Join(ticketDir, "shots.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	system, err := os.ReadFile(filepath.Join(ticketDir, "sys.md"))
	if err != nil {
		t.Fatal(err)
	}
	opt := task.FileOptions{Template: "{{body}}", System: string(system), Shots: shots, Student: task.StudentPrompt{System: task.StudentDrop, Shots: task.StudentDrop}}
	if train, err = task.File(filepath.Join(ticketDir, "tickets.jsonl"), opt); err != nil {
		t.Fatal(err)
	}
	opt.Gold = "label"
	if gold, err = task.File(filepath.Join(ticketDir, "gold.jsonl"), opt); err != nil {
		t.Fatal(err)
	}
	return train, gold
}

// Every label passes the recipe's verifiers, the shots' answers too, and what
// they are there to catch does not.
func TestTheRecipesVerifiersAcceptEveryLabel(t *testing.T) {
	_, gold := readTickets(t)
	set, err := verify.New([]verify.Spec{
		{JSONSchema: &verify.SchemaSpec{File: "ticket.json"}},
		{Fields: &verify.FieldsSpec{Names: []string{"team", "urgency", "product", "order_id", "wants"}}},
		{Starlark: &verify.StarlarkSpec{File: "check.star"}},
	}, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(ticketDir, name)) })
	if err != nil {
		t.Fatal(err)
	}
	judge := func(p task.Problem, content string) verify.Result {
		return set.Judge(context.Background(), verify.In{Task: gold, Problem: p, Messages: p.TeacherMessages(), Answer: exchange.Answer{Content: content, FinishReason: "stop"}})
	}
	for _, p := range gold.Problems() {
		if r := judge(p, string(p.Gold)); !r.Verdict.Correct {
			t.Errorf("%s: %s gets %+v", p.Row, p.Gold, r)
		}
		if !gold.Verify(p, "```json\n"+string(p.Gold)+"\n```").Correct {
			t.Errorf("%s: its own label is wrong", p.Row)
		}
		m := p.TeacherMessages()
		if len(m) != 8 || m[0].Role != "system" || len(p.StudentMessages()) != 1 || p.StudentMessages()[0].Content != p.Prompt {
			t.Fatalf("%s: the teacher is sent %d messages, the student %+v", p.Row, len(m), p.StudentMessages())
		}
		// The labels are what the family's reader finds in the row's text.
		if q, ok := task.Parse(p.Prompt); !ok || q.Answer != p.Answer {
			t.Errorf("%s: %s is read as %s", p.Row, p.Answer, q.Answer)
		}
	}
	p := gold.Problems()[0]
	for _, bad := range []string{
		`{"team":"billing","urgency":"low","product":"kettle","order_id":"00000","wants":"refund"}`,
		`{"team":"sales","urgency":"low","product":"kettle","order_id":null,"wants":"refund"}`,
		`{"team":"sales","urgency":"low","product":"rocket","order_id":null,"wants":"cancellation"}`,
		"billing",
	} {
		if r := judge(p, bad); r.Verdict.Correct {
			t.Errorf("%s passes: %+v", bad, r)
		}
	}
}

// Shots are tickets that the family's own reader reads as their answers say.
func TestTheRecipesShotsFollowTheRules(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(ticketDir, "shots.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var shot struct {
			Body   string
			Answer task.ExtractFields
		}
		if err := json.Unmarshal([]byte(line), &shot); err != nil {
			t.Fatal(err)
		}
		if p, ok := task.Parse(shot.Body); !ok || p.Answer != shot.Answer.Answer() {
			t.Errorf("%s\nis read as %s, not %s", shot.Body, p.Answer, shot.Answer.Answer())
		}
	}
}

// Held-out tickets are no training tickets, neither in whole nor nearly nor in
// pieces: curation, as the recipe asks for it, keeps nearly all.
func TestTheRecipesTicketsDoNotGiveTheExaminationAway(t *testing.T) {
	train, gold := readTickets(t)
	s := train.SplitFrom(gold)
	if len(s.Heldout) != goldRows || len(s.Skipped) != 0 {
		t.Errorf("%d held out, %d skipped", len(s.Heldout), len(s.Skipped))
	}
	var heldout []curate.Text
	for _, p := range s.Heldout {
		heldout = append(heldout, curate.TextOf("tickets", gold, p))
	}
	c, err := curate.New(curate.Options{Keep: curate.KeepAll, NearDuplicates: 0.8, Decontaminate: true}, heldout)
	if err != nil {
		t.Fatal(err)
	}
	for p := range s.Train {
		x := &exchange.Exchange{ID: exchange.NewID(time.Unix(1, 0)), Status: 200, Answer: exchange.Answer{Content: "{}", FinishReason: "stop"}}
		c.Offer(curate.Candidate{Text: curate.TextOf("tickets", train, p), Row: p.Row, Messages: p.StudentMessages(), Exchange: x, Verdict: task.Verdict{Reason: task.ReasonNoGold}})
	}
	t.Logf("%d of %d kept, refused: %v", c.Kept(), c.Offered(), c.Refused())
	if c.Kept() < ticketRows*95/100 {
		t.Errorf("only %d of %d are kept: %v", c.Kept(), c.Offered(), c.Samples())
	}
}
