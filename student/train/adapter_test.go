package train

import (
	"context"
	"errors"
	"strings"
	"testing"

	"retort/student/model"
)

func newAdapter(t testing.TB, m *model.Model, seed uint64) *model.Adapter {
	t.Helper()
	a, err := model.NewAdapter(m.Config(), model.LoRA{Rank: 8, Alpha: 16}, seed)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnAdapterLearnsAndTheModelStays(t *testing.T) {
	m := small(t, false)
	a := newAdapter(t, m, 1)
	before := m.Hash()
	var first Progress
	res, err := SFT(t.Context(), m, pool(t, 2), copies(600, 1), Options{Adapter: a, Epochs: 6, BatchTokens: 256, LR: 1e-2, Heldout: copies(50, 9)}, func(p Progress) {
		if p.Step == 1 {
			first = p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !(res.HeldoutLoss < 0.9*first.Loss) {
		t.Errorf("the loss went from %.2f to %.2f, held out", first.Loss, res.HeldoutLoss)
	}
	if m.Hash() != before {
		t.Error("the model has changed")
	}
	if res.Hash != a.Hash() {
		t.Errorf("the result is %s, the adapter %s", res.Hash, a.Hash())
	}
	if err := a.Merge(m); err != nil {
		t.Fatal(err)
	}
	r, err := newRun(m, pool(t, 1), copies(10, 1), Options{Epochs: 1, Heldout: copies(50, 9)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if loss, err := r.heldoutLoss(); err != nil || loss < res.HeldoutLoss-1e-4 || loss > res.HeldoutLoss+1e-4 {
		t.Errorf("merged, the held-out loss is %v (%v), want %v", loss, err, res.HeldoutLoss)
	}
}

func TestAnAdapterGoesOnWhereItWasInterrupted(t *testing.T) {
	opt := func(a *model.Adapter, dir string) Options {
		return Options{Adapter: a, Epochs: 3, BatchTokens: 200, Seed: 4, Dir: dir, CheckpointEvery: 2}
	}
	m, data := small(t, false), copies(100, 1)
	newAdapter := func(t *testing.T, m *model.Model, seed uint64) *model.Adapter {
		a, err := model.NewAdapter(m.Config(), model.LoRA{Rank: 8, Alpha: 16, Dropout: 0.1}, seed)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	whole := newAdapter(t, m, 1)
	want, err := SFT(t.Context(), m, pool(t, 2), data, opt(whole, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = SFT(ctx, m, pool(t, 2), data, opt(newAdapter(t, m, 1), dir), func(p Progress) {
		if p.Step == 5 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("an interrupted run says %v", err)
	}
	if _, err := SFT(t.Context(), m, pool(t, 1), data, opt(newAdapter(t, m, 2), dir), nil); !errors.Is(err, ErrOtherRun) {
		t.Errorf("another adapter goes on from there: %v", err)
	}
	if _, err := SFT(t.Context(), m, pool(t, 1), data, opt(nil, dir), nil); !errors.Is(err, ErrOtherRun) {
		t.Errorf("a training of the model goes on from there: %v", err)
	}
	got, err := SFT(t.Context(), m, pool(t, 1), data, opt(newAdapter(t, m, 1), dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Resumed != 5 || got.Hash != want.Hash {
		t.Errorf("resumed at %d it ends as %s, undisturbed as %s", got.Resumed, got.Hash, want.Hash)
	}
}

// handedOut is a base that is no *model.Model.
type handedOut struct{ model.Source }

func TestABaseThatOnlyHandsOutItsWeights(t *testing.T) {
	m, data := small(t, false), copies(100, 1)
	opt := Options{Adapter: newAdapter(t, m, 1), Epochs: 1, BatchTokens: 200, Dir: t.TempDir()}
	want, err := SFT(t.Context(), m, pool(t, 2), data, opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	opt.Adapter = newAdapter(t, m, 1)
	got, err := SFT(t.Context(), handedOut{m}, pool(t, 2), data, opt, nil) // ends at once: it is the same run
	if err != nil || got.Hash != want.Hash || got.Resumed != want.Steps {
		t.Errorf("resumed at %d of %d it ends as %s (%v), want %s", got.Resumed, want.Steps, got.Hash, err, want.Hash)
	}
	opt.Adapter, opt.Dir = newAdapter(t, m, 1), ""
	if got, err = SFT(t.Context(), handedOut{m}, pool(t, 1), data, opt, nil); err != nil || got.Hash != want.Hash {
		t.Errorf("it ends as %s (%v), want %s", got.Hash, err, want.Hash)
	}
	opt.Adapter = nil
	if _, err := SFT(t.Context(), handedOut{m}, pool(t, 1), data, opt, nil); err == nil || !strings.Contains(err.Error(), "trained in place") {
		t.Errorf("without an adapter the error is %v", err)
	}
}
