package verify

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"retort/exchange"
	"retort/teach/task"
)

// TestTheFormatPageIsTrue runs every example of docs/formats/verify.md: each
// table of answers is judged by the verifiers above it.
func TestTheFormatPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	var s *Set
	var name, fence string
	var block strings.Builder
	judged, table := 0, false
	for line := range strings.Lines(string(page)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = strings.TrimPrefix(line, "```")
			block.Reset()
		case line == "```":
			if fence == "yaml" {
				s = fromYAML(t, block.String(), named)
			} else {
				named[name] = block.String()
			}
			fence = ""
		case fence != "":
			block.WriteString(line + "\n")
		case strings.HasSuffix(line, "`:"):
			name = strings.Trim(line, "`:")
		case line == "| answer | gold | outcome |":
			table = true
		case line == "":
			table = false
		case table && !strings.HasPrefix(line, "|---"):
			judged++
			judgeRow(t, s, line)
		}
	}
	if judged < 30 {
		t.Errorf("found %d examples", judged)
	}
}

func fromYAML(t *testing.T, text string, named map[string]string) *Set {
	t.Helper()
	var specs []Spec
	if err := yaml.UnmarshalWithOptions([]byte(text), &specs, yaml.Strict()); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	s, err := New(specs, files(named))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

func judgeRow(t *testing.T, s *Set, line string) {
	t.Helper()
	cells := strings.Split(strings.Trim(line, "|"), " | ")
	for i := range cells {
		cells[i] = strings.Trim(cells[i], " |`")
	}
	if len(cells) != 3 {
		t.Fatalf("%q has %d cells", line, len(cells))
	}
	p := task.Problem{Prompt: "Where is my order ORD-17?", Answer: cells[1]}
	if strings.HasPrefix(cells[1], "{") {
		p.Gold = json.RawMessage(cells[1])
	}
	r := s.Judge(context.Background(), In{Problem: p, Answer: exchange.Answer{Content: cells[0]}})
	var got []string
	for _, c := range r.Checks {
		got = append(got, strings.TrimSpace(c.Outcome+" "+c.Reason))
	}
	said := strings.Join(got, ", ")
	if said != cells[2] && (cells[2] != "pass" || strings.Trim(said, "pas, ") != "") {
		t.Errorf("%s\nis judged %s: %+v", line, said, r.Checks)
	}
}
