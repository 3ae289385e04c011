package export

import (
	"fmt"
	"strings"
	"text/template"

	"retort/exchange"
	"retort/student/chat"
	"retort/student/tokenizer"
)

// OllamaTemplate is the chat template of our own students in the language of Ollama's
// Modelfile.
const OllamaTemplate = `{{ range .Messages }}<|im_start|>{{ .Role }}
{{ if and (eq .Role "assistant") .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
`

// ollamaContext is how many tokens Ollama takes without a word; more cost memory.
const ollamaContext = 4096

// ollamaModelfile spells out template and stops, since Ollama recognises only
// the chat templates that it knows.
func (s *student) ollamaModelfile() string {
	text, stops, tells := OllamaTemplate, []string{tokenizer.ImEnd, tokenizer.ImStart, tokenizer.EndOfText}, true
	if !s.own {
		text, tells = translate(s.format)
		stops = nil
		for _, id := range s.words.spec.End {
			stops = append(stops, s.words.text(id))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "FROM ./%s\n\n", ggufFile)
	if tells {
		fmt.Fprintf(&b, "TEMPLATE \"\"\"%s\"\"\"\n\n", text)
	} else {
		b.WriteString("# The model's chat template (Jinja, in the GGUF) has no equal in Ollama's language: Ollama\n" +
			"# takes one that it knows in its place, or none. llama-server --jinja takes the model's own.\n\n")
	}
	for _, stop := range stops {
		fmt.Fprintf(&b, "PARAMETER stop %q\n", stop)
	}
	b.WriteString("PARAMETER temperature 0\n")
	if n := s.config.MaxPositions; s.own || n < ollamaContext {
		fmt.Fprintf(&b, "PARAMETER num_ctx %d\n", n)
	}
	return b.String()
}

// translate writes a format in Ollama's language: what stands before, between and
// behind the messages of conversations is taken from how the format lays some out. A
// template that does more than put such text around messages is not translated, which
// is found out by rendering other conversations both ways.
func translate(f *chat.Format) (string, bool) {
	opening, ok1 := around(f, "user")
	instructed, ok2 := around(f, "system", "user")
	answered, ok3 := around(f, "user", "assistant", "user")
	if !ok1 || !ok2 || !ok3 {
		return "", false
	}
	text := `{{ $last := "" }}{{ range .Messages }}{{ if eq .Role "system" }}` + instructed[0] +
		`{{ else if eq .Role "assistant" }}` + answered[1] +
		`{{ else if eq $last "" }}` + opening[0] + `{{ else if eq $last "system" }}` + instructed[1] + `{{ else }}` + answered[2] +
		`{{ end }}{{ .Content }}{{ $last = .Role }}{{ end }}` + opening[1]
	for _, piece := range append(append(opening, instructed...), answered...) {
		if strings.Contains(piece, "{{") || strings.Contains(piece, `"""`) {
			return "", false
		}
	}
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", false
	}
	for _, roles := range [][]string{
		{"user"}, {"system", "user"}, {"user", "assistant", "user"}, {"system", "user", "assistant", "user"},
		{"user", "assistant", "user", "assistant", "user"}, {"system", "user", "assistant", "user", "assistant", "user"},
	} {
		msgs := conversation(roles, "What is %d + 4?\n\nSay \"it\" in %[1]d words.")
		var b strings.Builder
		want, ok := layOut(f, msgs)
		if err := t.Execute(&b, struct{ Messages []exchange.Message }{msgs}); err != nil || !ok || b.String() != want {
			return "", false
		}
	}
	return text, true
}

// around is the text before each message of a conversation of these roles, and the text
// behind the last.
func around(f *chat.Format, roles ...string) (pieces []string, ok bool) {
	msgs := conversation(roles, "message number %d")
	text, ok := layOut(f, msgs)
	if !ok {
		return nil, false
	}
	for _, m := range msgs {
		before, after, found := strings.Cut(text, m.Content)
		if !found {
			return nil, false
		}
		pieces, text = append(pieces, before), after
	}
	return append(pieces, text), true
}

func conversation(roles []string, content string) []exchange.Message {
	msgs := make([]exchange.Message, len(roles))
	for i, role := range roles {
		msgs[i] = exchange.Message{Role: role, Content: fmt.Sprintf(content, i+1)}
	}
	return msgs
}

// layOut is a conversation as the model reads it, up to where it is to answer, without
// a token that Ollama puts before every text.
func layOut(f *chat.Format, msgs []exchange.Message) (string, bool) {
	ids, err := f.Prompt(msgs)
	if bos, ok := f.Tokenizer().BOS(); ok && len(ids) > 0 && ids[0] == bos {
		ids = ids[1:]
	}
	return f.Tokenizer().Decode(ids), err == nil
}
