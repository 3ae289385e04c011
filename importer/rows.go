package importer

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"retort/exchange"
	"retort/internal/text"
)

// rowReader turns rows of one format into items. Each worker has its own.
type rowReader struct {
	format   Format
	choice   Turns
	requests *requests

	outer, inner, body parser // of the row, of JSON inside its texts, of a body that it holds
	scratch            []turn
	results            []turn // of tools, which the message that is read now holds
	toolsText          string // the tools that were read last, as text and as a list
	toolsList          []byte
	nul                bool // a text inside of a text holds a NUL
}

// row is what the reader of a format finds.
type row struct {
	turns    []turn // the answer included
	rejected *turn
	tools    []byte
	model    string
	usage    exchange.Usage
	last     bool   // only the last turn may be an answer, whatever Options.Turns says
	reported bool   // the finish reason is what a server said, or left out
	request  []byte // of a batch
	id       string
}

// result is what became of a row.
type result struct {
	items []Item
	fault *refused
	notes []string
	leaks []text.Identity
	key   string // a batch's custom_id, of which there may be one
}

// Where each thing is looked for, in this order.
var (
	conversationFields = []string{"messages", "conversations", "conversation"}
	promptFields       = []string{"prompt", "question", "query", "instruction", "problem", "input", "user"}
	contextFields      = []string{"input", "context"} // beside an instruction
	answerFields       = []string{"output", "response", "completion", "answer", "solution"}
	reasoningFields    = []string{"reasoning_content", "reasoning", "thinking", "thoughts", "chain_of_thought", "cot"}
	systemFields       = []string{"system", "system_prompt"}
	toolFields         = []string{"tools", "functions"}
	goldFields         = []string{"gold", "ground_truth", "reference_answer", "expected"}
	idFields           = []string{"id", "custom_id", "uuid", "uid", "row_id", "conversation_id", "prompt_id", "example_id"}
)

// read reads one row.
func (r *rowReader) read(raw []byte, number, line int64) (res result) {
	fail := func(err error) result {
		f, ok := err.(*refused)
		if !ok {
			f = refuse(ReasonWrongType, "%v", err)
		}
		res.items, res.fault = nil, f
		return res
	}
	r.nul = false
	d, err := r.outer.parse(raw)
	if err != nil {
		return fail(err)
	}
	if d.nodes[root].kind != '{' {
		return fail(refuse(ReasonWrongType, "the row is %s and should be an object", d.kindName(root)))
	}
	w := row{usage: exchange.Usage{Source: exchange.UsageMissing}}
	switch r.format {
	case ShareGPT, Messages:
		err = r.conversation(&d, &w)
	case Alpaca:
		err = r.plain(&d, &w)
	case Preference:
		err = r.preference(&d, &w)
	case Reasoning:
		if _, ok := d.anyOf(root, conversationFields); ok {
			err = r.conversation(&d, &w)
		} else {
			err = r.plain(&d, &w)
		}
	case Batch:
		res.key, err = r.batch(&d, &w)
	case Log:
		err = r.log(&d, &w)
	}
	if err != nil {
		return fail(err)
	}
	if err := r.common(&d, &w); err != nil {
		return fail(err)
	}
	if err := r.items(&d, &w, &res); err != nil {
		return fail(err)
	}
	gold := r.gold(&d)
	extra := d.extra()
	for i := range res.items {
		it := &res.items[i]
		it.Format, it.Row, it.Line, it.Turn, it.Turns = r.format, number, line, i+1, len(res.items)
		it.choice = r.choice
		it.ID, it.Tools, it.Gold, it.Model, it.Usage = w.id, w.tools, gold, w.model, w.usage
		it.Extra, it.Raw, it.RawRequest = extra, raw, w.request
	}
	for i := range w.turns {
		if w.turns[i].Role == "assistant" {
			res.leaks = append(res.leaks, text.FindIdentity(w.turns[i].Content)...)
		}
	}
	if w.rejected != nil {
		res.leaks = append(res.leaks, text.FindIdentity(w.rejected.Content)...)
	}
	return res
}

// anyOf returns the first of an object's members by these names that is there
// and not null, unmarked.
func (d *doc) anyOf(object int32, names []string) (int32, bool) {
	for _, name := range names {
		if d.has(object, name) {
			i, _ := d.find(object, name)
			return i, true
		}
	}
	return 0, false
}

// takeText returns the text of the first member by these names.
func (d *doc) takeText(object int32, names []string) (string, bool, error) {
	i, ok := d.anyOf(object, names)
	if !ok {
		return "", false, nil
	}
	if d.nodes[i].kind != '"' {
		return "", false, refuse(ReasonWrongType, "%s is %s and should be text", quoteName(d, i), d.kindName(i))
	}
	d.nodes[i].mark = taken
	return d.str(i), true, nil
}

// common reads what rows of every format may hold beside their texts.
func (r *rowReader) common(d *doc, w *row) error {
	if system, ok, err := d.takeText(root, systemFields); err != nil {
		return err
	} else if ok && strings.TrimSpace(system) != "" {
		w.turns = append(w.turns, turn{})
		copy(w.turns[1:], w.turns)
		w.turns[0] = turn{Message: exchange.Message{Role: "system", Content: system}}
	}
	if w.tools == nil {
		if i, ok := d.take(root, toolFields...); ok {
			tools, err := r.tools(d, i)
			if err != nil {
				return err
			}
			w.tools = tools
		}
	}
	if i, ok := d.find(root, "model"); ok && w.model == "" && d.nodes[i].kind == '"' {
		w.model, d.nodes[i].mark = d.str(i), taken
	}
	for _, name := range idFields {
		i, ok := d.find(root, name)
		if !ok || w.id != "" {
			continue
		}
		switch d.nodes[i].kind {
		case '"':
			w.id, d.nodes[i].mark = d.str(i), taken
		case '0':
			w.id, d.nodes[i].mark = string(d.bytes(i)), taken
		}
	}
	return nil
}

func (r *rowReader) gold(d *doc) []byte {
	if i, ok := d.take(root, goldFields...); ok {
		return compact(d.bytes(i))
	}
	return nil
}

// conversation reads a row that is a list of messages.
func (r *rowReader) conversation(d *doc, w *row) error {
	list, ok := d.anyOf(root, conversationFields)
	if !ok {
		return refuse(ReasonMissing, "it has no messages and no conversations")
	}
	var err error
	w.turns, err = r.turns(d, list)
	return err
}

// plain reads a row of a prompt and an answer in fields of their own.
func (r *rowReader) plain(d *doc, w *row) error {
	if err := r.prompt(d, w); err != nil {
		return err
	}
	reasoning, _, err := d.takeText(root, reasoningFields)
	if err != nil {
		return err
	}
	answer, ok := d.anyOf(root, answerFields)
	if !ok {
		if reasoning != "" {
			return refuse(ReasonNoAnswer, "it has reasoning and no answer")
		}
		return refuse(ReasonMissing, "it has no answer: none of %s", strings.Join(answerFields, ", "))
	}
	t, err := r.answer(d, answer)
	if err != nil {
		return err
	}
	if t.Reasoning == "" {
		t.Reasoning = reasoning
	}
	w.turns = append(w.turns, t)
	return nil
}

// answer reads an assistant's turn that stands as a text, as a message or as a
// list of one message.
func (r *rowReader) answer(d *doc, value int32) (turn, error) {
	switch d.nodes[value].kind {
	case '"':
		d.nodes[value].mark = taken
		t := turn{Message: exchange.Message{Role: "assistant"}}
		t.Reasoning, t.Content = apart("", d.str(value))
		return t, nil
	case '[':
		first, ok := d.first(value)
		if !ok {
			return turn{}, refuse(ReasonNoAnswer, "%s is an empty list", quoteName(d, value))
		}
		if _, more := d.after(value, first); more {
			return turn{}, refuse(ReasonWrongType, "%s is a list of several values and should be one answer", quoteName(d, value))
		}
		if d.nodes[first].kind != '{' {
			return turn{}, refuse(ReasonWrongType, "%s is a list of %s and should be text or a message", quoteName(d, value), d.kindName(first))
		}
		d.nodes[value].mark = opened
		value = first
	case '{':
	default:
		return turn{}, refuse(ReasonWrongType, "%s is %s and should be text or a message", quoteName(d, value), d.kindName(value))
	}
	t, err := r.turn(d, value, 1)
	if err == nil && t.Role != "assistant" {
		err = refuse(ReasonRole, "an answer's role is %s", t.Role)
	}
	return t, err
}

// prompt reads what stands before the answer, history first.
func (r *rowReader) prompt(d *doc, w *row) error {
	if err := r.history(d, w); err != nil {
		return err
	}
	if list, ok := d.anyOf(root, conversationFields); ok {
		turns, err := r.turns(d, list)
		w.turns = append(w.turns, turns...)
		return err
	}
	i, ok := d.anyOf(root, promptFields)
	if !ok {
		return refuse(ReasonMissing, "it has no prompt: none of %s", strings.Join(promptFields, ", "))
	}
	if d.nodes[i].kind == '[' {
		turns, err := r.turns(d, i)
		w.turns = append(w.turns, turns...)
		return err
	}
	says, _, err := d.takeText(root, []string{d.name(i)})
	if err != nil {
		return err
	}
	if d.name(i) == "instruction" {
		more, _, err := d.takeText(root, contextFields)
		if err != nil {
			return err
		}
		if strings.TrimSpace(more) != "" {
			says += "\n" + more
		}
	}
	w.turns = append(w.turns, turn{Message: exchange.Message{Role: "user", Content: says}})
	return nil
}

// history reads the turns before the prompt: pairs of prompt and answer.
func (r *rowReader) history(d *doc, w *row) error {
	w.turns = r.scratch[:0]
	list, ok := d.find(root, "history")
	if !ok || d.nodes[list].kind != '[' {
		return nil
	}
	pairs := 0
	for i, ok := d.first(list); ok; i, ok = d.after(list, i) {
		pairs++
		if d.nodes[i].kind != '[' {
			return refuse(ReasonWrongType, "pair %d of its history is %s and should be a list of two texts", pairs, d.kindName(i))
		}
		var both []string
		for j, ok := d.first(i); ok; j, ok = d.after(i, j) {
			if d.nodes[j].kind != '"' {
				return refuse(ReasonWrongType, "pair %d of its history holds %s and should hold two texts", pairs, d.kindName(j))
			}
			both = append(both, d.str(j))
		}
		if len(both) != 2 {
			return refuse(ReasonWrongType, "pair %d of its history has %d texts and should have two", pairs, len(both))
		}
		if len(w.turns) >= MaxTurns {
			return refuse(ReasonTooMany, "more than %d messages", MaxTurns)
		}
		said := turn{Message: exchange.Message{Role: "assistant"}}
		said.Reasoning, said.Content = apart("", both[1])
		w.turns = append(w.turns, turn{Message: exchange.Message{Role: "user", Content: both[0]}}, said)
	}
	d.nodes[list].mark = taken
	w.turns = append([]turn(nil), w.turns...) // scratch is used again
	return nil
}

// items makes the items of a row's turns.
func (r *rowReader) items(d *doc, w *row, res *result) error {
	kept := w.turns[:0]
	for _, t := range w.turns {
		if t.Role == "system" && strings.TrimSpace(t.Content) == "" {
			res.notes = append(res.notes, NoteEmptySystem)
			continue
		}
		kept = append(kept, t)
	}
	w.turns = kept
	if err := order(w.turns); err != nil {
		return err
	}
	if err := r.noNUL(d, w); err != nil {
		return err
	}
	msgs := make([]exchange.Message, len(w.turns))
	last := -1
	for i := range w.turns {
		msgs[i] = w.turns[i].Message
		if msgs[i].Role == "assistant" {
			last = i
		}
	}
	if last < 0 {
		if len(msgs) == 0 {
			return refuse(ReasonEmpty, "it has no messages")
		}
		return refuse(ReasonNoAnswer, "it has no assistant's turn")
	}
	if r.choice == TurnsAll && !w.last {
		if err := r.every(w, msgs, res); err != nil {
			return err
		}
	} else {
		if err := answerable(w.turns[:last+1]); err != nil {
			return err
		}
		res.items = []Item{{Messages: msgs[:last:last], Answer: w.turns[last].answer(w.reported)}}
	}
	if last < len(msgs)-1 {
		res.notes = append(res.notes, NoteUnansweredTail)
	}
	if w.rejected != nil {
		if blank(w.rejected) {
			return refuse(ReasonNoAnswer, "the rejected answer is empty")
		}
		a := w.rejected.answer(w.reported)
		res.items[0].Rejected = &a
	}
	return nil
}

// every makes an item of each assistant turn that can be one. If none can, the
// row is refused for what is wrong with the last.
func (r *rowReader) every(w *row, msgs []exchange.Message, res *result) error {
	var failed error
	for i := range w.turns {
		if w.turns[i].Role != "assistant" {
			continue
		}
		err := answerable(w.turns[:i+1])
		if err == nil {
			res.items = append(res.items, Item{Messages: msgs[:i:i], Answer: w.turns[i].answer(w.reported)})
			continue
		}
		failed = err
		switch err.reason {
		case ReasonNotTrained:
			res.notes = append(res.notes, NoteUntrainedTurns)
		default:
			res.notes = append(res.notes, NoteBlankTurns)
		}
	}
	if len(res.items) == 0 {
		res.notes = nil
		return failed
	}
	return nil
}

// answerable reports why the last of turns cannot be learned from the others.
func answerable(turns []turn) *refused {
	last := len(turns) - 1
	switch {
	case last == 0 || last == 1 && turns[0].Role == "system":
		return refuse(ReasonNoPrompt, "nothing stands before its answer")
	case turns[last].untrained:
		return refuse(ReasonNotTrained, "its answer has the weight 0: it is not to be learned from")
	case blank(&turns[last]):
		return refuse(ReasonNoAnswer, "its answer is empty")
	}
	for i := range last {
		if turns[i].Role != "system" && strings.TrimSpace(turns[i].Content) != "" {
			return nil
		}
	}
	return refuse(ReasonEmpty, "its prompt is empty")
}

func blank(t *turn) bool { return len(t.ToolCalls) == 0 && strings.TrimSpace(t.Content) == "" }

// answer is the turn as an answer. A data set's answers are whole unless it
// says otherwise, which is what the finish reasons of the wire mean.
func (t *turn) answer(reported bool) exchange.Answer {
	a := exchange.Answer{Reasoning: t.Reasoning, Content: t.Content, ToolCalls: t.ToolCalls, FinishReason: t.finish}
	switch {
	case a.FinishReason != "" || reported:
	case len(a.ToolCalls) > 0:
		a.FinishReason = "tool_calls"
	default:
		a.FinishReason = "stop"
	}
	return a
}

// order refuses conversations that no wire carries: an assistant who answers
// itself, and a tool that answers nobody.
func order(turns []turn) error {
	called := false
	for i := range turns {
		switch t := &turns[i]; t.Role {
		case "assistant":
			if i > 0 && turns[i-1].Role == "assistant" {
				return refuse(ReasonRoleOrder, "messages %d and %d are both the assistant's", i, i+1)
			}
			called = len(t.ToolCalls) > 0
		case "tool":
			if !called {
				return refuse(ReasonRoleOrder, "message %d is a tool's, and no tool was called before it", i+1)
			}
		default:
			called = false
		}
	}
	return nil
}

// noNUL refuses texts with a NUL character: they are cut there by half of the
// programs that read them.
func (r *rowReader) noNUL(d *doc, w *row) error {
	if !d.nul && !r.nul {
		return nil
	}
	check := func(t *turn, n int) error {
		texts := []string{t.Content, t.Reasoning, t.Name, t.ToolCallID}
		for _, c := range t.ToolCalls {
			texts = append(texts, c.ID, c.Name, c.Arguments)
		}
		for _, s := range texts {
			if strings.IndexByte(s, 0) >= 0 {
				return refuse(ReasonNUL, "message %d holds a NUL character", n)
			}
		}
		return nil
	}
	for i := range w.turns {
		if err := check(&w.turns[i], i+1); err != nil {
			return err
		}
	}
	if strings.IndexByte(w.id, 0) >= 0 || strings.IndexByte(w.model, 0) >= 0 {
		return refuse(ReasonNUL, "its id or its model holds a NUL character")
	}
	if w.rejected != nil {
		return check(w.rejected, len(w.turns))
	}
	return nil
}

// extra is a JSON object of what was not read.
func (d *doc) extra() []byte {
	var b bytes.Buffer
	put := func(name string, i int32) {
		if b.Len() == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.Write(quoted(name))
		b.WriteByte(':')
		b.Write(d.bytes(i))
	}
	var walk func(holder int32, path string)
	walk = func(holder int32, path string) {
		nth := 0
		for i, ok := d.first(holder); ok; i, ok = d.after(holder, i) {
			step := strconv.Itoa(nth)
			nth++
			if d.nodes[holder].kind == '{' {
				step = d.name(i)
			}
			switch {
			case d.nodes[i].mark == opened:
				walk(i, path+"/"+escapePointer(step))
			case d.nodes[i].mark == taken:
			case holder == root && !strings.HasPrefix(step, "/"):
				put(step, i)
			default:
				put(path+"/"+escapePointer(step), i)
			}
		}
	}
	walk(root, "")
	if b.Len() == 0 {
		return nil
	}
	b.WriteByte('}')
	return b.Bytes()
}

// quoted writes a name as JSON.
func quoted(name string) []byte {
	b, _ := jsontext.AppendQuote(nil, name) // a name that was parsed is UTF-8, which is all that can be wrong
	return b
}

// escapePointer writes a name as a step of a JSON pointer (RFC 6901).
func escapePointer(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
