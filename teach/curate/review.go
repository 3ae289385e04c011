package curate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"retort/exchange"
	"retort/importer"
	"retort/ledger"
	"retort/teach/dataset"
	"retort/teach/task"
)

// Review is a row for a person to look at and correct: what was asked, what was
// answered, what is wrong with it, and an empty place for what should stand
// there. docs/formats/corrections.md describes files of such rows.
type Review struct {
	Exchange  exchange.ID        `json:"exchange"`
	Run       string             `json:"run,omitempty"`
	Family    string             `json:"family,omitempty"`
	Problem   string             `json:"problem,omitempty"`
	Row       string             `json:"row,omitempty"`
	Reason    string             `json:"reason"`           // the verdict's
	Checks    []ledger.Check     `json:"checks,omitempty"` // that did not pass
	Prompt    []exchange.Message `json:"prompt"`
	Answer    string             `json:"answer"`
	Reasoning string             `json:"reasoning,omitempty"`
	Corrected Corrected          `json:"corrected"`
}

// Corrected is what a person writes.
type Corrected struct {
	Answer    string `json:"answer"`
	Reasoning string `json:"reasoning"`
}

// UnmarshalJSON also takes a string, for an answer alone.
func (c *Corrected) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*c = Corrected{}
		return json.Unmarshal(b, &c.Answer)
	}
	type plain Corrected
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields() // a member that is misspelt would be taken for nothing
	return dec.Decode((*plain)(c))
}

// ReviewCount says what became of the answers that a review looked at.
type ReviewCount struct {
	Rows      int `json:"rows"`      // given to be corrected
	Corrected int `json:"corrected"` // left out: a person has corrected them before
	Heldout   int `json:"heldout"`   // left out: held-out problems never become examples
}

// stageEval is the stage of exchanges about held-out problems.
const stageEval = "eval"

// ReviewRefused calls fn for every answer of a model that verifiers refused and
// nobody has corrected, in the ledger's order. Of several verdicts on one answer the last
// counts. A run's name leaves the answers of other runs out: one is a run's if
// the run asked for it or judged it last.
func ReviewRefused(ctx context.Context, r ledger.Reader, run string, fn func(Review) error) (ReviewCount, error) {
	var n ReviewCount
	verdicts, err := lastVerdicts(ctx, r)
	if err != nil {
		return n, err
	}
	corrected, err := ledger.Corrections(ctx, r)
	if err != nil {
		return n, err
	}
	err = ledger.Answers(ctx, r, func(e *exchange.Exchange) error {
		v, judged := verdicts[e.ID]
		switch {
		case !judged || e.Origin == exchange.OriginHuman || run != "" && e.Run != run && v.Run != run:
			return nil
		case e.Stage == stageEval:
			n.Heldout++
			return nil
		case corrected[e.ID] != nil:
			n.Corrected++
			return nil
		}
		n.Rows++
		row := Review{
			Exchange: e.ID, Run: e.Run, Family: e.Family, Problem: e.Problem, Reason: v.Reason,
			Prompt: promptOf(ctx, e), Answer: e.Answer.Content, Reasoning: e.Answer.Reasoning,
		}
		for _, c := range v.Checks {
			if c.Outcome != ledger.OutcomePass && c.Outcome != ledger.OutcomeSkip {
				row.Checks = append(row.Checks, c)
			}
		}
		return fn(row)
	})
	if err != nil {
		return n, fmt.Errorf("review: %w", err)
	}
	return n, nil
}

// lastVerdicts are the verdicts that refuse an answer and are the last on it.
func lastVerdicts(ctx context.Context, r ledger.Reader) (map[exchange.ID]ledger.Verdict, error) {
	out := map[exchange.ID]ledger.Verdict{}
	err := r.Scan(ctx, func(rec ledger.Record) error {
		if rec.Kind != ledger.KindVerdict {
			return nil
		}
		v, err := ledger.ParseVerdict(rec)
		if err != nil {
			return err
		}
		if v.Correct || v.Reason == task.ReasonNoGold {
			delete(out, v.Exchange)
		} else {
			out[v.Exchange] = v
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read verdicts: %w", err)
	}
	return out, nil
}

// ReviewExamples calls fn for a dataset's examples, in their order: answers that
// were kept can be corrected too.
func ReviewExamples(d *dataset.Dataset, fn func(Review) error) error {
	for i := range d.Examples {
		e := &d.Examples[i]
		if e.ExchangeID.IsZero() {
			return fmt.Errorf("review dataset %s: example %d names no exchange, so that nothing can be corrected", d.Hash, i)
		}
		if err := fn(Review{
			Exchange: e.ExchangeID, Run: d.Passport.Ledger.Run, Family: e.Family, Problem: e.Problem, Row: e.Row,
			Reason: e.Verdict, Prompt: e.Prompt, Answer: e.Answer, Reasoning: e.Reasoning,
		}); err != nil {
			return err
		}
	}
	return nil
}

// promptOf reads the conversation out of a request body, on whichever wire it
// was sent, or out of an imported row, for people to read. A body of another
// shape is shown as it is.
func promptOf(ctx context.Context, e *exchange.Exchange) []exchange.Message {
	if item, err := importer.FromExchange(ctx, e); err == nil {
		return item.Messages
	}
	var body struct {
		System       json.RawMessage `json:"system"`
		Instructions string          `json:"instructions"`
		Messages     []rawMessage    `json:"messages"`
		Input        json.RawMessage `json:"input"`
	}
	var out []exchange.Message
	if err := json.Unmarshal(e.RequestBody, &body); err == nil {
		if s := contentText(body.System) + body.Instructions; s != "" {
			out = append(out, exchange.Message{Role: "system", Content: s})
		}
		if len(body.Messages) == 0 && len(body.Input) > 0 && json.Unmarshal(body.Input, &body.Messages) != nil {
			body.Messages = []rawMessage{{Role: "user", Content: body.Input}}
		}
		for _, m := range body.Messages {
			out = append(out, exchange.Message{Role: m.Role, Content: contentText(m.Content)})
		}
	}
	if len(out) == 0 {
		out = []exchange.Message{{Role: "user", Content: string(e.RequestBody)}}
	}
	return out
}

type rawMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// contentText is the text of a string or of a list of parts.
func contentText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	var b strings.Builder
	if json.Unmarshal(raw, &parts) == nil {
		for _, p := range parts {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}
