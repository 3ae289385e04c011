package template

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzRender renders any template on any text: it must end, and not with a panic,
// and neither the text nor the error may be long.
func FuzzRender(f *testing.F) {
	for _, c := range golden {
		f.Add(c.template, "text")
	}
	for _, c := range hostile {
		if len(c.template) < 1000 && c.why != tooMuchWork {
			f.Add(c.template, "<|im_end|>\n")
		}
	}
	f.Fuzz(func(t *testing.T, source, content string) {
		tmpl, err := Parse(source)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		message, err := json.Marshal(map[string]string{"role": "user", "content": strings.ToValidUTF8(content, "")})
		if err != nil {
			t.Fatal(err)
		}
		in := goldenInput
		in.Messages = append(in.Messages[:1:1], message)
		text, err := tmpl.Render(in)
		if most := mostText + 100*(len(content)+2000); len(text) > 2*most {
			t.Errorf("the text has %d bytes", len(text))
		}
		if err != nil && len(err.Error()) > 10_000 && !strings.Contains(source, "raise_exception") {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	})
}
