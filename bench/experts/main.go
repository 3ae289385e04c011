// Command experts asks whether a mixture of experts learns more than a dense
// student of as many active parameters, from as many tokens and in as many
// seconds, and how evenly its experts are used. See README.md.
package main

import (
	"fmt"
	"io"
	"slices"

	"gonum.org/v1/gonum/stat"

	"retort/bench/trial"
	"retort/student/model"
	"retort/student/train"
)

const (
	vocabulary   = 1024
	heldoutEvery = 16 // one text in so many is held out
)

// dense is the student without experts; mixture has as many active parameters but
// for the router: 4 routed experts and 1 shared of 128 are as wide as 640.
func dense(vocab int) model.Config {
	return model.Config{
		VocabSize: vocab, Hidden: 128, Layers: 4, Heads: 4,
		NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 64,
		Intermediate: 640, DenseLayers: 4,
		RopeTheta: 200, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}
}

func mixture(vocab int) model.Config {
	c := dense(vocab)
	c.DenseLayers, c.MoEIntermediate = 1, 128
	c.RoutedExperts, c.SharedExperts, c.TopK = 24, 1, 4
	return c
}

func main() {
	b := bench{study: trial.Study{Bench: "experts", Tokens: 1_500_000, Seeds: 3}}
	trial.DataFlag(&b.data)
	b.study.Main(b.run)
}

type bench struct {
	data  string
	study trial.Study
}

func (b *bench) run(stdout, stderr io.Writer) error {
	texts, err := trial.Questions(b.data)
	if err != nil {
		return err
	}
	var difference, equalSeconds, busiest, step, cost, longer, denseLoss, mixtureLoss, longLoss []float64
	for seed := 1; seed <= b.study.Seeds; seed++ {
		lessons, err := trial.Split(texts, uint64(seed), vocabulary, heldoutEvery, true)
		if err != nil {
			return err
		}
		teach := func(what string, c model.Config, tokens int64) (trial.Taught, error) {
			t, err := trial.Teach(c, lessons, train.Options{Tokens: tokens, Seed: uint64(seed)}, 1, nil)
			if err != nil {
				return t, fmt.Errorf("%s: %w", what, err)
			}
			fmt.Fprintf(stderr, "seed %d, %s: held-out loss %.5f after %.2f M tokens, %.0f s\n", seed, what, t.Heldout, float64(t.Tokens)/1e6, t.Seconds)
			return t, nil
		}
		plain, err := teach("dense", dense(lessons.Vocabulary), b.study.Tokens)
		if err != nil {
			return err
		}
		mixed, err := teach("mixture", mixture(lessons.Vocabulary), b.study.Tokens)
		if err != nil {
			return err
		}
		ratio := mixed.Seconds / plain.Seconds
		long, err := teach("dense for as long", dense(lessons.Vocabulary), int64(ratio*float64(b.study.Tokens)))
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "seed %d: busiest expert over mean, by layer %.2f, of a step %.2f\n", seed, mixed.Busiest, mixed.BusiestStep)
		denseLoss, mixtureLoss, longLoss = append(denseLoss, plain.Heldout), append(mixtureLoss, mixed.Heldout), append(longLoss, long.Heldout)
		difference, equalSeconds = append(difference, mixed.Heldout-plain.Heldout), append(equalSeconds, mixed.Heldout-long.Heldout)
		busiest, step = append(busiest, slices.Max(mixed.Busiest)), append(step, slices.Max(mixed.BusiestStep))
		cost, longer = append(cost, ratio), append(longer, long.Seconds/mixed.Seconds)
	}
	r := b.study.Report()
	total, active := mixture(vocabulary).Params()
	plain, _ := dense(vocabulary).Params()
	r.Line("parameters: dense %d, mixture %d active of %d", plain, active, total)
	r.Figure("active_share", float64(active)/float64(total))
	r.Line("held-out loss: dense %.4f, mixture %.4f, dense for as many seconds %.4f", stat.Mean(denseLoss, nil), stat.Mean(mixtureLoss, nil), stat.Mean(longLoss, nil))
	r.Mean("loss_difference", "mixture less dense, equal tokens", "%.4f", difference)
	r.Mean("equal_seconds_difference", "mixture less dense, equal seconds", "%.4f", equalSeconds)
	r.Mean("cost", "seconds for the same tokens, mixture over dense", "%.3f", cost)
	r.Line("the longer dense training took %.3f of the mixture's seconds", stat.Mean(longer, nil))
	r.Mean("busiest_over_mean", "busiest expert of the worst layer over the mean, last tenth", "%.3f", busiest)
	r.Mean("busiest_over_mean_step", "the same of single steps", "%.3f", step)
	return r.Print(stdout)
}
