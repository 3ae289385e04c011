// Command expose measures the exposure test on students of the quickstart's size; see
// README.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/internal/stat"
	"retort/openai"
	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/prove/expose"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/student/train"
	"retort/teach/reference"
	"retort/teach/task"
)

// options are what is measured.
type options struct {
	examples, coins, epochs, seeds, text int
	refEpochs                            int
	accounts, fed                        int
	threads                              int
	curve                                []int
	innocent                             bool
	preset                               string // of the students
}

func main() {
	var o options
	flag.IntVar(&o.examples, "examples", 14000, "training examples, coins among them")
	flag.IntVar(&o.coins, "coins", 2000, "coins")
	flag.IntVar(&o.epochs, "epochs", 5, "epochs; the curve has fewer, too")
	flag.IntVar(&o.refEpochs, "reference-epochs", 5, "epochs of the reference model")
	curve := flag.String("curve", "1,2,3", "epochs of the first seed's curve, besides")
	flag.IntVar(&o.seeds, "seeds", 5, "seeds")
	flag.IntVar(&o.text, "text", 400, "coins that are put to the suspect as text, 0: none")
	flag.IntVar(&o.accounts, "accounts", 1, "accounts that share the coins")
	flag.IntVar(&o.fed, "fed", 1, "accounts, the first ones, whose answers reached the suspect")
	flag.BoolVar(&o.innocent, "innocent", true, "teach an innocent, too")
	flag.StringVar(&o.preset, "preset", "tiny", "the students': tiny or tiny-moe")
	flag.IntVar(&o.threads, "threads", 0, "threads")
	flag.Parse()
	for word := range strings.SplitSeq(*curve, ",") {
		if e, err := strconv.Atoi(word); err == nil && e > 0 && e < o.epochs {
			o.curve = append(o.curve, e)
		}
	}
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "expose:", err)
		os.Exit(1)
	}
}

// families are the quickstart's, and countdown; each has its share of the examples.
var families = []struct {
	name   string
	params task.Params
	share  float64
}{
	{"multiply", task.Params{Digits: []int{2, 2}}, 0.22}, {"chain", task.Params{Modulus: 7, Steps: []int{3, 5}}, 0.25},
	{"list", task.Params{Length: []int{4, 6}, Operations: 3}, 0.36}, {"countdown", task.Params{Numbers: 3, Max: 12}, 0.17},
}

// example is a prompt and what a student learns to say.
type example struct {
	prompt string
	answer commit.Answer
}

// teacher asks the reference teacher for fresh draws.
type teacher struct{ handler http.Handler }

func newTeacher(seed uint64) (*teacher, error) {
	t, err := reference.New(reference.Config{Seed: seed})
	if err != nil {
		return nil, err
	}
	return &teacher{t.Handler()}, nil
}

func (t *teacher) ask(prompt string) (exchange.Answer, error) {
	body, err := json.Marshal(map[string]any{"model": "reference", "temperature": 1, "max_tokens": 512, "messages": []map[string]string{{"role": "user", "content": prompt}}})
	if err != nil {
		return exchange.Answer{}, err
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return exchange.Answer{}, fmt.Errorf("the teacher answered %d: %s", w.Code, w.Body)
	}
	got, _, _, err := openai.ParseResponse(w.Body.Bytes())
	return got, err
}

// problems draws distinct problems.
func problems(seed uint64, n int) ([]task.Problem, map[string]task.Task, error) {
	rng := rand.New(rand.NewPCG(seed, 0xe0))
	judges, seen := map[string]task.Task{}, map[string]bool{}
	var out []task.Problem
	for _, f := range families {
		family, err := task.New(f.name, f.params)
		if err != nil {
			return nil, nil, err
		}
		judges[f.name] = family
		for want, tries := int(f.share*float64(n)), 0; want > 0 && tries < 50*n; tries++ {
			if p := family.Generate(rng); !seen[p.ID] {
				seen[p.ID] = true
				out = append(out, p)
				want--
			}
		}
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, judges, nil
}

// world is one seed's traffic: what the accused learned from, and the pairs.
type world struct {
	served []example
	pairs  []expose.Pair
	coins  []expose.Coin
	wrong  int // served answers of coins that curation drops
}

// serve has problems answered; the first of them with coins.
func (o options) serve(t *teacher, seed uint64, list []task.Problem, judges map[string]task.Task, coins int) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 0xc0175)) // simulated: real coins come from a key
	w := &world{}
	for _, p := range list {
		a, err := t.ask(p.Prompt)
		if err != nil {
			return nil, err
		}
		said, lost := a, false
		if len(w.pairs) < coins {
			b, err := t.ask(p.Prompt)
			if err != nil {
				return nil, err
			}
			arms := [2]commit.Answer{commit.AnswerOf(a), commit.AnswerOf(b)}
			if arms[0] != arms[1] { // else void
				live, account := rng.IntN(2), fmt.Sprintf("account %02d", len(w.pairs)%o.accounts+1)
				lost = len(w.pairs)%o.accounts >= o.fed // its account is no customer of the accused
				w.pairs = append(w.pairs, expose.Pair{Counter: uint64(len(w.pairs) + 1), Account: account, Family: p.Family, Messages: []exchange.Message{{Role: "user", Content: p.Prompt}}, Arms: arms})
				w.coins = append(w.coins, expose.Coin{Account: account, Live: live})
				said = []exchange.Answer{a, b}[live]
				if !lost && !judges[p.Family].Verify(p, said.Content).Correct {
					w.wrong++
				}
			}
		}
		if !lost && judges[p.Family].Verify(p, said.Content).Correct { // as the main job curates
			w.served = append(w.served, example{p.Prompt, commit.AnswerOf(said)})
		}
	}
	return w, nil
}

// student is a model that was taught, and how one talks with it.
type student struct {
	model  *model.Model
	format *chat.Format
}

func (o options) teach(ctx context.Context, pool *kernel.Pool, seed uint64, data []example, epochs int) (*student, error) {
	began := time.Now()
	lesson := func(e example) ([]exchange.Message, string, string) {
		return []exchange.Message{{Role: "user", Content: e.prompt}}, e.answer.Reasoning, e.answer.Content
	}
	var texts iter.Seq[string] = func(yield func(string) bool) {
		for _, e := range data {
			for piece := range chat.Texts(lesson(e)) {
				if !yield(piece) {
					return
				}
			}
		}
	}
	tok, err := tokenizer.Train(texts, tokenizer.Options{VocabSize: 512})
	if err != nil {
		return nil, err
	}
	s := &student{format: chat.Own(tok)}
	c, err := model.Preset(o.preset, tok.VocabSize())
	if err != nil {
		return nil, err
	}
	if s.model, err = model.New(c, seed); err != nil {
		return nil, err
	}
	rows := make([]train.Sequence, len(data))
	for i, e := range data {
		msgs, reasoning, answer := lesson(e)
		ids, from, err := s.format.Example(msgs, reasoning, answer)
		if err != nil {
			return nil, err
		}
		rows[i] = train.Sequence{Tokens: ids, ResponseFrom: from}
	}
	res, err := train.SFT(ctx, s.model, pool, rows, train.Options{Epochs: epochs, Seed: seed, Precision: "auto"}, nil)
	if err == nil {
		fmt.Fprintf(os.Stderr, "  taught %d examples for %d epochs: loss %.3f, %d tokens, %.0f s\n", len(data), epochs, res.Loss, res.Tokens, time.Since(began).Seconds())
	}
	return s, err
}

func frameOf(kind string) *expose.Frame {
	f := &expose.Frame{Version: expose.FrameVersion, Log: "0000000000000000", Size: 1, Held: 1, Level: 1e-6, Score: expose.DefaultScore(), Suspect: expose.Model{Name: "suspect", Kind: kind}}
	if kind == expose.KindWeights {
		f.Reference = &expose.Model{Name: "reference", Kind: kind}
	}
	return f
}

// judge tests one suspect.
func (o options) judge(ctx context.Context, pool *kernel.Pool, w *world, reference []expose.Line, s *student) (expose.Outcome, []int, error) {
	f := frameOf(expose.KindWeights)
	f.PerOne, f.FDR = o.accounts > 1, 0.05
	lines := expose.Lines(w.pairs)
	if err := expose.Add(ctx, lines, w.pairs, f.Suspect, &expose.Weights{Model: s.model, Format: s.format, Pool: pool}); err != nil {
		return expose.Outcome{}, nil, err
	}
	for i := range lines {
		lines[i].LogProb["reference"] = reference[i].LogProb["reference"]
	}
	grids, err := expose.Grids(f, lines)
	if err != nil {
		return expose.Outcome{}, nil, err
	}
	out, err := expose.Tested(f, lines, grids, w.coins)
	if err != nil {
		return expose.Outcome{}, nil, err
	}
	if o.accounts > 1 {
		named, wrong := 0, 0
		for _, x := range out[1:] {
			switch fed := x.Subject <= fmt.Sprintf("account %02d", o.fed); {
			case x.Named && fed:
				named++
			case x.Named:
				wrong++
			}
		}
		fmt.Fprintf(os.Stderr, "  named at FDR 5%%: %d of the %d accounts that fed it, %d of the %d others\n", named, o.fed, wrong, o.accounts-o.fed)
	}
	return out[0], grids["suspect"], nil
}

func run(ctx context.Context, o options) error {
	pool := kernel.NewPool(o.threads)
	defer pool.Close()
	proven, worst, least := 0, 1.0, 0.0
	epochs := append(o.curve, o.epochs)
	fmt.Printf("| seed | epochs | coins | p | effect a coin | power at p < 1e-6 with %d / %d / %d coins |\n|---|---|---|---|---|---|\n", o.coins/4, o.coins/2, o.coins)
	for seed := uint64(1); seed <= uint64(o.seeds); seed++ {
		w, innocent, ref, err := o.prepare(ctx, pool, seed)
		if err != nil {
			return err
		}
		curve := epochs
		if seed > 1 {
			curve = epochs[len(epochs)-1:]
		}
		var s *student
		for _, e := range curve {
			if s, err = o.teach(ctx, pool, seed, w.served, e); err != nil {
				return err
			}
			got, grid, err := o.judge(ctx, pool, w, ref, s)
			if err != nil {
				return err
			}
			power := func(n int) float64 { return expose.Power(grid, w.coins, n, 1e-6, seed) }
			full := power(len(grid))
			fmt.Printf("| %d | %d | %d | %s | %.3f | %.2f / %.2f / %.2f |\n", seed, e, got.Coins, evidence.FormatP(got.LogP), effect(got, grid), power(len(grid)/4), power(len(grid)/2), full)
			if e == o.epochs {
				if got.LogP < math.Log(1e-6) {
					proven++
				}
				worst = min(worst, full)
			}
		}
		if innocent != nil {
			clear, grid, err := o.judge(ctx, pool, w, ref, innocent)
			if err != nil {
				return err
			}
			least = min(least, clear.LogP)
			if err := redraw(grid, seed); err != nil {
				return err
			}
			fmt.Printf("| %d | innocent, %d | %d | %s | | |\n", seed, o.epochs, clear.Coins, evidence.FormatP(clear.LogP))
		}
		if o.text > 0 {
			if err := text(ctx, w, s, o.text, seed); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"bench": "expose", "figures": map[string]float64{
		"proven": float64(proven), "seeds": float64(o.seeds), "least_power": worst, "least_innocent_p": math.Exp(least)}, "spread": map[string]any{}})
}

// prepare serves a seed's prompts and teaches the reference and the innocent: the
// first other prompts of the operator's own teacher, so that it likes the same wordings,
// the second the same prompts from another teacher.
func (o options) prepare(ctx context.Context, pool *kernel.Pool, seed uint64) (*world, *student, []expose.Line, error) {
	list, judges, err := problems(seed, o.examples)
	if err != nil {
		return nil, nil, nil, err
	}
	t, err := newTeacher(seed)
	if err != nil {
		return nil, nil, nil, err
	}
	w, err := o.serve(t, seed, list, judges, o.coins)
	if err != nil {
		return nil, nil, nil, err
	}
	fmt.Fprintf(os.Stderr, "seed %d: %d coins (%.1f%% of %d examples), %d of them dropped by curation\n", seed, len(w.pairs), 100*float64(len(w.pairs))/float64(len(w.served)), len(w.served), w.wrong)
	elsewhere, judges, err := problems(seed+1000, o.examples)
	if err != nil {
		return nil, nil, nil, err
	}
	other, err := newTeacher(seed + 1000)
	if err != nil {
		return nil, nil, nil, err
	}
	far, err := o.serve(t, seed, elsewhere, judges, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	same, err := o.serve(other, seed, list, judges, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := o.teach(ctx, pool, seed+1000, far.served, o.refEpochs)
	if err != nil {
		return nil, nil, nil, err
	}
	lines := expose.Lines(w.pairs)
	if err := expose.Add(ctx, lines, w.pairs, expose.Model{Name: "reference"}, &expose.Weights{Model: r.model, Format: r.format, Pool: pool}); err != nil {
		return nil, nil, nil, err
	}
	if !o.innocent {
		return w, nil, lines, nil
	}
	innocent, err := o.teach(ctx, pool, seed+2000, same.served, o.epochs)
	return w, innocent, lines, err
}

// redraw draws an innocent's coins anew, 200 times: exactly the null.
func redraw(grid []int, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 0x2ed2a))
	five, one := 0, 0
	for range 200 {
		sum := 0
		for _, g := range grid {
			sum += g * (1 - 2*rng.IntN(2))
		}
		logP, err := stat.SignFlip(grid, sum)
		if err != nil {
			return err
		}
		if logP <= math.Log(0.05) {
			five++
		}
		if logP <= math.Log(0.01) {
			one++
		}
	}
	fmt.Fprintf(os.Stderr, "  the innocent's coins drawn anew 200 times: %d at p ≤ 0.05 (at most 18), %d at p ≤ 0.01 (at most 6)\n", five, one)
	return nil
}

// effect is what a coin contributes in standard deviations of its score.
func effect(o expose.Outcome, grid []int) float64 {
	square := 0.0
	for _, g := range grid {
		square += float64(g * g)
	}
	return float64(o.Sum) / math.Sqrt(square) / math.Sqrt(float64(o.Coins))
}
