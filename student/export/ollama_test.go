package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/student/chat"
	"retort/student/tokenizer"
)

func TestTemplatesAreTranslatedForOllamaOrLeftOut(t *testing.T) {
	const chatML = `{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system
You are {{ '{}' }} a helper.<|im_end|>
{% endif %}<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}`
	f := foreign(t, tokenizer.Llama3) // which puts <s> before every text
	for _, c := range []struct {
		name, template, want string // of the translation, "" for none
	}{
		{"turns", turns, `{{ else if eq $last "" }}[user] {{ else`},
		{"ChatML with a system message of its own", strings.Replace(chatML, "{{ '{}' }}", "always", 1), "You are always a helper."},
		{"plain", "", "User:\n"},
		{"upper case", strings.ReplaceAll(turns, "m.content", "m.content | upper"), ""},
		{"no system messages", "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + turns, ""},
		{"the last message only", `[user] {{ messages[-1].content }}
[assistant] `, ""},
		{"otherwise after two turns", turns + `{% if messages | length > 4 %}!{% endif %}`, ""},
		{"braces", strings.Replace(chatML, "{{ '{}' }}", "{{ '{{' }}", 1), ""},
	} {
		g, err := chat.New(f.Tokenizer(), chat.Spec{Template: c.template, BOS: "<s>", EOS: "<|eot|>", End: []int32{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		text, ok := translate(g)
		if ok != (c.want != "") || !strings.Contains(text, c.want) || strings.Contains(text, "<s>") {
			t.Errorf("%s: it is translated to %q (%v)", c.name, text, ok)
		}
	}
}

func TestTheModelfileOfATaughtBase(t *testing.T) {
	dir, _, _ := writeGrouped(t, groupedKinds[0], Options{Formats: []Format{GGUF}})
	file, err := os.ReadFile(filepath.Join(dir, "Modelfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FROM ./model.gguf\n", `TEMPLATE """{{ $last := "" }}`, `PARAMETER stop "<|eot|>"`, `PARAMETER stop "<|eom|>"`, `PARAMETER stop "<|end|>"`, "PARAMETER num_ctx 77"} {
		if !strings.Contains(string(file), want) {
			t.Errorf("the Modelfile lacks %q:\n%s", want, file)
		}
	}
	k := groupedKinds[0]
	f := foreign(t, k.rule)
	s, err := newStudent(k.model(t, f.Tokenizer().VocabSize()), f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec := f.Spec()
	spec.Template = "{{ messages | length }}"
	if s.format, err = chat.New(f.Tokenizer(), spec); err != nil {
		t.Fatal(err)
	}
	s.config.MaxPositions = 1 << 17
	if text := s.ollamaModelfile(); strings.Contains(text, "TEMPLATE") || !strings.Contains(text, "has no equal") || strings.Contains(text, "num_ctx") {
		t.Errorf("without a translation it says\n%s", text)
	}
}
