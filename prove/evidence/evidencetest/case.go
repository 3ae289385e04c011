// Package evidencetest makes cases for tests and benchmarks: a log of coins over
// invented answers, a suspect whose scores follow the coins or do not, and all that a
// pack is made of. It trains no model; whatever comes from it is simulated.
package evidencetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"retort/exchange"
	"retort/ledger"
	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/prove/expose"
)

// Memory is a ledger in memory.
type Memory struct {
	mu   sync.Mutex
	recs []ledger.Record
}

// Submit implements ledger.Submitter.
func (m *Memory) Submit(done func(error), recs ...ledger.Record) {
	m.mu.Lock()
	m.recs = append(m.recs, recs...)
	m.mu.Unlock()
	done(nil)
}

// Append implements ledger.Appender.
func (m *Memory) Append(_ context.Context, recs ...ledger.Record) error {
	m.Submit(func(error) {}, recs...)
	return nil
}

// Scan implements ledger.Reader.
func (m *Memory) Scan(_ context.Context, fn func(ledger.Record) error) error {
	m.mu.Lock()
	recs := m.recs
	m.mu.Unlock()
	for _, r := range recs {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// Options say what case is made. Equal options give equal coins and scores, but for
// keys and times.
type Options struct {
	Seed       uint64
	Coins      int
	Accounts   int     // default 3
	Effect     float64 // by how many standard deviations the suspect prefers what was served to account 0
	Text       bool    // the suspect gives text alone
	Disclosure string  // default full
	Campaigns  bool    // test a campaign and two windows too
	Rotated    bool    // the key was rotated after the log was anchored
	Others     int     // frames about other suspects that were stated too
	After      int     // coins that follow the stamped head and are not in the frame
}

// World is a case and what it was made from.
type World struct {
	Case   evidence.Case
	Ledger *Memory
	Key    commit.Key
	First  string // the public key that signed the log's heads
	Signer note.Signer
}

var topics = []string{
	"Work out %d times %d, step by step.", "Name %d rivers and say why rule %d matters.", "Ändere „%d“ in eine Zahl <%d> & erkläre\u2028es.",
}

// Make makes a case.
func Make(ctx context.Context, o Options) (*World, error) {
	if o.Accounts == 0 {
		o.Accounts = 3
	}
	if o.Disclosure == "" {
		o.Disclosure = evidence.DiscloseFull
	}
	rng := rand.New(rand.NewPCG(o.Seed, 77))
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(rng.Uint32())
	}
	key, err := commit.NewKey(secret)
	if err != nil {
		return nil, err
	}
	w := &World{Ledger: &Memory{}, Key: key}
	live := map[uint64]int{}
	log, err := commit.Open(ctx, commit.Options{Key: key, Ledger: w.Ledger, History: w.Ledger})
	if err != nil {
		return nil, err
	}
	if err := w.serve(ctx, rng, log, o, o.Coins, live); err != nil {
		return nil, err
	}
	keys, err := w.anchor(ctx, o)
	if err != nil {
		return nil, err
	}
	held := time.Now().Add(time.Second)
	if err := w.serve(ctx, rng, log, o, o.After, live); err != nil {
		return nil, err
	}
	view, err := commit.ReadLog(ctx, w.Ledger, key.Log())
	if err != nil {
		return nil, err
	}
	f := frameOf(o, view, held)
	entries, _ := f.Select(view.Entries(f.Size))
	pairs, err := expose.Pairs(ctx, w.Ledger, key, entries)
	if err != nil {
		return nil, err
	}
	lines := score(rng, o, f, pairs, live)
	for i := range o.Others {
		other := *f
		other.Suspect.Name = fmt.Sprintf("other suspect %d", i+1)
		if _, err := commit.State(ctx, f.Log, expose.StateFrame, expose.FrameText(&other), other.Encode(), keys.Signer, nil, w.Ledger); err != nil {
			return nil, err
		}
	}
	if _, err := commit.State(ctx, f.Log, expose.StateFrame, expose.FrameText(f), f.Encode(), keys.Signer, nil, w.Ledger); err != nil {
		return nil, err
	}
	if _, err := commit.State(ctx, f.Log, expose.StateScores, expose.ScoresText(f, expose.EncodeLines(lines)), nil, keys.Signer, nil, w.Ledger); err != nil {
		return nil, err
	}
	if view, err = commit.ReadLog(ctx, w.Ledger, key.Log()); err != nil {
		return nil, err
	}
	w.Signer = keys.Signer
	w.Case = evidence.Case{
		Title: fmt.Sprintf("Simulated case %d", o.Seed), Code: "retort test", Disclosure: o.Disclosure, Made: time.Now(), Keys: keys, View: view,
		Frame: f, Pairs: pairs, Lines: lines, Terms: []byte(`{"terms":"simulated","training":"not allowed"}`),
	}
	return w, nil
}

// serve has coins flipped and settled; some are void.
func (w *World) serve(ctx context.Context, rng *rand.Rand, log *commit.Log, o Options, n int, live map[uint64]int) error {
	from := int(log.Size())
	for i := range n {
		prompt := fmt.Sprintf(topics[i%len(topics)], from+i, rng.IntN(90))
		msgs := []exchange.Message{{Role: "user", Content: prompt}}
		arms := [2]commit.Arm{}
		for a := range arms {
			x := &exchange.Exchange{
				ID: exchange.NewID(time.Now()), Origin: exchange.OriginServed, Stage: string(commit.WireChat), Status: 200,
				RequestBody: fmt.Appendf(nil, `{"model":"m","messages":[{"role":"user","content":%q}]}`, prompt),
				Answer:      exchange.Answer{Reasoning: fmt.Sprintf("r%d-%d", rng.Uint32(), a), Content: fmt.Sprintf("It is %d, as ü said <%d>.", rng.IntN(1e9), a), FinishReason: "stop"},
			}
			x.RequestBody = []byte(`{"model":"m","messages":` + string(mustJSON(msgs)) + `}`)
			recs, err := ledger.Records(x)
			if err == nil {
				err = w.Ledger.Append(ctx, recs...)
			}
			if err != nil {
				return err
			}
			arms[a] = commit.Arm{Exchange: x.ID, Answer: x.Answer, OK: i%17 != 16}
		}
		coin, err := log.Flip(ctx, commit.Request{Account: fmt.Sprintf("%064x", i%o.Accounts), Messages: msgs, Share: 1}, arms[0].Exchange)
		if err != nil {
			return err
		}
		live[coin.Counter()] = coin.Live()
		if err := coin.Settle(ctx, arms); err != nil {
			return err
		}
	}
	return nil
}

// anchor signs the log's head twice, the second time stamped, and rotates keys if it
// is to.
func (w *World) anchor(ctx context.Context, o Options) (*evidence.Keys, error) {
	keys, first, err := signers(o.Rotated)
	if err != nil {
		return nil, err
	}
	w.First = first.public
	witness, err := commit.NewWitness(nil)
	if err != nil {
		return nil, err
	}
	for _, s := range []commit.Stamper{nil, witness} {
		view, err := commit.ReadLog(ctx, w.Ledger, w.Key.Log())
		if err != nil {
			return nil, err
		}
		if _, err := commit.Anchor(ctx, view, first.signer, s, w.Ledger); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func frameOf(o Options, view *commit.View, held time.Time) *expose.Frame {
	size := uint64(0)
	for _, h := range view.Heads {
		if n := headSize(h); n > size {
			size = n
		}
	}
	f := &expose.Frame{
		Version: expose.FrameVersion, Log: view.ID, Size: size, Held: held.UnixNano(), Level: 1e-6, FDR: 0.05, PerOne: true, Score: expose.DefaultScore(),
		Suspect: expose.Model{Name: "suspect", Kind: expose.KindWeights}, Reference: &expose.Model{Name: "reference", Kind: expose.KindWeights},
		Controls: []expose.Model{{Name: "control", Kind: expose.KindWeights}}, Statement: "Simulated.",
	}
	if o.Text {
		f.Suspect.Kind, f.Reference, f.Controls[0].Kind = expose.KindText, nil, expose.KindText
	}
	if o.Campaigns {
		f.Campaigns = map[string]expose.Group{"one and two": {fmt.Sprintf("%064x", 0), fmt.Sprintf("%064x", 1)}}
		middle := view.Leaves[len(view.Leaves)/2].Time
		f.Windows = []expose.Window{{Name: "before", From: 0, To: middle}, {Name: "after", From: middle, To: held.UnixNano()}}
	}
	return f
}

// score invents what models think of pairs.
func score(rng *rand.Rand, o Options, f *expose.Frame, pairs []expose.Pair, live map[uint64]int) []expose.Line {
	lines := expose.Lines(pairs)
	for i := range lines {
		l := &lines[i]
		lean := 0.0
		if pairs[i].Account == fmt.Sprintf("%064x", 0) {
			lean = o.Effect * float64(1-2*live[l.Counter])
		}
		if o.Text {
			match := func(lean float64) [2]float64 {
				m := [2]float64{float64(rng.IntN(4)), float64(rng.IntN(4))}
				if rng.Float64() < lean {
					m[0] += 3
				} else if rng.Float64() < -lean {
					m[1] += 3
				}
				return m
			}
			l.Match = map[string][2]float64{f.Suspect.Name: match(lean), f.Controls[0].Name: match(0)}
			continue
		}
		r := rng.NormFloat64() * 3
		six := func(v float64) float64 { return float64(int64(v*1e6)) / 1e6 }
		l.Tokens = [2]int{l.Length[0] / 2, l.Length[1] / 2}
		l.LogProb = map[string][2]float64{
			f.Suspect.Name:     {six(-30 + 0.6*r + 2*rng.NormFloat64() + 2*lean), -30},
			f.Reference.Name:   {six(-40 + r), -40},
			f.Controls[0].Name: {six(-35 + 0.5*r + 2*rng.NormFloat64()), -35},
		}
	}
	return lines
}
