package recipe

import (
	"context"
	"fmt"
	"io"
	"strings"

	"retort/exchange"
	"retort/workspace"
)

// Preview is what a recipe would ask, as rendered, without asking it.
type Preview struct {
	Recipe   string           `json:"recipe"`
	Requests []PreviewRequest `json:"requests"`
}

// PreviewRequest is one request as it would be sent, and what the student would
// read in its place.
type PreviewRequest struct {
	Source    string             `json:"source"`
	Row       string             `json:"row,omitempty"`
	RowID     string             `json:"row_id,omitempty"`
	Exchange  exchange.ID        `json:"exchange,omitzero"` // of a source that a gateway recorded
	Heldout   bool               `json:"heldout"`
	Messages  []exchange.Message `json:"messages"`
	Student   []exchange.Message `json:"student,omitempty"` // where it differs
	Expected  string             `json:"expected,omitempty"`
	Answer    *exchange.Answer   `json:"answer,omitempty"` // where it is there already
	PromptKey exchange.Key       `json:"prompt_key,omitzero"`
}

// MakePreview renders the first rows of each of the recipe's sources, and one
// held-out problem of each. It opens no connection, and reads the ledger only
// where the recipe does so for its prompts (ReadsLedger): the workspace may be
// nil elsewhere.
func MakePreview(ctx context.Context, rec *Recipe, ws *workspace.Workspace, rows int) (*Preview, error) {
	where := &place{ws: ws}
	if ws != nil {
		name, err := rec.RunName()
		if err != nil {
			return nil, err
		}
		where.dir = ws.Path("runs", name)
	}
	sources, err := rec.sources(ctx, where)
	if err != nil {
		return nil, err
	}
	t, err := rec.identify()
	if err != nil {
		return nil, err
	}
	r := &run{Recipe: rec, teacher: t, sources: sources}
	template, err := rec.request(t)
	if err != nil {
		return nil, err
	}
	p := &Preview{Recipe: rec.Name}
	for i := range sources {
		s := &sources[i]
		n := 0
		for problem := range s.split.Train {
			if n++; n > rows {
				break
			}
			if err := p.add(r.question(template, s, problem, stageCollect, 0), false); err != nil {
				return nil, err
			}
		}
		if len(s.split.Heldout) > 0 {
			if err := p.add(r.question(template, s, s.split.Heldout[0], stageEval, 0), true); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (p *Preview) add(q question, heldout bool) error {
	out := PreviewRequest{Source: q.source.name, Row: q.problem.Row, RowID: q.problem.RowID, Heldout: heldout, Messages: q.request.Messages, Expected: q.problem.Answer}
	if q.problem.Student != nil {
		out.Student = q.problem.StudentMessages()
	}
	if q.source.given != nil {
		x := q.source.given.items[q.problem.ID].exchange
		out.Answer = &x.Answer
		if q.source.given.served != nil {
			out.Exchange = x.ID
		}
	} else {
		var err error
		if out.PromptKey, err = q.request.Key(); err != nil {
			return err
		}
	}
	p.Requests = append(p.Requests, out)
	return nil
}

// Print writes the preview for people.
func (p *Preview) Print(w io.Writer) error {
	var b strings.Builder
	teacher, student := above{}, above{}
	for i, q := range p.Requests {
		if i > 0 {
			b.WriteByte('\n')
		}
		title := q.Source
		if q.Heldout {
			title += ", held out"
		}
		if !q.Exchange.IsZero() {
			title += " · exchange " + q.Exchange.String()
		}
		writeTitle(&b, title, q.Row, q.RowID)
		teacher.write(&b, q.Source, q.Messages)
		if q.Answer != nil {
			writePart(&b, "answer", q.Answer.Content)
		}
		if q.Expected != "" {
			writePart(&b, "expected", q.Expected)
		}
		if q.Student != nil {
			fmt.Fprintf(&b, "-- the student reads\n")
			student.write(&b, q.Source, q.Student)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeTitle(b *strings.Builder, title, row, id string) {
	fmt.Fprintf(b, "== %s", title)
	if row != "" {
		fmt.Fprintf(b, " · %s", row)
	}
	if id != "" {
		fmt.Fprintf(b, " · id %s", id)
	}
	b.WriteByte('\n')
}

// above remembers the last conversation of each source, so that what the next
// one begins with in common is not printed again.
type above map[string][]exchange.Message

func (a above) write(b *strings.Builder, source string, list []exchange.Message) {
	same, last := 0, a[source]
	for same < len(last) && same < len(list)-1 && last[same].Role == list[same].Role && last[same].Content == list[same].Content {
		same++
	}
	if same > 0 {
		fmt.Fprintf(b, "%-10s(%d messages as above)\n", "", same)
	}
	writeMessages(b, list[same:])
	a[source] = list
}

// writeMessages prints a conversation, each message under its role.
func writeMessages(b *strings.Builder, list []exchange.Message) {
	for _, m := range list {
		writePart(b, m.Role, m.Content)
		for _, c := range m.ToolCalls {
			writePart(b, "call", c.Name+"("+c.Arguments+")")
		}
	}
}

// writePart prints a text beside its name, further lines indented.
func writePart(b *strings.Builder, name, text string) {
	text = strings.TrimRight(visible(text), "\n")
	fmt.Fprintf(b, "%-10s%s\n", name, strings.ReplaceAll(text, "\n", "\n          "))
}

// visible keeps control characters, which could drive a terminal, from it.
func visible(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return c
		case c < ' ' || c >= 0x7f && c < 0xa0:
			return '\uFFFD'
		}
		return c
	}, s)
}
