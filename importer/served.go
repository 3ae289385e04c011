package importer

import (
	"retort/exchange"
)

// Served reads an exchange that a gateway recorded: its request, of whichever
// wire, and the answer as the ledger reads it. It refuses what Read refuses in a
// row, and a request that does not hold the whole of what the model read.
func Served(request []byte, answer exchange.Answer) (*Item, *Refusal) {
	it, err := served(request, answer)
	if err == nil {
		return it, nil
	}
	f, ok := err.(*refused)
	if !ok {
		f = refuse(ReasonWrongType, "%v", err)
	}
	return nil, &Refusal{Row: 1, Line: 1, Reason: f.reason, Detail: f.detail}
}

func served(request []byte, answer exchange.Answer) (*Item, error) {
	r := rowReader{format: Log, choice: TurnsLast}
	in, err := r.body.parse(request)
	if err != nil {
		return nil, err
	}
	if in.nodes[root].kind == '{' {
		if err := in.whole(); err != nil {
			return nil, err
		}
	}
	w := row{last: true, reported: true}
	if err := r.chatRequest(&in, &w); err != nil {
		return nil, err
	}
	w.turns = append(w.turns, turn{
		Message: exchange.Message{Role: "assistant", Content: answer.Content, Reasoning: answer.Reasoning, ToolCalls: answer.ToolCalls}, finish: answer.FinishReason,
	})
	r.nul = true // the answer has not been looked through
	var res result
	if err := r.items(&in, &w, &res); err != nil {
		return nil, err
	}
	it := &res.items[0]
	it.Format, it.Row, it.Line, it.Turn, it.Turns = Log, 1, 1, 1, 1
	it.choice, it.Model, it.Tools, it.Answer = TurnsLast, w.model, w.tools, answer
	it.Usage = exchange.Usage{Source: exchange.UsageMissing}
	return it, nil
}

// whole refuses a request that points to more than it holds: earlier turns or a
// prompt that its server keeps, or text behind the answer.
func (d *doc) whole() error {
	for _, name := range []string{"previous_response_id", "conversation", "prompt", "suffix"} {
		i, ok := d.find(root, name)
		if !ok {
			continue
		}
		switch kind := d.nodes[i].kind; {
		case kind == 'n', kind == '"' && d.str(i) == "",
			name == "prompt" && kind != '{', name == "conversation" && kind == '[':
		default:
			return refuse(ReasonNotWhole, "what its %s stands for is not in the request", quote(name))
		}
	}
	return nil
}
