package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/internal/kernel"
	"retort/student/model"
)

// small is a model that learns in a second; moe has experts.
func small(t testing.TB, moe bool) *model.Model {
	t.Helper()
	c := model.Config{VocabSize: 24, Hidden: 32, Layers: 2, Heads: 2, NopeDim: 8, RopeDim: 8, VDim: 8, KVLoraRank: 16,
		Intermediate: 48, DenseLayers: 2, RopeTheta: 200, NormEps: 1e-6, MaxPositions: 40, RoutedScale: 1}
	if moe {
		c.DenseLayers, c.MoEIntermediate, c.RoutedExperts, c.SharedExperts, c.TopK = 1, 16, 4, 1, 2
	}
	m, err := model.New(c, 5)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// copies are sequences whose response repeats the prompt in reverse.
func copies(n int, seed uint64) []Sequence {
	rng := rand.New(rand.NewPCG(seed, 2))
	out := make([]Sequence, n)
	for i := range out {
		k := 3 + rng.IntN(4)
		s := Sequence{ResponseFrom: k + 1}
		for range k {
			s.Tokens = append(s.Tokens, int32(2+rng.IntN(20)))
		}
		prompt := slices.Clone(s.Tokens)
		slices.Reverse(prompt)
		s.Tokens = append(append(append(s.Tokens, 0), prompt...), 1)
		out[i] = s
	}
	return out
}

func pool(t testing.TB, threads int) *kernel.Pool {
	t.Helper()
	p := kernel.NewPool(threads)
	t.Cleanup(p.Close)
	return p
}

func TestTrainingLearns(t *testing.T) {
	for _, c := range []struct {
		optimizer string
		moe       bool
	}{{"muon", false}, {"adamw", false}, {"muon", true}} {
		var first, last Progress
		res, err := SFT(t.Context(), small(t, c.moe), pool(t, 2), copies(600, 1),
			Options{Epochs: 6, BatchTokens: 256, Optimizer: c.optimizer, LR: 1e-2, MuonLR: 0.02, Heldout: copies(50, 9)},
			func(p Progress) {
				if p.Step == 1 {
					first = p
				}
				last = p
			})
		if err != nil {
			t.Fatal(err)
		}
		if first.Loss < 2.5 || last.Loss > 0.6*first.Loss {
			t.Errorf("%+v: loss went from %.2f to %.2f", c, first.Loss, last.Loss)
		}
		if !(res.HeldoutLoss < 0.6*first.Loss) || res.HeldoutLoss != last.HeldoutLoss {
			t.Errorf("%+v: held-out loss is %.2f", c, res.HeldoutLoss)
		}
		if last.Step != last.Steps || last.Tokens != last.TotalTokens || res.Steps != last.Steps || res.Tokens != last.Tokens {
			t.Errorf("%+v: the run ended at %+v, result %+v", c, last, res)
		}
		if want := map[bool]int{false: 0, true: 1}[c.moe]; len(last.ExpertLoad) != want {
			t.Errorf("%+v: load of %d layers of experts, want %d", c, len(last.ExpertLoad), want)
		}
	}
}

func TestLossIsOnTheResponseOnly(t *testing.T) {
	b := Sequence{Tokens: []int32{5, 6, 7, 8, 9}, ResponseFrom: 3}.AppendTo(model.Batch{})
	b = Sequence{Tokens: []int32{4, 3}, ResponseFrom: 0}.AppendTo(b)
	want := model.Batch{Tokens: []int32{5, 6, 7, 8, 4}, Targets: []int32{-1, -1, 8, 9, 3}, Starts: []int{0, 4}}
	if !slices.Equal(b.Tokens, want.Tokens) || !slices.Equal(b.Targets, want.Targets) || !slices.Equal(b.Starts, want.Starts) {
		t.Errorf("laid out as %+v, want %+v", b, want)
	}
}

func TestAStepClipsCountsAndBalances(t *testing.T) {
	m := small(t, true)
	r, err := newRun(m, pool(t, 1), copies(60, 1), Options{Epochs: 9, BatchTokens: 150, ClipNorm: 0.01, LR: 0.25, HeadLR: 0.25, WarmupShare: -1, DecayShare: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var head *param
	for i := range r.optim.params {
		if r.optim.params[i].name == "lm_head.weight" {
			head = &r.optim.params[i]
		}
	}
	before := slices.Clone(head.w)
	p, err := r.train()
	if err != nil {
		t.Fatal(err)
	}
	batch, experts := p.Look()
	if c := m.Config(); len(batch.Tokens) == 0 || len(experts) != c.Layers || len(experts[c.Layers-1]) != len(batch.Tokens)*c.TopK {
		t.Errorf("a look at the step shows %d tokens, and experts of %d layers", len(batch.Tokens), len(experts))
	}
	if p.GradNorm < 0.1 {
		t.Fatalf("gradient norm %v is too small to be clipped", p.GradNorm)
	}
	for i, g := range head.g { // the moment after one step is the clipped gradient's share
		if want := (1 - adamBeta1) * float64(g) * 0.01 / p.GradNorm; math.Abs(float64(head.m[i])-want) > 1e-4*math.Abs(want)+1e-12 {
			t.Fatalf("first moment of element %d is %v, want %v", i, head.m[i], want)
		}
	}
	for range 4 {
		if _, err := r.train(); err != nil {
			t.Fatal(err)
		}
	}
	// With its bias corrected AdamW moves by no more than about the rate a
	// step; uncorrected it would move by a multiple of it.
	for i := range before {
		if d := math.Abs(float64(head.w[i] - before[i])); d > 5*0.25*1.3 {
			t.Fatalf("element %d moved by %v in 5 steps at a rate of 0.25", i, d)
		}
	}
	if r.optim.now.adam.Step != 5 {
		t.Errorf("AdamW counts %d steps after 5", r.optim.now.adam.Step)
	}
	for _, tensor := range m.Tensors() {
		if strings.HasSuffix(tensor.Name, "e_score_correction_bias") && slices.Max(tensor.Data) == 0 {
			t.Errorf("%s did not move", tensor.Name)
		}
	}
}

func TestWeightsDoNotDependOnThreads(t *testing.T) {
	for i := range 4 {
		moe, precision := i%2 == 1, []string{"fp32", "bf16"}[i/2]
		hashes := map[int]string{}
		for _, threads := range []int{1, 2, 4} {
			res, err := SFT(t.Context(), small(t, moe), pool(t, threads), copies(120, 1), Options{Epochs: 1, BatchTokens: 150, Precision: precision}, nil)
			if err != nil {
				t.Fatal(err)
			}
			hashes[threads] = res.Hash
		}
		if hashes[1] != hashes[2] || hashes[1] != hashes[4] {
			t.Errorf("experts %v, %s: weights differ between numbers of threads: %v", moe, precision, hashes)
		}
	}
}

// errKilled is what a test interrupts a run with.
var errKilled = errors.New("killed")

// until trains to a step and is interrupted there, or killed without a chance
// to write anything.
func until(t *testing.T, dir string, step int, opt Options, kill bool) {
	t.Helper()
	opt.Dir = dir
	if kill {
		defer func() {
			if v := recover(); v != nil && v != errKilled {
				panic(v)
			}
		}()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := SFT(ctx, small(t, true), pool(t, 2), copies(120, 1), opt, func(p Progress) {
		if p.Step == step {
			if kill {
				panic(errKilled)
			}
			cancel(errKilled)
		}
	})
	if !errors.Is(err, errKilled) {
		t.Fatalf("an interrupted run ended with %v", err)
	}
}

func TestAResumedRunEndsInTheSameWeights(t *testing.T) {
	for _, parts := range []int{1, 3} {
		resumes(t, Options{Epochs: 2, BatchTokens: 150, Accumulate: parts, CheckpointEvery: 4, Heldout: copies(10, 3), HeldoutEvery: 5})
	}
}

// resumes interrupts a run again and again and compares what it comes to with one
// that was left alone.
func resumes(t *testing.T, opt Options) {
	t.Helper()
	whole := opt
	whole.Dir = t.TempDir()
	want, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want.Steps < 15 {
		t.Fatalf("the run has %d steps, too few to interrupt", want.Steps)
	}
	for _, kill := range []bool{false, true} {
		dir := t.TempDir()
		for step := 1; step < want.Steps; step += 5 {
			until(t, dir, step, opt, kill)
		}
		last := opt
		last.Dir = dir
		got, err := SFT(t.Context(), small(t, true), pool(t, 2), copies(120, 1), last, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Resumed == 0 || got.Hash != want.Hash || got.Loss != want.Loss || got.HeldoutLoss != want.HeldoutLoss || got.Tokens != want.Tokens {
			t.Errorf("killed %v: resumed run %+v, undisturbed %+v", kill, got, want)
		}
		if a, b := metricsOf(t, whole.Dir), metricsOf(t, dir); !slices.Equal(a, b) {
			t.Errorf("killed %v: metrics differ:\n%v\n%v", kill, a, b)
		}
		again, err := SFT(t.Context(), small(t, true), pool(t, 2), copies(120, 1), last, func(Progress) { t.Error("a finished run was trained further") })
		if err != nil || again.Hash != want.Hash || again.Resumed != want.Steps {
			t.Errorf("a finished run came back as %+v, %v", again, err)
		}
	}
}

// metricsOf reads the lines of a run without what depends on the clock.
func metricsOf(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("metrics line %q: %v", line, err)
		}
		for _, name := range []string{"tokens_per_s", "seconds", "joules"} {
			delete(m, name)
		}
		text, _ := json.Marshal(m)
		out = append(out, string(text))
	}
	return out
}

// damage changes a file's content.
func damage(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedCheckpointIsNamedAndPassedOver(t *testing.T) {
	opt := Options{Epochs: 1, BatchTokens: 150, CheckpointEvery: 2}
	want, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"one bit of a weight":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"one bit of the magic": func(b []byte) []byte { b[0] ^= 1; return b },
		"cut off":              func(b []byte) []byte { return b[:len(b)/3] },
		"empty":                func(b []byte) []byte { return nil },
		"header length":        func(b []byte) []byte { b[11] = 0xff; return b },
		"more at the end":      func(b []byte) []byte { return append(b, 0) },
	} {
		dir := t.TempDir()
		until(t, dir, 5, opt, true)
		damage(t, filepath.Join(dir, checkpointName(4)), change)
		o := opt
		o.Dir = dir
		got, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), o, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Resumed != 2 || got.Hash != want.Hash || len(got.Damaged) != 1 || !strings.HasSuffix(got.Damaged[0], checkpointName(4)) {
			t.Errorf("%s: went on from step %d, damaged %v, same weights %v", name, got.Resumed, got.Damaged, got.Hash == want.Hash)
		}
	}
}

func TestNoWholeCheckpointLeftIsAnError(t *testing.T) {
	opt := Options{Epochs: 1, BatchTokens: 150, CheckpointEvery: 2}
	dir := t.TempDir()
	until(t, dir, 5, opt, true)
	for _, step := range []int{2, 4} {
		damage(t, filepath.Join(dir, checkpointName(step)), func(b []byte) []byte { return b[:100] })
	}
	opt.Dir = dir
	_, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), opt, nil)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), checkpointName(2)) || !strings.Contains(err.Error(), checkpointName(4)) {
		t.Errorf("error is %v, want one that names both files", err)
	}
}

func TestACheckpointOfOtherInputsIsRefused(t *testing.T) {
	opt := Options{Epochs: 1, BatchTokens: 150, CheckpointEvery: 2}
	dir := t.TempDir()
	until(t, dir, 5, opt, true)
	opt.Dir = dir
	for name, run := range map[string]func() error{
		"other data": func() error {
			_, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 2), opt, nil)
			return err
		},
		"other options": func() error {
			o := opt
			o.Epochs = 2
			_, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), o, nil)
			return err
		},
		"other precision": func() error {
			o := opt
			o.Precision = "bf16"
			_, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), o, nil)
			return err
		},
		"another number of parts": func() error {
			o := opt
			o.Accumulate = 2
			_, err := SFT(t.Context(), small(t, true), pool(t, 1), copies(120, 1), o, nil)
			return err
		},
		"other model": func() error {
			_, err := SFT(t.Context(), small(t, false), pool(t, 1), copies(120, 1), opt, nil)
			return err
		},
	} {
		if err := run(); !errors.Is(err, ErrOtherRun) || !strings.Contains(err.Error(), checkpointName(4)) {
			t.Errorf("%s: error is %v, want ErrOtherRun naming the file", name, err)
		}
	}
}

func TestTwoCheckpointsAreKept(t *testing.T) {
	dir := t.TempDir()
	if _, err := SFT(t.Context(), small(t, false), pool(t, 1), copies(120, 1), Options{Epochs: 1, BatchTokens: 150, CheckpointEvery: 1, Dir: dir}, nil); err != nil {
		t.Fatal(err)
	}
	steps, err := checkpoints(dir)
	if err != nil || len(steps) != 2 || steps[1] != steps[0]+1 {
		t.Errorf("checkpoints left: %v, %v", steps, err)
	}
}

func TestACheckpointThatCannotBeWrittenLeavesTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, checkpointName(4), "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	opt := Options{Epochs: 1, BatchTokens: 150, CheckpointEvery: 2, Dir: dir}
	_, err := SFT(t.Context(), small(t, false), pool(t, 1), copies(120, 1), opt, func(p Progress) {
		if p.Step > 4 {
			t.Error("training went on without its checkpoint")
		}
	})
	if err == nil || !strings.Contains(err.Error(), checkpointName(4)) {
		t.Errorf("error is %v, want one that names the file", err)
	}
	files, _ := os.ReadDir(dir)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{checkpointName(2), checkpointName(4), MetricsFile}; !slices.Equal(names, want) {
		t.Errorf("left behind: %v, want %v", names, want)
	}
}

// unsynced is a file whose sync fails.
type unsynced struct{ *os.File }

var errUnsynced = errors.New("not synced")

func (unsynced) Sync() error { return errUnsynced }

// TestACheckpointNeverStandsBeforeItsMetrics: the lines that lead to it are made
// durable first, and if they cannot be there is no checkpoint.
func TestACheckpointNeverStandsBeforeItsMetrics(t *testing.T) {
	dir := t.TempDir()
	r, err := newRun(small(t, false), pool(t, 1), copies(60, 1), Options{Epochs: 1, BatchTokens: 150, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.restore(); err != nil {
		t.Fatal(err)
	}
	r.metrics.file = unsynced{r.metrics.file.(*os.File)}
	if _, err := r.train(); err != nil {
		t.Fatal(err)
	}
	if err := r.save(); !errors.Is(err, errUnsynced) {
		t.Errorf("saving gives %v, want the metrics' error", err)
	}
	if _, err := os.Stat(filepath.Join(dir, checkpointName(1))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a checkpoint: %v", err)
	}
}

func TestDivergenceIsAnError(t *testing.T) {
	_, err := SFT(t.Context(), small(t, false), pool(t, 1), copies(50, 1), Options{Epochs: 20, BatchTokens: 150, Optimizer: "adamw", LR: 1e30, ClipNorm: -1, WarmupShare: -1}, nil)
	if !errors.Is(err, ErrDiverged) {
		t.Errorf("error is %v, want ErrDiverged", err)
	}
}

func TestSequencesThatCannotBeTrainedOnAreCounted(t *testing.T) {
	data := copies(20, 1)
	long := Sequence{Tokens: make([]int32, 41), ResponseFrom: 20}
	data = append(data, long, Sequence{Tokens: []int32{1, 2}, ResponseFrom: 2}, Sequence{Tokens: []int32{3}}, Sequence{}, Sequence{Tokens: make([]int32, 40), ResponseFrom: 39})
	res, err := SFT(t.Context(), small(t, false), pool(t, 1), data, Options{Epochs: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Sequences != 21 || res.TooLong != 1 || res.NoResponse != 3 {
		t.Errorf("trained on %d, %d too long, %d without response; want 21, 1, 3", res.Sequences, res.TooLong, res.NoResponse)
	}
	res, err = SFT(t.Context(), small(t, false), pool(t, 1), data, Options{Epochs: 1, Context: 39, Heldout: []Sequence{long, data[0]}}, nil)
	if err != nil || res.Sequences != 20 || res.TooLong != 2 || res.NoResponse != 3 {
		t.Errorf("with a context of 39 tokens %d were trained on, %d too long, %d without response (%v); want 20, 2, 3", res.Sequences, res.TooLong, res.NoResponse, err)
	}
	_, err = SFT(t.Context(), small(t, false), pool(t, 1), []Sequence{long}, Options{Epochs: 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "nothing to train on") || !strings.Contains(err.Error(), "40") {
		t.Errorf("error is %v, want one that says why nothing is left", err)
	}
	_, err = SFT(t.Context(), small(t, false), pool(t, 1), []Sequence{{Tokens: []int32{1, 24}}}, Options{Epochs: 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "24") {
		t.Errorf("error is %v, want one that names the token", err)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		"exactly one": {},
		"epochs (2)":  {Epochs: 2, Tokens: 5},
		"-1":          {Epochs: -1},
		"sgd":         {Epochs: 1, Optimizer: "sgd"},
		"int4":        {Epochs: 1, Precision: "int4"},
		"NaN":         {Epochs: 1, LR: math.NaN()},
		"shares":      {Epochs: 1, DecayShare: 1.5},
		"parts":       {Epochs: 1, Accumulate: -2},
		"-3 tokens":   {Epochs: 1, Context: -3},
		"41 tokens":   {Epochs: 1, Context: 41},
	} {
		_, err := SFT(t.Context(), small(t, false), pool(t, 1), copies(5, 1), o, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error is %v, want one that says %q", o, err, want)
		}
	}
}

func TestASteadyStepAllocatesNothing(t *testing.T) {
	for _, parts := range []int{1, 4} {
		if n := allocations(t, Options{Epochs: 50, BatchTokens: 256, Accumulate: parts, Dir: t.TempDir(), Heldout: copies(20, 2), HeldoutEvery: 3}); n >= 1 {
			t.Errorf("a step in %d parts allocates %v times", parts, n)
		}
	}
}

// allocations counts those of a steady step.
func allocations(t *testing.T, opt Options) float64 {
	t.Helper()
	r, err := newRun(small(t, true), pool(t, 2), copies(400, 1), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.restore(); err != nil {
		t.Fatal(err)
	}
	step := func() {
		if _, err := r.train(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		step()
	}
	return testing.AllocsPerRun(60, step)
}

func TestMetricsAreCutBackToTheStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), MetricsFile)
	old := "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":1}\n{\"step\":3,\"loss\":1}\n{\"step\":4,\"lo"
	for step, want := range map[int]int{0: 0, 1: 1, 3: 3, 7: 3} {
		if err := os.WriteFile(path, []byte(old), 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := openMetrics(path, step)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.write(Progress{Step: 99, HeldoutLoss: math.NaN()}); err != nil {
			t.Fatal(err)
		}
		l.close()
		got, _ := os.ReadFile(path)
		if n := bytes.Count(got, []byte("\n")); n != want+1 || !bytes.Contains(got, []byte(`{"step":99,`)) {
			t.Errorf("cut back to step %d: %q", step, got)
		}
	}
}

func TestEnergyIsReadWhereTheProcessorTells(t *testing.T) {
	root := t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"} {
		write(dir, "max_energy_range_uj", "10000000\n")
		write(dir, "energy_uj", "9000000\n")
	}
	e := openEnergy(root)
	defer e.close()
	write("intel-rapl:0", "energy_uj", "9500000\n")
	write("intel-rapl:1", "energy_uj", "500000\n") // wrapped
	write("intel-rapl:0:0", "energy_uj", "9900000\n")
	if got := e.joules(); math.Abs(got-2) > 1e-9 {
		t.Errorf("%v joules, want 0.5 and 1.5", got)
	}
	if got := e.joules(); got != 0 {
		t.Errorf("%v joules without use", got)
	}
	none := openEnergy(t.TempDir())
	if got := none.joules(); got != 0 {
		t.Errorf("%v joules where nothing tells", got)
	}
}

// TestAccumulatedGradientsAreTheSteps: a step in parts has the gradient, the loss
// and the loads of the step in one part, whatever the parts' shares of the loss.
func TestAccumulatedGradientsAreTheSteps(t *testing.T) {
	data := copies(60, 1)
	for i := range data {
		if i%3 == 0 {
			data[i].ResponseFrom = len(data[i].Tokens) - 1
		}
	}
	for _, moe := range []bool{false, true} {
		want, one := gradientsOf(t, moe, data, 1)
		for _, parts := range []int{2, 3, 7, 1000} {
			got, p := gradientsOf(t, moe, data, parts)
			if math.Abs(p.Loss-one.Loss) > 1e-6*one.Loss || math.Abs(p.GradNorm-one.GradNorm) > 1e-4*one.GradNorm || p.Tokens != one.Tokens {
				t.Errorf("experts %v, %d parts: loss %v, norm %v after %d tokens; in one %v, %v, %d", moe, parts, p.Loss, p.GradNorm, p.Tokens, one.Loss, one.GradNorm, one.Tokens)
			}
			if !slices.EqualFunc(p.ExpertLoad, one.ExpertLoad, slices.Equal) {
				t.Errorf("experts %v, %d parts: load %v, in one %v", moe, parts, p.ExpertLoad, one.ExpertLoad)
			}
			tolerance := 2e-6
			if moe {
				tolerance = 1e-4 // the balance loss weighs sequences otherwise
			}
			for i := range want {
				if d := math.Abs(float64(got[i] - want[i])); d > tolerance*one.GradNorm {
					t.Fatalf("experts %v, %d parts: gradient %d is %v, in one %v", moe, parts, i, got[i], want[i])
				}
			}
		}
	}
}

// gradientsOf are those of the first step in so many parts, and what it tells.
func gradientsOf(t *testing.T, moe bool, data []Sequence, parts int) ([]float32, Progress) {
	t.Helper()
	r, err := newRun(small(t, moe), pool(t, 2), data, Options{Epochs: 9, BatchTokens: 300, Accumulate: parts})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	_, _, share, err := r.gradients(r.sequences(0))
	if err != nil {
		t.Fatal(err)
	}
	var all []float32
	for _, g := range r.grads {
		for _, v := range g.Data {
			all = append(all, float32(share)*v)
		}
	}
	p, err := r.train()
	if err != nil {
		t.Fatal(err)
	}
	return all, p
}

func TestAccumulatedTrainingIsTheSameTraining(t *testing.T) {
	opt := Options{Epochs: 2, BatchTokens: 300, Heldout: copies(20, 3)}
	hash := map[int]string{}
	var loss []float64
	for _, parts := range []int{1, 4} {
		opt.Accumulate = parts
		for _, threads := range []int{1, 3} {
			res, err := SFT(t.Context(), small(t, false), pool(t, threads), copies(120, 1), opt, nil)
			if err != nil {
				t.Fatal(err)
			}
			if hash[parts] == "" {
				hash[parts] = res.Hash
			} else if res.Hash != hash[parts] {
				t.Errorf("%d parts: weights differ between numbers of threads", parts)
			}
			loss = append(loss, res.HeldoutLoss)
		}
	}
	if math.Abs(loss[0]-loss[2]) > 1e-3*loss[0] {
		t.Errorf("held-out loss is %v in one part and %v in four", loss[0], loss[2])
	}
}
