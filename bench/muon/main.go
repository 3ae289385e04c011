// Command muon asks what Muon for the matrices is worth against AdamW for
// everything: both are tuned on one seed and then compared on others. See
// README.md.
package main

import (
	"fmt"
	"io"

	"gonum.org/v1/gonum/stat"

	"retort/bench/trial"
	"retort/student/model"
	"retort/student/train"
)

const (
	vocabulary   = 1024
	heldoutEvery = 16 // one example in so many is held out
	points       = 50 // at which the held-out loss is measured
	tuneSeed     = 0  // its students are in no figure
)

// optimizers and the rate that is tuned first, the product's default.
var optimizers = []struct {
	name string
	rate float64
}{{"adamw", 1.5e-3}, {"muon", 0.01}}

func main() {
	b := bench{study: trial.Study{Bench: "muon", Tokens: 1_500_000, Seeds: 3}}
	b.trial.Flags()
	b.study.Main(b.run)
}

type bench struct {
	trial trial.Trial
	study trial.Study
}

func (b *bench) run(stdout, stderr io.Writer) error {
	r := b.study.Report()
	rates := map[string]float64{}
	lessons, err := b.lessons(tuneSeed)
	if err != nil {
		return err
	}
	for _, o := range optimizers {
		if rates[o.name], err = b.tune(stderr, lessons, o.name, o.rate); err != nil {
			return err
		}
	}
	r.Line("rates found on seed %d, in steps of two: AdamW alone %.3g (default %.3g), Muon %.3g (default %.3g)",
		tuneSeed, rates["adamw"], optimizers[0].rate, rates["muon"], optimizers[1].rate)

	var difference, relative, reach, cost []float64
	var adamwLoss, muonLoss, adamwSeconds []float64
	for seed := 1; seed <= b.study.Seeds; seed++ {
		if lessons, err = b.lessons(seed); err != nil {
			return err
		}
		taught := map[string]trial.Taught{}
		for i := range optimizers {
			o := optimizers[(i+seed)%len(optimizers)]
			if taught[o.name], err = b.teach(stderr, lessons, seed, o.name, rates[o.name]); err != nil {
				return err
			}
		}
		adamw, muon := taught["adamw"], taught["muon"]
		difference = append(difference, muon.Heldout-adamw.Heldout)
		relative = append(relative, muon.Heldout/adamw.Heldout)
		adamwLoss, muonLoss, adamwSeconds = append(adamwLoss, adamw.Heldout), append(muonLoss, muon.Heldout), append(adamwSeconds, adamw.Seconds)
		cost = append(cost, muon.Seconds/adamw.Seconds)
		if at, ok := reached(muon.Curve, adamw.Heldout); ok {
			reach = append(reach, at/adamw.Seconds)
		}
	}
	r.Line("held-out loss: AdamW %.5f after %.0f s, Muon %.5f", stat.Mean(adamwLoss, nil), stat.Mean(adamwSeconds, nil), stat.Mean(muonLoss, nil))
	r.Mean("loss_difference", "Muon less AdamW", "%.5f", difference)
	r.Mean("loss_ratio", "Muon over AdamW", "%.3f", relative)
	r.Mean("cost", "seconds for the same tokens, Muon over AdamW", "%.3f", cost)
	if len(reach) == b.study.Seeds {
		r.Mean("seconds_to_reach", "seconds until Muon is where AdamW ends, over AdamW's", "%.3f", reach)
	} else {
		r.Line("Muon came to where AdamW ends in %d of %d seeds", len(reach), b.study.Seeds)
	}
	return r.Print(stdout)
}

func (b *bench) lessons(seed int) (trial.Lessons, error) {
	texts, err := b.trial.Dataset(seed)
	if err != nil {
		return trial.Lessons{}, err
	}
	return trial.Split(texts, uint64(seed), vocabulary, heldoutEvery, false)
}

// tune halves and doubles the rate until the best one has been tried with a worse
// one on both sides.
func (b *bench) tune(stderr io.Writer, l trial.Lessons, optimizer string, rate float64) (float64, error) {
	losses := map[float64]float64{}
	try := func(rate float64) (float64, error) {
		if loss, ok := losses[rate]; ok {
			return loss, nil
		}
		t, err := b.teach(stderr, l, tuneSeed, optimizer, rate)
		losses[rate] = t.Heldout
		return t.Heldout, err
	}
	for {
		best := rate
		for _, r := range []float64{rate, rate / 2, rate * 2} {
			loss, err := try(r)
			if err != nil {
				return 0, err
			}
			if loss < losses[best] {
				best = r
			}
		}
		if best == rate {
			return rate, nil
		}
		rate = best
	}
}

func (b *bench) teach(stderr io.Writer, l trial.Lessons, seed int, optimizer string, rate float64) (trial.Taught, error) {
	c, err := model.Preset("tiny-dense", l.Vocabulary)
	if err != nil {
		return trial.Taught{}, err
	}
	opt := train.Options{Tokens: b.study.Tokens, Optimizer: optimizer, Seed: uint64(seed)}
	if optimizer == "muon" {
		opt.MuonLR = rate
	} else {
		opt.LR = rate
	}
	t, err := trial.Teach(c, l, opt, points, nil)
	if err != nil {
		return t, err
	}
	fmt.Fprintf(stderr, "seed %d, %s at %.3g: held-out loss %.5f, %.0f s\n", seed, optimizer, rate, t.Heldout, t.Seconds)
	return t, nil
}

// reached is the time of the first point of a curve at which the held-out loss is
// at most so high.
func reached(curve []trial.Point, loss float64) (float64, bool) {
	for _, p := range curve {
		if p.Heldout <= loss {
			return p.Seconds, true
		}
	}
	return 0, false
}
