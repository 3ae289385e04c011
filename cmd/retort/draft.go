package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"retort/terms"
)

// draft is what `retort init` has learnt, from which it writes a recipe.
type draft struct {
	name        string
	purpose     string
	distributed bool

	reference, imported      bool
	baseURL, model, provider string
	keyEnv, row, agreement   string // row: the terms row that the user states
	governs                  string // the terms row that the gate found
	basis, by                string // of a person's decision to let it pass
	price                    *[2]float64
	paid                     bool
	usd                      float64

	families          []string
	file, field, gold string
	system            string
	examples, heldout int // examples 0: all of a file

	base, baseRow string // model to start from, "" for none, and the terms row that the user states for it
}

// text writes the recipe, as it stands in the file output. Files that it names
// are relative to that file.
func (d *draft) text(output string) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `# Made by retort init. What is not here has a default: retort recipe show %s
# prints every key, and docs/formats/recipe.md explains them.
retort: 1
name: %s
seed: 1        # decides problems, first weights and order: the same seed, the same model

# What the model is for. The terms gate decides on it, so let it be true.
use: {purpose: %s, distributed: %t}

`, filepath.Base(output), d.name, scalar(d.purpose), d.distributed)
	if err := d.writeTerms(&b, output); err != nil {
		return nil, err
	}
	d.writeTeacher(&b)
	if err := d.writePrompts(&b, output); err != nil {
		return nil, err
	}
	if err := d.writeRest(&b, output); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// overrides is a person's decision, as the gate takes it.
func (d *draft) overrides() []terms.Override {
	if d.basis == "" {
		return nil
	}
	return []terms.Override{{Row: d.governs, Actions: terms.Actions, Basis: d.basis, By: d.by}}
}

// writeTerms writes what the gate is told beyond its registry.
func (d *draft) writeTerms(b *strings.Builder, output string) error {
	if d.agreement == "" && d.basis == "" {
		return nil
	}
	b.WriteString("terms:\n")
	if d.agreement != "" {
		path, err := beside(output, d.agreement)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  agreements: [%s]    # a file with a terms row of your own\n", scalar(path))
	}
	for _, o := range d.overrides() {
		b.WriteString("  # A decision of a person; ledger, passports and model card will name it.\n")
		fmt.Fprintf(b, "  overrides: [{row: %s, actions: [%s], basis: %s, by: %s}]\n", o.Row, actions(o.Actions), scalar(o.Basis), scalar(o.By))
	}
	b.WriteString("\n")
	return nil
}

func actions(list []terms.Action) string {
	var out []string
	for _, a := range list {
		out = append(out, string(a))
	}
	return strings.Join(out, ", ")
}

func (d *draft) writeTeacher(b *strings.Builder) {
	if d.imported {
		b.WriteString("# There is no teacher: nothing is asked, and nothing paid.\n\n")
		return
	}
	if d.reference {
		b.WriteString(`# The built-in teacher: a server on this machine that is imperfect on purpose.
# Another one is a base_url, a model and an api_key_env.
teacher: {reference: {}}

`)
	} else {
		fmt.Fprintf(b, "# The terms row that governs it: retort terms show %s. Not legal advice.\nteacher:\n  base_url: %s\n  model: %s\n", d.governs, scalar(d.baseURL), scalar(d.model))
		if d.provider != "" {
			fmt.Fprintf(b, "  provider: %s\n", d.provider)
		}
		if d.keyEnv != "" {
			fmt.Fprintf(b, "  api_key_env: %s      # names the variable; the key itself is never written down\n", d.keyEnv)
		}
		if d.row != "" {
			fmt.Fprintf(b, "  terms: %s\n", d.row)
		}
		b.WriteString("  request: {temperature: 0.2, max_tokens: 512}    # max_tokens bounds what an answer costs\n")
		if d.price != nil {
			fmt.Fprintf(b, "  price: {input: %g, output: %g}    # USD per million tokens\n", d.price[0], d.price[1])
		}
		b.WriteString("  limits: {concurrent: 8}    # also rpm: and tpm:, requests and tokens a minute\n\n")
	}
	if d.paid {
		fmt.Fprintf(b, "# A wall: what is sent can never cost more.\nbudget: {usd: %g}\n\n", d.usd)
	}
}

func (d *draft) writePrompts(b *strings.Builder, output string) error {
	if d.file == "" {
		b.WriteString("# Families make problems and know the right answers. train: examples that must\n# pass; heldout: problems that are kept for the examination.\nprompts:\n")
		for i, name := range d.families {
			train := d.examples / len(d.families)
			if i == 0 {
				train += d.examples % len(d.families)
			}
			heldout := d.heldout
			if heldout == 0 {
				heldout = min(500, max(10, train/6))
			}
			fmt.Fprintf(b, "  - {family: %s, train: %d, heldout: %d}\n", name, train, heldout)
		}
		b.WriteString("\n")
		return nil
	}
	path, err := beside(output, d.file)
	if err != nil {
		return err
	}
	if d.imported {
		fmt.Fprintf(b, `# Conversations that somebody has had. terms: what their answers were obtained
# under; retort terms show %s. Not legal advice.
prompts:
  - imported: %s
    format: auto        # or sharegpt, alpaca, messages, preference, reasoning, batch, log
    turns: last         # all: each answer of a conversation is an example
    terms: %s
    consent: unknown    # of the people in it: none, or {consent: recorded, basis: WHERE}
    heldout: %d    # conversations that are kept for the examination

`, d.governs, scalar(path), d.row, d.heldout)
		return nil
	}
	fmt.Fprintf(b, "# A row a request; retort recipe preview %s shows them as they are sent.\nprompts:\n  - file: %s\n", filepath.Base(output), scalar(path))
	if strings.Contains(d.field, "{{") {
		fmt.Fprintf(b, "    template: %s\n", scalar(d.field))
	} else {
		fmt.Fprintf(b, "    field: %s    # or template: \"{{%s}} …\" over the row's fields\n", scalar(d.field), d.field)
	}
	if d.system != "" {
		system, err := beside(output, d.system)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "    system: %s\n", scalar(system))
	} else {
		b.WriteString("    # system: system.md       # a file with a system prompt\n")
	}
	b.WriteString("    # shots: shots.jsonl      # worked examples before each request\n")
	if d.gold != "" {
		fmt.Fprintf(b, "    gold: %s    # the field with the right answer\n", scalar(d.gold))
	}
	if d.examples > 0 {
		fmt.Fprintf(b, "    train: %d\n", d.examples)
	}
	fmt.Fprintf(b, "    heldout: %d    # rows that are kept for the examination\n\n", d.heldout)
	return nil
}

// otherVerifiers are forms that a recipe's verify takes beside the task's own.
var otherVerifiers = []string{"{json_schema: FILE}", "{starlark: FILE}", "{fields: [a, b]}", "{regex: '^…$'}", "{numeric: {}}", "{exact: {}}"}

func (d *draft) writeRest(b *strings.Builder, output string) error {
	keep, why := "correct", "only what every verifier passes is taught"
	switch {
	case d.imported:
		why = "what a verifier refuses is left out"
	case d.file != "" && d.gold == "":
		keep, why = "all", "nothing is known to be right: every complete answer is taught"
	}
	fmt.Fprintf(b, `# Who judges an answer; all of them must pass. fields, numeric and exact compare
# with the right answer. Others:
#   %s
verify: [{task: {}}]
curate: {keep: %s, near_duplicates: 0.8, decontaminate: heldout}    # %s

`, strings.Join(otherVerifiers, ", "), keep, why)
	if d.base == "" {
		b.WriteString("student: {preset: tiny}\ntrain: [{sft: {epochs: 5}}]\neval: {against: [teacher, untrained]}\n")
	} else {
		path, err := beside(output, d.base)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "# An adapter is taught, and merged at export. context: longest prompt and answer\n# together, in tokens; longer ones are left out.\nstudent:\n  base: %s\n  lora: {rank: 16}\n  context: 512\n", scalar(path))
		if d.baseRow != "" {
			fmt.Fprintf(b, "  terms: %s\n", d.baseRow)
		}
		b.WriteString("train: [{sft: {epochs: 3}}]\neval: {against: [teacher, base]}    # and what it forgot, of general questions\n")
	}
	b.WriteString("export: [huggingface, gguf]\n")
	return nil
}

// beside names a file as seen from the directory of output.
func beside(output, file string) (string, error) {
	if filepath.IsAbs(file) {
		return filepath.ToSlash(file), nil
	}
	rel, err := filepath.Rel(filepath.Dir(output), file)
	if err != nil {
		return "", fmt.Errorf("name %s as seen from %s: %w; give it as an absolute path", file, output, err)
	}
	return filepath.ToSlash(rel), nil
}

// plainScalar is text that YAML reads as that text, in a flow or a block.
var plainScalar = regexp.MustCompile(`^[A-Za-z_./][A-Za-z0-9_./-]*$`)

// scalar writes text as a YAML scalar.
func scalar(text string) string {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
	default:
		if plainScalar.MatchString(text) {
			return text
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b) // JSON strings are YAML's
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}
