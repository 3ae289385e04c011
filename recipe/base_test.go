package recipe

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/export"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/terms"
)

// base writes a small Llama of random weights, as a Hugging Face directory that
// names no licence.
func (d *desk) base(name string, seed uint64) string {
	d.t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"system\n", "user\nStart with 3, add 4, modulo 7. What is left?", "assistant\n", "3+4=7 0"}), tokenizer.Options{VocabSize: 300})
	if err != nil {
		d.t.Fatal(err)
	}
	m, err := model.New(model.Config{VocabSize: tok.VocabSize(), Hidden: 32, Layers: 2, Heads: 4, KVHeads: 2, RopeDim: 8, VDim: 8,
		Intermediate: 64, DenseLayers: 2, RopeTheta: 1000, NormEps: 1e-5, MaxPositions: 1024, RoutedScale: 1}, seed)
	if err != nil {
		d.t.Fatal(err)
	}
	dir := filepath.Join(d.dir, name)
	opt := export.Options{Formats: []export.Format{export.HuggingFace, export.GGUF}, GGUFType: modelfile.Q4_1}
	if _, err := export.Write(context.Background(), dir, m, chat.Own(tok), opt); err != nil {
		d.t.Fatal(err)
	}
	return dir
}

const based = `retort: 1
name: based
teacher: {reference: {}}
budget: {usd: 1}
prompts: [{family: chain, steps: [2, 2], train: 24, heldout: 6}]
student: {base: BASE, terms: own-model, context: 300, lora: {rank: 4, dropout: 0.05}}
train: [{sft: {epochs: 2, batch_tokens: 2048}}]
eval:
  against: [teacher, base, q8_0]
  forgotten: [general, {family: multiply, count: 4}, {file: known.jsonl, field: q, gold: a, count: 3}]
export: [huggingface, {gguf: q8_0}]
`

func TestABaseIsTaughtFromRecipeToModel(t *testing.T) {
	d := newDesk(t)
	d.base("tiny", 1)
	d.write("known.jsonl", `{"q":"one?","a":"1"}`+"\n"+`{"q":"two?","a":"2"}`+"\n"+`{"q":"three?","a":"3"}`+"\n"+`{"q":"four?","a":"4"}`+"\n")
	text := strings.ReplaceAll(based, "BASE", "tiny")
	res := d.run(text)
	if got := res.Report.Training.Preset; !strings.Contains(got, "tiny (LlamaForCausalLM") || !strings.Contains(got, "adapter of rank 4") {
		t.Errorf("the report calls the student %q", got)
	}
	var names []string
	for _, b := range res.Report.Beside {
		names = append(names, b.Name)
	}
	if !slices.Equal(names, []string{"base", "q8_0"}) || res.Report.Untaught() == nil {
		t.Errorf("compared with %v", names)
	}
	if n := len(res.Report.Taught); n != 1 || res.Report.Taught[0].N != 6 || res.Report.Taught[0].Student >= res.Report.Taught[0].Base {
		t.Errorf("on the teacher's held-out answers: %+v", res.Report.Taught)
	}
	var what []string
	for _, f := range res.Report.Forgotten {
		what = append(what, f.What+" "+f.Measure)
	}
	if want := []string{"general perplexity", "known.jsonl perplexity", "multiply accuracy"}; !slices.Equal(what, want) {
		t.Errorf("what was forgotten is measured on %v, want %v", what, want)
	}

	// The directory holds the student, with the adapter merged and by itself.
	dir := filepath.Join(d.ws.Path("models"), res.Report.Model.Hash)
	p, err := export.ReadPassport(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b := p.Lineage.Base; b == nil || b.Name != "tiny" || b.Architecture != "LlamaForCausalLM" {
		t.Errorf("the passport names the base %+v", b)
	}
	b, err := base.Read(filepath.Join(d.dir, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := base.ReadAdapter(filepath.Join(dir, "adapter"), b.Model)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(b.Model); err != nil {
		t.Fatal(err)
	}
	if got := b.Model.Hash(); got != res.Report.Model.Hash {
		t.Errorf("base and adapter are model %s, the run made %s", got, res.Report.Model.Hash)
	}
	if m, _, err := export.Load(dir); err != nil || m.Hash() != res.Report.Model.Hash {
		t.Errorf("the student comes back as %v (%v)", m, err)
	}

	// The same recipe again is the same run, and from nothing the same bytes.
	if again := d.run(text); again.Report.Model.Hash != res.Report.Model.Hash || again.Report.Run != res.Report.Run {
		t.Errorf("run again it is %s of run %s", again.Report.Model.Hash, again.Report.Run)
	}
	other := newDesk(t)
	other.base("tiny", 1)
	other.write("known.jsonl", `{"q":"one?","a":"1"}`+"\n"+`{"q":"two?","a":"2"}`+"\n"+`{"q":"three?","a":"3"}`+"\n"+`{"q":"four?","a":"4"}`+"\n")
	if got := other.run(text); got.Report.Model.Hash != res.Report.Model.Hash || got.Report.Run != res.Report.Run {
		t.Errorf("elsewhere it is %s of run %s, here %s of %s", got.Report.Model.Hash, got.Report.Run, res.Report.Model.Hash, res.Report.Run)
	}
	// Another base is another run.
	before, err := d.load(text).RunName()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(d.dir, "tiny")); err != nil {
		t.Fatal(err)
	}
	d.base("tiny", 2)
	if after, err := d.load(text).RunName(); err != nil || after == before {
		t.Errorf("another base, and the run is still %s (%v)", after, err)
	}
}

func TestAStudentIsEvaluatedBesideItsBasesBlocks(t *testing.T) {
	d := newDesk(t)
	d.base("tiny", 1)
	fp32 := strings.NewReplacer("BASE", "tiny/model.gguf", "[teacher, base, q8_0]", "[teacher, base]",
		"[general, {family: multiply, count: 4}, {file: known.jsonl, field: q, gold: a, count: 3}]", "[]").Replace(based)
	blocks := strings.Replace(fp32, "eval:", "eval:\n  weights: blocks", 1)
	want, got := d.run(fp32).Report, d.run(blocks).Report
	if got.Model.Hash != want.Model.Hash || got.Run == want.Run {
		t.Errorf("run %s made %s, run %s %s", want.Run, want.Model.Hash, got.Run, got.Model.Hash)
	}
	if len(got.Taught) != 1 || len(want.Taught) != 1 {
		t.Fatalf("on the teacher's held-out answers: %+v and %+v", want.Taught, got.Taught)
	}
	// Both are near to what they are in numbers, and not the same: the base, and the
	// student, which is nearer to it without its adapter.
	x, y := want.Taught[0], got.Taught[0]
	for _, p := range [][2]float64{{x.Base, y.Base}, {x.Student, y.Student}} {
		if p[0] == p[1] || math.Abs(p[0]-p[1]) > 0.02*p[0] || math.Abs(x.Base-x.Student) < 0.03*x.Base {
			t.Errorf("perplexity %v in numbers and %v in blocks; base %v, student %v", p[0], p[1], x.Base, x.Student)
		}
	}
	if len(got.Beside) != 1 || got.Beside[0].Name != "base" {
		t.Errorf("compared with %+v", got.Beside)
	}
	for _, c := range []struct{ old, new, want string }{
		{"weights: blocks", "weights: int8", "neither fp32 nor blocks"},
		{"base: tiny/model.gguf", "base: tiny", "does not lie in blocks"},
		{", lora: {rank: 4, dropout: 0.05}", "", "the weights of this one are taught"},
	} {
		d.write("refused.yaml", strings.Replace(blocks, c.old, c.new, 1))
		r, err := Load(filepath.Join(d.dir, "refused.yaml"))
		if err == nil {
			_, err = Run(context.Background(), r, d.options())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "eval.weights") {
			t.Errorf("%q is refused with %v, want %q in it", c.new, err, c.want)
		}
	}
}

func TestAllWeightsOfABaseAreTaught(t *testing.T) {
	d := newDesk(t)
	dir := d.base("tiny", 1)
	res := d.run(strings.NewReplacer("BASE", "tiny", ", lora: {rank: 4, dropout: 0.05}", "", "against: [teacher, base, q8_0]", "against: [teacher]",
		"[general, {family: multiply, count: 4}, {file: known.jsonl, field: q, gold: a, count: 3}]", "[]").Replace(based))
	b, err := base.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if res.Report.Model.Hash == b.Model.Hash() || len(res.Report.Forgotten) != 0 {
		t.Errorf("the model is %s, as before; forgotten %+v", res.Report.Model.Hash, res.Report.Forgotten)
	}
	if _, err := os.Stat(filepath.Join(d.ws.Path("models"), res.Report.Model.Hash, "adapter")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is an adapter (%v)", err)
	}
}

func TestABaseThatCannotBeTaughtIsRefused(t *testing.T) {
	d := newDesk(t)
	d.base("tiny", 1)
	d.write("known.jsonl", `{"q":"one?","a":"1"}`+"\n")
	d.write("broken.gguf", "GGUF")
	text := strings.ReplaceAll(based, "BASE", "tiny")
	for _, c := range []struct{ old, new, want string }{
		{"base: tiny", "base: gone", "gone"},
		{"base: tiny", "base: broken.gguf", "student.base"},
		{"context: 300", "context: 2000", "more than the 1024 that the base was made for"},
		{"rank: 4", "rank: 4, targets: [q_prj]", "q_prj"},
		{"terms: own-model", "terms: nothing", "there is no such terms row"},
	} {
		changed := strings.Replace(text, c.old, c.new, 1)
		if _, err := Run(context.Background(), d.load(changed), d.options()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s is refused with %v, want %q in it", c.new, err, c.want)
		}
	}
	_, err := Run(context.Background(), d.load(strings.Replace(text, "terms: own-model, ", "", 1)), d.options())
	var refused *terms.RefusedError
	if !errors.As(err, &refused) || refused.Action != terms.Adapt {
		t.Errorf("a base without a licence is refused with %v", err)
	}
	// The wall stands before anything is asked.
	if entries, err := os.ReadDir(d.ws.Path("ledger")); err == nil && len(entries) > 0 {
		t.Errorf("the ledger holds %v", entries)
	}
}
