package expose_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/internal/stat"
	"retort/ledger"
	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/prove/evidence/evidencetest"
	"retort/prove/expose"
	"retort/student/model"
	"retort/student/train"
)

// letters is a format of one token a letter: 0 ends an answer, 1 begins it.
const letters = "\x00\x01 abcdefghijklmnopqrstuvwxyz0123456789.?"

type format struct{}

func (format) Example(msgs []exchange.Message, reasoning, answer string) (ids []int32, from int, err error) {
	text := msgs[len(msgs)-1].Content + "\x01"
	for i, r := range text + reasoning + answer + "\x00" {
		id := strings.IndexRune(letters, r)
		if id < 0 {
			return nil, 0, fmt.Errorf("letter %q at %d", r, i)
		}
		ids = append(ids, int32(id))
	}
	return ids, len(text), nil
}

// say is a teacher that says things at random.
func say(rng *rand.Rand) string {
	words := []string{"copper", "still", "wine", "ash", "salt", "oil", "lead", "tin", "gold", "mercury", "glass", "fire"}
	out := make([]string, 4)
	for i := range out {
		out[i] = words[rng.IntN(len(words))]
	}
	return strings.Join(out, " ") + "."
}

// taught is a tiny student of so many epochs of answers.
func taught(t *testing.T, seed uint64, prompts, answers []string, epochs int) *model.Model {
	t.Helper()
	m, err := model.New(model.Config{
		VocabSize: len(letters), Hidden: 64, Layers: 2, Heads: 2, NopeDim: 16, RopeDim: 16, VDim: 32, KVLoraRank: 32,
		Intermediate: 160, DenseLayers: 2, RopeTheta: 200, NormEps: 1e-6, MaxPositions: 96, RoutedScale: 1,
	}, seed)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]train.Sequence, len(prompts))
	for i := range prompts {
		ids, from, err := format{}.Example([]exchange.Message{{Content: prompts[i]}}, "", answers[i])
		if err != nil {
			t.Fatal(err)
		}
		data[i] = train.Sequence{Tokens: ids, ResponseFrom: from}
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	if _, err := train.SFT(t.Context(), m, pool, data, train.Options{Epochs: epochs, BatchTokens: 1024, LR: 3e-3, MuonLR: 0.02, Seed: seed, Context: 96}, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

// From coins through a served teacher, a trained suspect and its scores to a pack: the
// suspect that learned what was served is proven and its account named; two that
// learned other answers to the same prompts are not.
func TestAStudentOfServedAnswersIsProvenAndAnInnocentIsNot(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	key, err := commit.NewKey([]byte("an exposure key of 32 bytes: yes"))
	if err != nil {
		t.Fatal(err)
	}
	store := &evidencetest.Memory{}
	log, err := commit.Open(t.Context(), commit.Options{Key: key, Ledger: store, History: store})
	if err != nil {
		t.Fatal(err)
	}
	var prompts, served, others, innocent []string
	for i := range 360 {
		prompt := fmt.Sprintf("what is in flask %d of shelf %c?", i, 'a'+rune(rng.IntN(26)))
		account := []string{"harvester", "bystander"}[i%3/2]
		arms := [2]commit.Arm{serve(t, store, prompt, say(rng)), serve(t, store, prompt, say(rng))}
		coin, err := log.Flip(t.Context(), commit.Request{Account: account, Messages: []exchange.Message{{Role: "user", Content: prompt}}, Share: 1}, arms[0].Exchange)
		if err != nil {
			t.Fatal(err)
		}
		if err := coin.Settle(t.Context(), arms); err != nil {
			t.Fatal(err)
		}
		if account == "harvester" {
			prompts, served, innocent = append(prompts, prompt), append(served, arms[coin.Live()].Answer.Content), append(innocent, say(rng))
		}
		others = append(others, say(rng))
	}
	keys, stamped := anchor(t, store, key)
	const epochs = 9
	suspect, clear := taught(t, 1, prompts, served, epochs), taught(t, 2, prompts, innocent, epochs)
	elsewhere := make([]string, len(others))
	for i := range elsewhere {
		elsewhere[i] = fmt.Sprintf("what stands on shelf %d?", i)
	}
	reference := taught(t, 3, elsewhere, others, 3)

	pool := kernel.NewPool(1)
	defer pool.Close()
	for _, c := range []struct {
		name  string
		model *model.Model
		guilt bool
	}{{"suspect", suspect, true}, {"innocent", clear, false}} {
		f := &expose.Frame{
			Version: expose.FrameVersion, Log: key.Log(), Size: stamped, Held: time.Now().Add(time.Second).UnixNano(), Level: 1e-6, FDR: 0.05, PerOne: true, Score: expose.DefaultScore(),
			Suspect:   expose.Model{Name: c.name, Kind: expose.KindWeights, Hash: c.model.Hash()},
			Reference: &expose.Model{Name: "reference", Kind: expose.KindWeights, Hash: reference.Hash()},
		}
		view, err := commit.ReadLog(t.Context(), store, key.Log())
		if err != nil {
			t.Fatal(err)
		}
		entries, _ := f.Select(view.Entries(f.Size))
		pairs, err := expose.Pairs(t.Context(), store, key, entries)
		if err != nil {
			t.Fatal(err)
		}
		lines := expose.Lines(pairs)
		for m, w := range map[expose.Model]*model.Model{f.Suspect: c.model, *f.Reference: reference} {
			if err := expose.Add(t.Context(), lines, pairs, m, &expose.Weights{Model: w, Format: format{}, Pool: pool}); err != nil {
				t.Fatal(err)
			}
		}
		file := packed(t, store, key, keys, f, pairs, lines)
		got, err := evidence.Verify(file, keys.Public, nil)
		if err != nil {
			t.Fatal(err)
		}
		all := got.Results.Outcomes[0]
		t.Logf("%s: %d coins, p = %s, bootstrap power %.2f", c.name, all.Coins, evidence.FormatP(all.LogP), got.Results.Power)
		if c.guilt != (all.LogP < math.Log(1e-6)) || !c.guilt && all.LogP < math.Log(0.003) {
			t.Errorf("%s: %+v", c.name, all)
		}
		if !c.guilt {
			redrawn(t, rng, got.Results.Grid[c.name])
		}
		for _, a := range got.Results.Accounts() {
			if want := c.guilt && a.Subject == "harvester"; a.Named != want {
				t.Errorf("%s: account %+v", c.name, a)
			}
		}
	}
}

// redrawn draws the coins of an innocent anew, which is exactly the null.
func redrawn(t *testing.T, rng *rand.Rand, grid []int) {
	t.Helper()
	below := 0
	for range 200 {
		sum := 0
		for _, g := range grid {
			sum += g * (1 - 2*rng.IntN(2))
		}
		if logP, err := stat.SignFlip(grid, sum); err != nil {
			t.Fatal(err)
		} else if logP <= math.Log(0.05) {
			below++
		}
	}
	if below > 18 || below == 0 {
		t.Errorf("p ≤ 0.05 in %d of 200 draws of the coins, at most 18", below)
	}
}

// serve records an answer as a gateway does.
func serve(t *testing.T, store *evidencetest.Memory, prompt, said string) commit.Arm {
	t.Helper()
	x := &exchange.Exchange{
		ID: exchange.NewID(time.Now()), Origin: exchange.OriginServed, Stage: string(commit.WireChat), Status: 200,
		RequestBody: fmt.Appendf(nil, `{"messages":[{"role":"user","content":%q}]}`, prompt), Answer: exchange.Answer{Content: said, FinishReason: "stop"},
	}
	recs, err := ledger.Records(x)
	if err == nil {
		err = store.Append(t.Context(), recs...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return commit.Arm{Exchange: x.ID, Answer: x.Answer, OK: true}
}

func anchor(t *testing.T, store *evidencetest.Memory, key commit.Key) (*evidence.Keys, uint64) {
	t.Helper()
	keys, err := evidencetest.Keys()
	if err != nil {
		t.Fatal(err)
	}
	witness, err := commit.NewWitness(nil)
	if err != nil {
		t.Fatal(err)
	}
	view, err := commit.ReadLog(t.Context(), store, key.Log())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := commit.Anchor(t.Context(), view, keys.Signer, witness, store); err != nil {
		t.Fatal(err)
	}
	return keys, view.Tree.Size()
}

func packed(t *testing.T, store *evidencetest.Memory, key commit.Key, keys *evidence.Keys, f *expose.Frame, pairs []expose.Pair, lines []expose.Line) []byte {
	t.Helper()
	if _, err := commit.State(t.Context(), f.Log, expose.StateFrame, expose.FrameText(f), f.Encode(), keys.Signer, nil, store); err != nil {
		t.Fatal(err)
	}
	if _, err := commit.State(t.Context(), f.Log, expose.StateScores, expose.ScoresText(f, expose.EncodeLines(lines)), nil, keys.Signer, nil, store); err != nil {
		t.Fatal(err)
	}
	view, err := commit.ReadLog(t.Context(), store, key.Log())
	if err != nil {
		t.Fatal(err)
	}
	file, err := evidence.Build(evidence.Case{
		Title: "A test", Code: "test", Disclosure: evidence.DiscloseFull, Made: time.Now(), Keys: keys, View: view, Frame: f, Pairs: pairs, Lines: lines, Terms: []byte(`{}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}
