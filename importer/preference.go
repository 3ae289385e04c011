package importer

import (
	"slices"

	"retort/exchange"
)

// preference reads a prompt with two answers, of which the first is the better
// one. Answers are texts, messages or lists of one message, or whole
// conversations that part at their last message (TRL calls that an implicit
// prompt). OpenAI's own format has input, preferred_output and
// non_preferred_output.
func (r *rowReader) preference(d *doc, w *row) error {
	w.last = true
	object, names := int32(root), [2]string{"chosen", "rejected"}
	openAI := d.has(root, "preferred_output") || d.has(root, "non_preferred_output")
	if openAI {
		names = [2]string{"preferred_output", "non_preferred_output"}
		in, ok := d.find(root, "input")
		if !ok || d.nodes[in].kind != '{' {
			return refuse(ReasonMissing, "it has no input with messages")
		}
		d.nodes[in].mark = opened
		object = in
	}
	var values [2]int32
	for k, name := range names {
		i, ok := d.anyOf(root, []string{name})
		if !ok {
			return refuse(ReasonMissing, "it has no %s answer", name)
		}
		values[k] = i
	}
	if d.many(values[0]) || d.many(values[1]) {
		return r.parted(d, w, values)
	}
	if openAI {
		if err := r.input(d, w, object); err != nil {
			return err
		}
	} else if _, ok := d.anyOf(root, append(slices.Clone(conversationFields), promptFields...)); !ok {
		return refuse(ReasonNoPrompt, "it has no prompt, and its answers are no conversations")
	} else if err := r.prompt(d, w); err != nil {
		return err
	}
	chosen, err := r.answer(d, values[0])
	if err != nil {
		return err
	}
	rejected, err := r.answer(d, values[1])
	if err != nil {
		return err
	}
	w.turns, w.rejected = append(w.turns, chosen), &rejected
	return nil
}

// many reports whether a value is a list of several.
func (d *doc) many(value int32) bool {
	if d.nodes[value].kind != '[' {
		return false
	}
	first, ok := d.first(value)
	if !ok {
		return false
	}
	_, ok = d.after(value, first)
	return ok
}

// input reads OpenAI's input object: messages and tools.
func (r *rowReader) input(d *doc, w *row, object int32) error {
	list, ok := d.anyOf(object, conversationFields)
	if !ok {
		return refuse(ReasonMissing, "its input has no messages")
	}
	turns, err := r.turns(d, list)
	if err != nil {
		return err
	}
	w.turns = turns
	if i, ok := d.take(object, toolFields...); ok {
		w.tools, err = r.tools(d, i)
	}
	return err
}

// parted reads two conversations that are the same up to their last message. A
// prompt that stands beside them is theirs.
func (r *rowReader) parted(d *doc, w *row, values [2]int32) error {
	var both [2][]turn
	for k, v := range values {
		turns, err := r.turns(d, v)
		if err != nil {
			return err
		}
		both[k] = slices.Clone(turns)
	}
	a, b := both[0], both[1]
	same := len(a) == len(b) && slices.EqualFunc(a[:max(0, len(a)-1)], b[:max(0, len(b)-1)], func(x, y turn) bool { return equalMessages(x.Message, y.Message) })
	if !same {
		return refuse(ReasonWrongType, "chosen and rejected are conversations that part before their last message")
	}
	last := len(a) - 1
	if a[last].Role != "assistant" || b[last].Role != "assistant" {
		return refuse(ReasonRole, "chosen and rejected do not both end with the assistant's turn")
	}
	if i, ok := d.anyOf(root, promptFields); ok && d.nodes[i].kind == '"' && last > 0 && d.str(i) == a[last-1].Content {
		d.nodes[i].mark = taken // it says the same again
	}
	w.turns, w.rejected = a, &b[last]
	return nil
}

func equalMessages(a, b exchange.Message) bool {
	return a.Role == b.Role && a.Content == b.Content && a.Reasoning == b.Reasoning && a.Name == b.Name &&
		a.ToolCallID == b.ToolCallID && slices.Equal(a.ToolCalls, b.ToolCalls)
}
