package serve

import (
	"container/list"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"retort/openai"
	"retort/student/constrain"
	"retort/student/tokenizer"
)

// form is what a request wants its answers kept to, by one of its parameters. An
// answer ends where the form leaves nothing to add. Where reasoning is set apart
// (in a chat, unless Options.InlineReasoning) an answer that begins with <think>
// has the form from </think> on; elsewhere all of it has. One that reaches its
// limit of tokens first is cut off, with finish reason "length".
type form struct {
	param string
	kind  formKind
	text  string
}

type formKind string

const (
	formObject  formKind = "object"
	formSchema  formKind = "schema"
	formRegex   formKind = "regex"
	formChoice  formKind = "choice" // text is a JSON list
	formGrammar formKind = "grammar"
)

// readForm reads the form that a request asks for, nil if there is none: OpenAI's
// response_format, vLLM's guided_json, guided_regex, guided_choice and
// guided_grammar, llama.cpp's json_schema and grammar.
func readForm(extra openai.Extra) (*form, *openai.APIError) {
	var format struct {
		Type       string
		Schema     json.RawMessage // llama.cpp's place for it, with json_object
		JSONSchema *struct {
			Schema json.RawMessage
		} `json:"json_schema"`
	}
	var guided, schema json.RawMessage
	var choices []string
	var regex, guidedGrammar, grammar string
	if bad := readFields(extra, field{"response_format", &format}, field{"guided_json", &guided}, field{"json_schema", &schema}, field{"guided_choice", &choices},
		field{"guided_regex", &regex}, field{"guided_grammar", &guidedGrammar}, field{"grammar", &grammar}); bad != nil {
		return nil, bad
	}
	var all []form
	switch format.Type {
	case "", "text":
	case "json_object":
		if len(format.Schema) > 0 {
			all = append(all, form{"response_format", formSchema, string(format.Schema)})
		} else {
			all = append(all, form{"response_format", formObject, ""})
		}
	case "json_schema":
		if format.JSONSchema == nil || len(format.JSONSchema.Schema) == 0 {
			return nil, invalid("response_format", "response_format of type json_schema needs json_schema.schema")
		}
		all = append(all, form{"response_format", formSchema, string(format.JSONSchema.Schema)})
	default:
		return nil, invalid("response_format", "response_format %q is not supported, only text, json_object and json_schema", format.Type)
	}
	if len(guided) > 0 {
		var text string // the schema may come as a string that holds it
		if json.Unmarshal(guided, &text) != nil {
			text = string(guided)
		}
		all = append(all, form{"guided_json", formSchema, text})
	}
	if len(schema) > 0 {
		all = append(all, form{"json_schema", formSchema, string(schema)})
	}
	if choices != nil {
		text, _ := json.Marshal(choices) // strings always marshal
		all = append(all, form{"guided_choice", formChoice, string(text)})
	}
	for _, f := range []form{{"guided_regex", formRegex, regex}, {"guided_grammar", formGrammar, guidedGrammar}, {"grammar", formGrammar, grammar}} {
		if f.text != "" {
			all = append(all, f)
		}
	}
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return &all[0], nil
	}
	return nil, invalid(all[1].param, "%s and %s both say what the answer is to look like: send one of them", all[0].param, all[1].param)
}

// compile makes the grammar of a form.
func (f *form) compile() (*constrain.Grammar, error) {
	switch f.kind {
	case formObject:
		return constrain.JSONObject(), nil
	case formSchema:
		return constrain.Schema([]byte(f.text))
	case formRegex:
		return constrain.Regex(f.text)
	case formGrammar:
		return constrain.GBNF(f.text)
	}
	var choices []string
	if err := json.Unmarshal([]byte(f.text), &choices); err != nil {
		return nil, err
	}
	return constrain.Choice(choices)
}

// constraints are the forms that were asked for lately, compiled. Its zero value
// is ready.
type constraints struct {
	mu         sync.Mutex
	vocabulary *constrain.Vocabulary
	known      map[string]*list.Element
	recent     list.List // of *compiled, the latest first
}

type compiled struct {
	key string
	c   *constrain.Constraint
}

// mostConstraints bounds those that are kept; each takes some megabytes at most.
const mostConstraints = 32

// constraint returns the constraint of a form. With reasoning it begins after
// <think>…</think>, if the answer starts with it.
func (e *Engine) constraint(f *form, reasoning bool) (*constrain.Constraint, error) {
	key := fmt.Sprint(f.kind, reasoning, f.text)
	k := &e.constraints
	k.mu.Lock()
	if at, ok := k.known[key]; ok {
		k.recent.MoveToFront(at)
		k.mu.Unlock()
		return at.Value.(*compiled).c, nil
	}
	if k.vocabulary == nil {
		k.vocabulary = constrain.NewVocabulary(e.vocab, func(id int32) []byte {
			if e.tok.IsSpecial(id) {
				return nil
			}
			return e.tok.TokenBytes(id)
		}, e.format.Spec().End)
	}
	k.mu.Unlock()
	g, err := f.compile()
	if err == nil && reasoning {
		g, err = g.After(tokenizer.ThinkStart, tokenizer.ThinkEnd)
	}
	if err != nil {
		return nil, err
	}
	c := constrain.NewConstraint(g, k.vocabulary)
	k.mu.Lock()
	defer k.mu.Unlock()
	if at, ok := k.known[key]; ok { // another request was quicker
		return at.Value.(*compiled).c, nil
	}
	if k.known == nil {
		k.known = map[string]*list.Element{}
	}
	k.known[key] = k.recent.PushFront(&compiled{key, c})
	if k.recent.Len() > mostConstraints {
		delete(k.known, k.recent.Remove(k.recent.Back()).(*compiled).key)
	}
	return c, nil
}

// readAdjustments reads what changes the model's logits before a token is drawn:
// biases, penalties and the form of the answer.
func (e *Engine) readAdjustments(j *job, extra openai.Extra) *openai.APIError {
	var bias map[string]float64
	if bad := readFields(extra, field{"presence_penalty", &j.sampling.presence}, field{"frequency_penalty", &j.sampling.frequency}, field{"logit_bias", &bias}); bad != nil {
		return bad
	}
	for name, penalty := range map[string]float64{"presence_penalty": j.sampling.presence, "frequency_penalty": j.sampling.frequency} {
		if !(penalty >= -2 && penalty <= 2) {
			return invalid(name, "%s is %v, must be between -2 and 2", name, penalty)
		}
	}
	for key, by := range bias {
		id, err := strconv.ParseInt(key, 10, 32)
		switch {
		case err != nil || id < 0 || id >= int64(e.vocab):
			return invalid("logit_bias", "logit_bias names %q, which is no token of the vocabulary of %d", key, e.vocab)
		case !(by >= -100 && by <= 100):
			return invalid("logit_bias", "logit_bias of token %d is %v, must be between -100 and 100", id, by)
		}
		j.sampling.bias = append(j.sampling.bias, tokenBias{int32(id), float32(by)})
	}
	if bad := refuse(extra, "structured_outputs", "guided_whitespace_pattern"); bad != nil {
		return bad
	}
	f, bad := readForm(extra)
	if f == nil {
		return bad
	}
	c, err := e.constraint(f, !j.inline)
	if err != nil {
		return invalid(f.param, "%s: %s", f.param, strings.TrimSpace(err.Error()))
	}
	j.sampling.constraint = c
	return nil
}
