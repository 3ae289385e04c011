package train

import (
	"context"
	"errors"
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

// reversals are copies' prompts and what answers them.
func reversals(n int, seed uint64) (prompts, answers [][]int32) {
	for _, s := range copies(n, seed) {
		prompts = append(prompts, s.Tokens[:s.ResponseFrom])
		answers = append(answers, s.Tokens[s.ResponseFrom:])
	}
	return prompts, answers
}

func ends(id int32) bool { return id == 1 }

// reversing has a model reverse what it reads.
func reversing(train, heldout int) Problems {
	p, answers := reversals(train, 21)
	h, held := reversals(heldout, 22)
	return Problems{Train: p, Heldout: h, Ends: ends, Judge: func(heldout bool, i int, a Answer) Judgement {
		want := answers
		if heldout {
			want = held
		}
		return Judgement{Right: slices.Equal(a.Tokens, want[i]), Formed: a.Ended, Reasoned: true}
	}}
}

// taughtToReverse is a model that reverses some prompts, sometimes, and not others.
func taughtToReverse(t testing.TB) *model.Model {
	t.Helper()
	m := small(t, false)
	if _, err := SFT(t.Context(), m, pool(t, 2), copies(1500, 1), Options{Epochs: 3, BatchTokens: 256, LR: 1e-2, MuonLR: 0.02}, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSamplingDependsOnNothingBesideTheSeed(t *testing.T) {
	m := taughtToReverse(t)
	prompts, _ := reversals(40, 3)
	var want [][]Answer
	for _, c := range []struct{ threads, slots int }{{1, 1}, {2, 7}, {2, 300}} {
		got, err := NewSampler(m, pool(t, c.threads), ends, SamplerOptions{Slots: c.slots}).Sample(t.Context(), prompts, Draw{Each: 4, MaxTokens: 9, Temperature: 1, Seed: 5})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
			continue
		}
		for i := range got {
			for j, a := range got[i] {
				if !slices.Equal(a.Tokens, want[i][j].Tokens) || !slices.Equal(a.Logprobs, want[i][j].Logprobs) || a.Ended != want[i][j].Ended {
					t.Fatalf("%+v: answer %d to prompt %d is %+v, by one slot %+v", c, j, i, a, want[i][j])
				}
			}
		}
	}
	different := 0
	for i := range want {
		if !slices.Equal(want[i][0].Tokens, want[i][1].Tokens) {
			different++
		}
		for _, a := range want[i] {
			if len(a.Tokens) > 9 || a.Ended != (a.Tokens[len(a.Tokens)-1] == 1) || slices.Contains(a.Tokens[:len(a.Tokens)-1], 1) {
				t.Errorf("answer %+v", a)
			}
		}
	}
	if different < 5 {
		t.Errorf("the first two answers differ for %d of %d prompts", different, len(prompts))
	}
}

// Drawn tokens follow the model's distribution: Pearson's statistic of the first one has
// about its mean, the number of likely tokens less one. Log-probabilities and entropy are
// those of the forward pass.
func TestSamplesFollowTheModel(t *testing.T) {
	m, p := small(t, false), pool(t, 2)
	prompt := []int32{3, 9, 4, 12, 0}
	for _, temperature := range []float64{1, 2} {
		const n = 4000
		got, err := NewSampler(m, p, ends, SamplerOptions{}).Sample(t.Context(), [][]int32{prompt}, Draw{Each: n, MaxTokens: 1, Temperature: temperature, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		targets := []int32{-1, -1, -1, -1, 0}
		logits, err := model.NewPass(m, p, 40).Logits(model.Batch{Tokens: prompt, Targets: targets, Starts: []int{0}})
		if err != nil {
			t.Fatal(err)
		}
		probs := slices.Clone(logits)
		lse := kernel.Softmax(probs)
		entropy := 0.0
		for i, q := range probs {
			entropy -= float64(q) * float64(logits[i]-lse)
		}
		tempered := slices.Clone(logits)
		kernel.Scale(tempered, float32(1/temperature))
		kernel.Softmax(tempered)
		counts := make([]float64, len(probs))
		for _, a := range got[0] {
			counts[a.Tokens[0]]++
			if d := math.Abs(float64(a.Logprobs[0] - (logits[a.Tokens[0]] - lse))); d > 1e-4 || math.Abs(a.Entropy-entropy) > 1e-4 {
				t.Fatalf("log-probability off by %v, entropy %v, want %v", d, a.Entropy, entropy)
			}
		}
		statistic, cells := 0.0, 0
		for i, q := range tempered {
			if want := n * float64(q); want > 5 {
				statistic += (counts[i] - want) * (counts[i] - want) / want
				cells++
			}
		}
		if df := float64(cells - 1); cells < 5 || statistic > df+5*math.Sqrt(2*df) {
			t.Errorf("temperature %v: Pearson's statistic is %v over %d tokens", temperature, statistic, cells)
		}
	}
}

func TestGRPORaisesTheShareOfRightAnswers(t *testing.T) {
	m := taughtToReverse(t)
	var first, last GRPOProgress
	early, late := 0.0, 0.0
	res, err := GRPO(t.Context(), m, pool(t, 2), reversing(400, 100), GRPOOptions{
		Steps: 60, Problems: 16, Group: 8, MaxTokens: 9, LR: 2e-3, FormReward: 0.1, Seed: 1,
	}, func(p GRPOProgress) {
		if p.Step == 1 {
			first = p
		}
		last = p
		if p.Step <= 10 {
			early += p.Right / 10
		} else if p.Step > 50 {
			late += p.Right / 10
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if late < early+0.15 || res.Best <= res.Start {
		t.Errorf("of what was drawn %.2f were right in the first steps and %.2f in the last; held out, %.2f at the start and %.2f at best", early, late, res.Start, res.Best)
	}
	if last.Step != 60 || first.Learned == 0 || first.Drawn < first.Learned || last.Tokens != res.Tokens || res.Hash != m.Hash() || len(res.Alarms) > 0 {
		t.Errorf("it began with %+v and ended with %+v, %+v", first, last, res)
	}
	if first.Mismatch > 1e-3 {
		t.Errorf("what was drawn and what was learned from differ by %v", first.Mismatch)
	}
	// The weights are those of the best look.
	s := NewSampler(m, pool(t, 1), ends, SamplerOptions{})
	problems := reversing(400, 100)
	all, err := s.Sample(t.Context(), problems.Heldout, Draw{MaxTokens: 9})
	if err != nil {
		t.Fatal(err)
	}
	right := 0.0
	for i, a := range all {
		if problems.Judge(true, i, a[0]).Right {
			right++
		}
	}
	if share := right / float64(len(all)); share != res.Best {
		t.Errorf("the model solves %v, its best look was %v", share, res.Best)
	}
}

func TestGRPOGoesOnWhereItWasInterrupted(t *testing.T) {
	start := taughtToReverse(t)
	opt := func(dir string) GRPOOptions {
		return GRPOOptions{Steps: 6, Problems: 8, Group: 4, MaxTokens: 9, LR: 1e-3, Updates: 2, KL: 0.05, Curriculum: true, Seed: 3, Dir: dir, CheckpointEvery: 2, HeldoutEvery: 2, Optimizer: "muon"}
	}
	problems := reversing(24, 20)
	whole := start.Clone()
	want, err := GRPO(t.Context(), whole, pool(t, 2), problems, opt(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, kill := range []struct{ drawn, step int }{{0, 3}, {40, 99}, {0, 99}} {
		ctx, cancel := context.WithCancel(t.Context())
		p := problems
		drawn := 0
		p.Ends = func(id int32) bool { // in the midst of drawing
			if drawn++; drawn == kill.drawn {
				cancel()
			}
			return id == 1
		}
		m := start.Clone()
		got, err := GRPO(ctx, m, pool(t, 1), p, opt(dir), func(p GRPOProgress) {
			if p.Step == kill.step {
				cancel()
			}
		})
		cancel()
		if i < 2 {
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("run %d ends with %v", i, err)
			}
			continue
		}
		if err != nil || got.Hash != want.Hash || got.Resumed == 0 || got.Tokens != want.Tokens || got.Best != want.Best {
			t.Errorf("resumed at %d it ends as %+v (%v), undisturbed as %+v", got.Resumed, got, err, want)
		}
	}
	if lines, err := os.ReadFile(filepath.Join(dir, MetricsFile)); err != nil || strings.Count(string(lines), "\n") != 6 {
		t.Errorf("the metrics are %s (%v)", lines, err)
	}
	other := opt(dir)
	other.KL = 0
	if _, err := GRPO(t.Context(), start.Clone(), pool(t, 1), problems, other, nil); !errors.Is(err, ErrOtherRun) {
		t.Errorf("another run goes on from there: %v", err)
	}
}

// The gradient that is learned from is the slope of the objective, clipped and bound to
// the start as it is.
func TestTheGradientIsThatOfTheObjective(t *testing.T) {
	m := taughtToReverse(t)
	r, err := newReinforcement(m, pool(t, 2), reversing(40, 0), GRPOOptions{Steps: 1, Problems: 8, Group: 4, MaxTokens: 9, KL: 0.3, PartTokens: 60, ClipNorm: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	rng := rand.New(rand.NewPCG(4, 4))
	var items []*item
	prompts, answers := reversals(12, 9)
	tokens := 0
	for i := range prompts {
		it := &item{seq: Sequence{Tokens: slices.Concat(prompts[i], answers[i]), ResponseFrom: len(prompts[i])}, advantage: rng.NormFloat64(), drawn: make([]float32, len(answers[i]))}
		items = append(items, it)
		tokens += len(it.drawn)
	}
	if err := r.read(r.pass, items, func(it *item, logprobs []float32) {
		for i := range logprobs {
			it.old = append(it.old, logprobs[i]+0.3*float32(rng.NormFloat64()))
			it.start = append(it.start, logprobs[i]+0.5*float32(rng.NormFloat64()))
		}
	}); err != nil {
		t.Fatal(err)
	}
	objective := func() (loss float64) {
		if err := r.read(r.pass, items, func(it *item, logprobs []float32) {
			for i, l := range logprobs {
				ratio := math.Exp(float64(l - it.old[i]))
				clipped := min(max(ratio, 1-r.opt.ClipLow), 1+r.opt.ClipHigh)
				d := float64(it.start[i] - l)
				loss += (-min(ratio*it.advantage, clipped*it.advantage) + r.opt.KL*(math.Exp(d)-d-1)) / float64(tokens)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return loss
	}
	var p GRPOProgress
	before := m.Clone()
	if _, err := r.update(items, 0, &p); err != nil { // at a rate of 0 nothing moves
		t.Fatal(err)
	}
	if m.Hash() != before.Hash() {
		t.Fatal("the weights have moved")
	}
	if p.Clipped < 5 || p.KL <= 0 {
		t.Errorf("%v tokens were clipped, the divergence is %v", p.Clipped, p.KL)
	}
	for i, g := range r.pass.Grads() {
		grad, w := slices.Clone(g.Data), m.Parameters()[i].Data
		norm := math.Sqrt(kernel.SumSquares(grad))
		if norm < 1e-4 {
			continue
		}
		at := func(h float64) float64 {
			was := slices.Clone(w)
			defer copy(w, was)
			for j := range w {
				w[j] += float32(h / norm * float64(grad[j]))
			}
			return objective()
		}
		const step = 2e-4
		if slope := (at(step) - at(-step)) / (2 * step); math.Abs(slope-norm) > 0.03*norm+2e-3 {
			t.Errorf("%s: along its gradient the objective rises by %v, want %v", g.Name, slope, norm)
		}
	}
}

func TestGroupsAreWorthWhatTheyEarnAboveTheirMean(t *testing.T) {
	for _, c := range []struct {
		divide bool
		right  []bool
		want   []float64
		ok     bool
	}{
		{false, []bool{true, false, false, false}, []float64{0.75, -0.25, -0.25, -0.25}, true},
		{true, []bool{true, false, false, false}, []float64{math.Sqrt(3), -1 / math.Sqrt(3), -1 / math.Sqrt(3), -1 / math.Sqrt(3)}, true},
		{false, []bool{true, true, true, true}, nil, false},
	} {
		r := &reinforcement{opt: GRPOOptions{DivideByDeviation: c.divide, FormReward: 0.2}, memory: memory{Rates: make([]rate, 1)}}
		answers, judged := make([]Answer, 4), make([]Judgement, 4)
		for i := range judged {
			judged[i] = Judgement{Right: c.right[i], Formed: true}
		}
		g, ok := r.group(0, answers, judged, new(tally))
		if ok != c.ok {
			t.Fatalf("%+v: kept %v", c, ok)
		}
		for i, want := range c.want {
			if math.Abs(g.advantages[i]-want) > 1e-9 {
				t.Errorf("%+v: advantages %v", c, g.advantages)
			}
		}
	}
}

func TestGRPOOptionsThatCannotBeMeant(t *testing.T) {
	m := small(t, false)
	for _, c := range []struct {
		want string
		opt  GRPOOptions
		n    int
	}{
		{"0 steps", GRPOOptions{}, 40},
		{"group of one", GRPOOptions{Steps: 1, Group: 1}, 40},
		{"updates of 4 problems", GRPOOptions{Steps: 1, Problems: 4, Updates: 5}, 40},
		{"form reward", GRPOOptions{Steps: 1, FormReward: 2}, 40},
		{"KL weight", GRPOOptions{Steps: 1, KL: math.NaN()}, 40},
		{"optimiser", GRPOOptions{Steps: 1, Optimizer: "sgd"}, 40},
		{"4 problems to learn from", GRPOOptions{Steps: 1}, 4},
		{"slots -1", GRPOOptions{Steps: 1, Slots: -1}, 40},
	} {
		if _, err := GRPO(t.Context(), m, pool(t, 1), reversing(c.n, 0), c.opt, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.opt, err, c.want)
		}
	}
	long := reversing(40, 0)
	long.Train[3] = make([]int32, 40)
	if _, err := GRPO(t.Context(), m, pool(t, 1), long, GRPOOptions{Steps: 1}, nil); err == nil || !strings.Contains(err.Error(), "problem 3 has 40 tokens") {
		t.Errorf("a prompt that leaves no room: %v", err)
	}
}

// steps simulates a policy's steps: shares of right answers, of unreasoned ones among
// them and of repeated ones, that move from one value to another.
func steps(rng *rand.Rand, n int, right, unreasoned, repeats [2]float64) (w watch, raised []Alarm) {
	for s := range n {
		at := func(x [2]float64) float64 { return x[0] + (x[1]-x[0])*float64(s)/float64(n-1) }
		var t tally
		for range 256 {
			j := Judgement{Right: rng.Float64() < at(right), Repeats: rng.Float64() < at(repeats)}
			j.Reasoned = rng.Float64() >= at(unreasoned)
			t.add(Answer{Tokens: []int32{1}, Ended: true, Entropy: 0.5}, j)
		}
		p := GRPOProgress{Step: s + 1}
		t.tell(&p)
		raised = append(raised, w.look(&p)...)
	}
	return w, raised
}

// Runs in which nothing changes, or only what should, raise no alarm; of 400, at a chance
// of one in a million for each step and kind, and with a rise of 15 points asked for,
// not one.
func TestAlarmsAreSilentOnCleanRunsAndFireOnHacks(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 400 {
		u, rep := rng.Float64(), 0.3*rng.Float64()
		if _, raised := steps(rng, 60, [2]float64{0.2, 0.9}, [2]float64{u, u}, [2]float64{rep, rep}); len(raised) > 0 {
			t.Errorf("a clean run raises %+v", raised)
		}
	}
	_, raised := steps(rng, 60, [2]float64{0.3, 0.9}, [2]float64{0.02, 0.9}, [2]float64{0, 0})
	if len(raised) != 1 || raised[0].Kind != AlarmUnreasoned || raised[0].Now < raised[0].Before+alarmRise {
		t.Errorf("an exploited verifier raises %+v", raised)
	}
	if _, raised = steps(rng, 60, [2]float64{0.3, 0.9}, [2]float64{0, 0}, [2]float64{0, 0.6}); len(raised) != 1 || raised[0].Kind != AlarmRepeats {
		t.Errorf("repeated text raises %+v", raised)
	}
}
