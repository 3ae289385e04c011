package reference

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"retort/openai"
	"retort/teach/task"
)

// Over n problems the number that a teacher gets right is binomial: four
// standard deviations around 85 and 95% leave no room for luck.
func TestMessagesAreReadImperfectlyOnPurpose(t *testing.T) {
	const n = 1500
	f := mustFamily(t, "extract", task.Params{})
	for _, temperature := range []float64{0, 1} {
		rng := rand.New(rand.NewPCG(11, 3))
		right, longest := 0, 0
		for i := range n {
			p := f.Generate(rng)
			s, err := solve(p, speak(uint64(i), temperature))
			if err != nil {
				t.Fatal(err)
			}
			switch v := f.Verify(p, s.answer); {
			case v.Correct:
				right++
			case v.Reason != task.ReasonWrong:
				t.Errorf("%s: answer %q gets %+v", p.Prompt, s.answer, v)
			}
			longest = max(longest, CountTokens(p.Prompt)+CountTokens(s.reasoning)+CountTokens(s.answer))
			checkEvidence(t, p, s)
		}
		share := float64(right) / n
		margin := 4 * math.Sqrt(0.9*0.1/n)
		if share-margin < 0.85 || share+margin > 0.95 {
			t.Errorf("at temperature %v: %.3f±%.3f right, want it surely between 0.85 and 0.95", temperature, share, margin)
		}
		if longest > 340 {
			t.Errorf("a problem takes %d tokens with its answer", longest)
		}
		t.Logf("at temperature %v: %.3f right, at most %d tokens", temperature, share, longest)
	}
}

var (
	readingLine = regexp.MustCompile(`^(product|order|wants|team|urgency): (.*?)( is |, so |)([a-z0-9_ ]+)[;,]?$`)
	quotation   = regexp.MustCompile(`"([^"]*)"`)
)

// checkEvidence: each field has its line, in order, each quotation stands in
// the message, and the answer says what the lines say.
func checkEvidence(t *testing.T, p task.Problem, s solution) {
	t.Helper()
	var f task.ExtractFields
	if err := json.Unmarshal([]byte(s.answer), &f); err != nil {
		t.Fatalf("%s: answer %s: %v", p.Prompt, s.answer, err)
	}
	order := "none"
	if f.OrderID != nil {
		order = *f.OrderID
	}
	lines := strings.Split(s.reasoning, "\n")
	if len(lines) > 5 {
		lines = lines[1:] // an opening
	}
	flat := strings.Join(strings.Fields(p.Prompt), " ")
	for i, want := range [][2]string{{"product", f.Product}, {"order", order}, {"wants", f.Wants}, {"team", f.Team}, {"urgency", f.Urgency}} {
		g := readingLine.FindStringSubmatch(lines[i])
		if g == nil || g[1] != want[0] || !strings.HasSuffix(g[4], want[1]) {
			t.Fatalf("%s\nline %q does not end with the %s %q of %s", p.Prompt, lines[i], want[0], want[1], s.answer)
		}
		for _, q := range quotation.FindAllStringSubmatch(lines[i], -1) {
			if !strings.Contains(flat, q[1]) {
				t.Fatalf("%s\nis quoted as %q", p.Prompt, q[1])
			}
		}
	}
}

// Two teachers are wrong about different messages, one about the same, and what
// is said around a message changes nothing at temperature 0.
func TestMisreadingsAreTheTeachersOwn(t *testing.T) {
	f := mustFamily(t, "extract", task.Params{})
	zero, seed := 0.0, int64(4)
	ask := func(teacher uint64, prompt string) string {
		tea, err := New(Config{Seed: teacher})
		if err != nil {
			t.Fatal(err)
		}
		a, err := tea.generate(&openai.ChatRequest{Temperature: &zero, Seed: &seed, Messages: []openai.Message{
			{Role: "system", Content: openai.Text("You sort a shop's mail.")}, {Role: "user", Content: openai.Text(prompt)},
		}}, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		return a.text(false)
	}
	rng := rand.New(rand.NewPCG(2, 3))
	differ, wrong := 0, 0
	for range 300 {
		p := f.Generate(rng)
		a := ask(1, p.Prompt)
		if a != ask(1, p.Prompt) || a != ask(1, "Ticket: "+f.Mask(p.Prompt)+"\n\nJSON, please.") {
			t.Fatalf("the same teacher reads %s twice differently", p.Prompt)
		}
		if a != ask(2, p.Prompt) {
			differ++
		}
		if a != p.Answer {
			wrong++
		}
	}
	if differ < 15 || wrong < 10 || wrong > 60 {
		t.Errorf("of 300: %d read differently by another teacher, %d wrongly", differ, wrong)
	}
}
