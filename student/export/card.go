package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"retort/exchange"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/teach/dataset"
	"retort/terms"
)

// PassportFormat and PassportVersion open every model passport.
const (
	PassportFormat  = "retort model passport"
	PassportVersion = 1
)

// Passport is a model's lineage as a machine reads it. Members that a reader
// does not know are to be ignored.
type Passport struct {
	Format       string       `json:"format"`
	Version      int          `json:"version"`
	Hash         string       `json:"hash"` // of configuration and weights, see model.Hash
	Params       int64        `json:"params"`
	ActiveParams int64        `json:"active_params"`
	Config       model.Config `json:"config"`
	// RopeFactors are the values of model.RopeFactorsName, for which safetensors have
	// no place.
	RopeFactors []float32 `json:"rope_factors,omitempty"`
	Lineage
	Adapter *AdapterRef    `json:"adapter,omitempty"`
	Files   []dataset.File `json:"files"` // all but the card and the passport
}

// Lineage is where a model comes from and what is known about it. Write puts it
// into the passport and onto the card.
type Lineage struct {
	Name    string         `json:"name"`
	Created string         `json:"created,omitempty"` // RFC 3339
	Tool    dataset.Tool   `json:"tool"`
	Recipe  dataset.Recipe `json:"recipe"`
	// Use is what the builder said that the model is for. Obligations that are
	// due only for models that are distributed go by it.
	Use     terms.Use `json:"use"`
	License string    `json:"license,omitempty"` // an SPDX identifier, if the builder has chosen one
	Notices []string  `json:"notices,omitempty"` // texts that go with the model, copies of licences among them
	// Base is the model that was taught; nil: the weights were random at first.
	Base     *BaseRef          `json:"base,omitempty"`
	Dataset  DatasetRef        `json:"dataset"`
	Teachers []dataset.Teacher `json:"teachers"`
	Terms    []dataset.Terms   `json:"terms"`
	// Overrides are what let answers pass that their terms alone would hold
	// back, at collection, curation or export.
	Overrides []terms.Override `json:"overrides,omitempty"`
	// People are those whose prompts the training data holds.
	People   []terms.People `json:"people,omitempty"`
	Training Training       `json:"training"`
	Eval     []Result       `json:"eval"`
	// Limits are sentences for the card about what the model cannot do, beyond
	// what is true of every model of this program.
	Limits []string `json:"limits,omitempty"`
}

// BaseRef names a model that others made and that was taught here.
type BaseRef struct {
	Name         string `json:"name"`                   // as people call it
	Architecture string `json:"architecture,omitempty"` // as Hugging Face names it
	Hash         string `json:"hash"`                   // of configuration and weights as they were read, see model.Hash
	License      string `json:"license,omitempty"`      // as its files name it
}

// AdapterRef says by what adapter a base was taught. Its files lie in the model's
// directory; the weights have it in them.
type AdapterRef struct {
	model.LoRA
	Hash string `json:"hash"` // see model.Adapter.Hash
}

// DatasetRef names the dataset that a model was trained on.
type DatasetRef struct {
	Hash     string         `json:"hash"`
	Examples int            `json:"examples"`
	Families map[string]int `json:"families,omitempty"`
	// Origins counts the examples by how they were obtained: "api", "import",
	// "served", "human".
	Origins map[string]int `json:"origins,omitempty"`
}

// besides says which examples are not what a teacher answered to the builder's
// own requests; "" if all are.
func (d DatasetRef) besides() string {
	var parts []string
	for _, o := range []struct {
		origin exchange.Origin
		one    string
	}{
		{exchange.OriginImport, "imported from conversations that others collected"},
		{exchange.OriginServed, "taken from what an API served"},
		{exchange.OriginHuman, "written or corrected by people"},
	} {
		if n := d.Origins[string(o.origin)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d were %s", n, o.one))
		}
	}
	return strings.Join(parts, "; ")
}

// Training says how long a model was trained.
type Training struct {
	Tokens  int64   `json:"tokens"`
	Steps   int64   `json:"steps"`
	Loss    float64 `json:"loss,omitempty"` // of the last steps, per token of the response
	Seconds float64 `json:"seconds,omitempty"`
	Seed    uint64  `json:"seed"`
}

// Result is a paired comparison with the teacher on held-out problems.
type Result struct {
	Family  string     `json:"family"`
	N       int        `json:"n"`
	Student float64    `json:"student"` // shares from 0 to 1
	Teacher float64    `json:"teacher"`
	Diff    float64    `json:"diff"`
	CI95    [2]float64 `json:"ci95"` // of Diff; of Student if Agreement
	// Agreement: there were no right answers to compare with; Student is the
	// share of answers that agree with the teacher's, and Teacher and Diff mean
	// nothing.
	Agreement bool `json:"agreement,omitempty"`
}

func (l Lineage) name() string { return cmp.Or(l.Name, "retort student") }

// checkObligations holds the model against what the terms of its training data
// ask for, see terms.CheckObligations.
func (l Lineage) checkObligations() error {
	m := terms.Model{Name: l.name(), License: l.License, Notices: l.Notices}
	for _, t := range l.Teachers {
		m.Teachers = append(m.Teachers, t.Model)
	}
	var due []terms.Obligation
	for _, t := range l.Terms {
		due = append(due, terms.Due(t.Obligations, l.Use)...)
	}
	return terms.CheckObligations(due, m)
}

// passport says what the listed files are.
func (s *student) passport(files []dataset.File) Passport {
	p := Passport{
		Format: PassportFormat, Version: PassportVersion, Hash: s.hash, Config: s.config, RopeFactors: s.factors,
		Lineage: s.opt.Lineage, Adapter: s.adapterRef(), Files: files,
	}
	p.Params, p.ActiveParams = p.Config.Params()
	p.Teachers = emptyNotNull(p.Teachers)
	p.Terms = emptyNotNull(p.Terms)
	p.Eval = emptyNotNull(p.Eval)
	return p
}

func (s *student) adapterRef() *AdapterRef {
	if s.opt.Adapter == nil {
		return nil
	}
	return &AdapterRef{LoRA: s.opt.Adapter.LoRA(), Hash: s.opt.Adapter.Hash()}
}

func emptyNotNull[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// cardData is what the card's template sees.
type cardData struct {
	Lineage
	Title  string
	Hash   string
	Config model.Config
	Class  string // of transformers
	Kind   string // its model_type
	MoE    bool
	Own    bool // our own format
	// OtherWords: transformers takes another tokenizer for this class without asking.
	OtherWords bool
	End        string // the text of the token that ends an answer
	Adapter    *AdapterRef
	Params     string
	Active     string
	GGUF       bool
	Blocks     string   // the type of the GGUF's matrices, if its values share scales
	Measured   bool     // against right answers
	Agreed     bool     // against the teacher's alone
	Short      []string // notices that the card prints
	Long       []string // the first lines of those that only NOTICE holds
	Note       string
	Besides    string
	Named      []string // teachers that have a name; a file of conversations may have none
}

func (s *student) writeCard(out io.Writer) error {
	c, l := s.config, s.opt.Lineage
	total, active := c.Params()
	d := cardData{
		Lineage: l, Title: l.name(), Hash: s.hash, Config: c, Class: s.class, Kind: s.kind, MoE: c.DenseLayers < c.Layers,
		Own: s.own, OtherWords: s.kind == "qwen2" && s.words.tok.Rule() != tokenizer.Qwen2, End: s.words.text(s.words.eos), Adapter: s.adapterRef(),
		Params: millions(total), Active: millions(active), Note: terms.Disclaimer, Besides: l.Dataset.besides(), GGUF: s.opt.gguf(),
	}
	if s.opt.GGUFType.Block() > 1 {
		d.Blocks = string(s.opt.GGUFType)
	}
	for _, r := range d.Eval {
		d.Agreed = d.Agreed || r.Agreement
		d.Measured = d.Measured || !r.Agreement
	}
	for _, t := range d.Teachers {
		if t.Model != "" {
			d.Named = append(d.Named, t.Model)
		}
	}
	for _, n := range d.Notices {
		if n = strings.TrimSpace(n); utf8.RuneCountInString(n) <= shortNotice {
			d.Short = append(d.Short, n)
		} else {
			first, _, _ := strings.Cut(n, "\n")
			d.Long = append(d.Long, strings.Trim(first, "* \r"))
		}
	}
	return cardTemplate.Execute(out, d)
}

// shortNotice is how many characters a notice has at most that the card prints
// in full.
const shortNotice = 400

// writeNotices writes the notices as they are, each after a line of hyphens but
// the first.
func writeNotices(out io.Writer, notices []string) error {
	for i, n := range notices {
		if i > 0 {
			n = "\n" + strings.Repeat("-", 72) + "\n\n" + n
		}
		if !strings.HasSuffix(n, "\n") {
			n += "\n"
		}
		if _, err := io.WriteString(out, n); err != nil {
			return err
		}
	}
	return nil
}

func millions(n int64) string {
	if n < 1_000_000 {
		return fmt.Sprintf("%.0f thousand", float64(n)/1e3)
	}
	return fmt.Sprintf("%.2f million", float64(n)/1e6)
}

var cardTemplate = template.Must(template.New("card").Funcs(template.FuncMap{
	"percent": func(v float64) string { return fmt.Sprintf("%.1f%%", 100*v) },
	"points":  func(v float64) string { return fmt.Sprintf("%+.1f", 100*v) },
	"yaml":    yamlString,
	"text":    markdownText,
	"short":   func(s string) string { return s[:min(len(s), 12)] },
	"quoted":  strconv.Quote,
	"join":    strings.Join,
	"actions": func(list []terms.Action) string {
		return strings.Join(slices.Collect(func(yield func(string) bool) {
			for _, a := range list {
				if !yield(string(a)) {
					return
				}
			}
		}), ", ")
	},
}).Parse(cardText))

// yamlString quotes a string for YAML, of which JSON's strings are a part.
func yamlString(s string) (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}

// markdownText keeps a string from becoming markup or leaving its line: names
// come from recipes and from other people's servers.
func markdownText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		case strings.ContainsRune("\\`*_[]<>|#&", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

const cardText = `---
{{with .License}}license: {{yaml .}}
{{end}}{{with .Base}}base_model: {{yaml .Name}}
base_model_relation: finetune
{{end}}library_name: transformers
pipeline_tag: text-generation
tags:
  - retort
  - distillation
  - {{.Kind}}
{{- if .GGUF}}
  - gguf
{{- end}}
{{- if .Eval}}
model-index:
  - name: {{yaml .Title}}
    results:
{{- range .Eval}}
      - task: {type: text-generation}
        dataset: {type: held-out, name: {{yaml .Family}}}
        metrics: [{type: {{if .Agreement}}agreement{{else}}accuracy{{end}}, value: {{printf "%.4f" .Student}}}]
{{- end}}
{{- end}}
---

# {{text .Title}}

{{if .Base}}A language model of {{.Params}} parameters: {{text .Base.Name}}, taught by Retort
{{- with .Adapter}} by an adapter of rank {{.Rank}}, which is merged into its weights{{else}} in all of its weights{{end}}
{{- if .Named}}, from what {{range $i, $n := .Named}}{{if $i}}, {{end}}{{text $n}}{{end}} answered through nothing but its API{{end}}
{{- if .Dataset.Examples}}, on {{.Dataset.Examples}} examples{{if .Besides}}, of which {{.Besides}}{{end}}{{end}}.
{{- else}}A small language model of {{.Params}} parameters{{if .MoE}} ({{.Active}} active for a token){{end}},
{{- if .Named}} distilled by Retort from {{range $i, $n := .Named}}{{if $i}}, {{end}}{{text $n}}{{end}} through nothing but its API
{{- else}} trained by Retort{{end}}
{{- if .Dataset.Examples}}: it was trained from random weights on {{.Dataset.Examples}} examples{{if .Besides}}, of which {{.Besides}}{{else if .Named}} of what {{if eq (len .Named) 1}}it{{else}}they{{end}} answered{{end}}{{end}}.
{{- end}}
{{if .Config.KVHeads}}The architecture is {{.Class}} (grouped-query attention: {{.Config.Heads}} heads of queries, {{.Config.KVHeads}} of keys and values): {{.Config.Layers}} layers,
{{- else}}The architecture is DeepSeek-V3's (multi-head latent attention{{if .MoE}}, mixture of experts{{end}}): {{.Config.Layers}} layers,
{{- end}}
hidden size {{.Config.Hidden}}, {{.Config.VocabSize}} tokens, contexts of up to {{.Config.MaxPositions}} tokens.

## What it was measured to do
{{if .Measured}}
Held-out problems that no training example shares, the same ones for student and teacher; the difference with its 95% interval.

| family | problems | student | teacher | difference (points) |
|---|--:|--:|--:|--:|
{{range .Eval}}{{if not .Agreement}}| {{text .Family}} | {{.N}} | {{percent .Student}} | {{percent .Teacher}} | {{points .Diff}} ({{points (index .CI95 0)}} to {{points (index .CI95 1)}}) |
{{end}}{{end}}{{end}}{{if .Agreed}}
These prompts have no right answers to compare with, so this is **agreement with the teacher**, not accuracy.

| family | prompts | agreement (95% interval) |
|---|--:|--:|
{{range .Eval}}{{if .Agreement}}| {{text .Family}} | {{.N}} | {{percent .Student}} ({{percent (index .CI95 0)}} to {{percent (index .CI95 1)}}) |
{{end}}{{end}}{{end}}{{if not .Eval}}
Nothing: it was exported without an evaluation.
{{end}}
## Limits

{{if .Base}}It knows what its base knew and what its training examples showed. What was not measured above may have become better or
worse, what the base refuses and how safely it answers included.
{{else}}It knows what its training examples showed and nothing else: expect nonsense on anything but the tasks above, and no general
knowledge, no safety training and no understanding of instructions beyond them.
{{end}}{{range .Limits}}
- {{text .}}
{{- end}}

## How to run it

    from transformers import AutoModelForCausalLM, AutoTokenizer
    tok = AutoTokenizer.from_pretrained(".")
    model = AutoModelForCausalLM.from_pretrained(".", dtype="float32")
    ids = tok.apply_chat_template([{"role": "user", "content": "…"}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    print(tok.decode(model.generate(**ids, max_new_tokens=256)[0]))
{{if .OtherWords}}
transformers' AutoTokenizer takes Qwen2's way of cutting text for every {{.Class}}, which is not this tokenizer's:
load it with PreTrainedTokenizerFast.
{{end}}{{if .Adapter}}
` + "`adapter/`" + ` holds what it was taught by itself, for PEFT and the base:

    from peft import PeftModel
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({{.Base.Name | quoted}}, dtype="float32"), "adapter")
{{end}}{{if .GGUF}}
With llama.cpp (` + "`llama-server -m model.gguf --jinja`" + `), with Ollama (` + "`ollama create student -f Modelfile`" + `), or with
Retort itself: ` + "`retort serve .`" + ` speaks the OpenAI API on loopback.
{{- if .Blocks}} The GGUF's matrices are rounded to
{{.Blocks}}: it answers a little differently from the weights in safetensors, with which everything above was measured.
{{- else}} llama.cpp's default settings keep keys and values in half
precision; for answers that match transformers token by token, add ` + "`-fa off -ctk f32 -ctv f32`" + `.
{{- end}}{{if .Own}} Its converter does not know
this tokenizer; the GGUF here was written by Retort.
{{- end}}
{{else}}
Or with Retort itself: ` + "`retort serve .`" + ` speaks the OpenAI API on loopback.
{{end}}
{{if not .Own}}The chat template is the base's. {{else}}The chat template is ChatML. Reasoning comes first, between ` + "`<think>` and `</think>`" + `. {{end}}Programs that render the template to text
and tokenize that text let a user who writes ` + "`{{.End}}`" + ` end a turn; ` + "`retort serve`" + ` does not.

## Where it comes from

| | |
|---|---|
| model hash | ` + "`{{.Hash}}`" + ` |
{{with .Base}}| base | {{text .Name}}{{with .Architecture}}, {{text .}}{{end}}{{with .License}}, {{text .}}{{end}} |
| base hash | ` + "`{{.Hash}}`" + ` |
{{end}}{{with .Adapter}}| adapter | rank {{.Rank}}, alpha {{.Alpha}}, on {{range $i, $t := .Targets}}{{if $i}}, {{end}}{{text $t}}{{end}}; ` + "`{{short .Hash}}`" + ` |
{{end}}{{with .Dataset.Hash}}| dataset hash | ` + "`{{.}}`" + ` |
{{end}}{{with .Recipe.Name}}| recipe | {{text .}} ` + "`{{short $.Recipe.Hash}}`" + ` |
{{end}}{{if .Training.Tokens}}| training | {{.Training.Tokens}} tokens, {{.Training.Steps}} steps, seed {{.Training.Seed}} |
{{end}}{{range .Teachers}}| teacher | {{with .Model}}{{text .}}, {{end}}{{with .Provider}}{{text .}}, {{end}}{{text .Endpoint}} |
{{end}}{{with .Created}}| exported | {{text .}} |
{{end}}
` + "`passport.json`" + ` says the same for machines, with the hash of every file.

## Licence and notices
{{if .License}}
This model is given under {{text .License}}.
{{- else}}
No licence was chosen for this model: unless its builder grants one, nobody else may use it.
{{- end}}
{{- with .Base}}{{with .License}}
Its base was given under {{text .}}: what that asks of models made from the base is asked of this one.
{{- else}}
Its base's files name no licence: find out under which it was given before you pass this model on.
{{- end}}{{end}}
{{range .Short}}
- {{text .}}
{{- end}}
{{- range .Long}}
- {{text .}} (in full in ` + "`NOTICE`" + `)
{{- end}}

## Terms and obligations

Built {{text .Use.String}}.
{{range .Terms}}
- {{.Examples}} examples under **{{text .ID}}**{{with .Document}}: {{text .}}{{end}}{{with .Read}}, read {{text .}}{{end}}.{{with .Decision}} Decision: {{text .}}{{end}}{{with .Basis}} ({{text .}}){{end}}{{if or .Decision .Basis}}.{{end}}
{{- range .Obligations}}
  - {{text .Text}}{{if and .Distributed (not $.Use.Distributed)}} Due if the model is distributed.{{end}}
{{- end}}
{{- else}}
No terms were recorded for its training data.
{{- end}}
{{if .Overrides}}
These terms alone did not let everything pass. Its builder overrode them:
{{range .Overrides}}
- **{{text .Row}}**, to {{actions .Actions}}{{with .Said}} (the row says {{text (print .)}}{{end}}{{if .Said}}{{with .Reason}}: {{text .}}{{end}}){{end}}. Basis: {{text .Basis}}{{with .By}}, by {{text .}}{{end}}.
{{- end}}
{{end}}{{if .People}}
People's own words are in the conversations that it learned from:
{{range .People}}
- {{.Rows}} examples from {{text .Source}}: {{if eq .Consent "recorded"}}their consent is recorded{{else if eq .Consent "none"}}they did not consent{{else}}whether they consented is not known{{end}}{{with .Basis}} ({{text .}}){{end}}.
{{- end}}
{{end}}
{{.Note}}
`
