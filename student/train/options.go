package train

import (
	"fmt"
	"math"
	"strings"

	"retort/internal/kernel"
	"retort/student/model"
)

// Sequence is one training item: a rendered conversation as token ids, and
// where in it the response begins. The loss is taken on the tokens from
// ResponseFrom to the end; what stands before is only read.
type Sequence struct {
	Tokens       []int32
	ResponseFrom int
}

// AppendTo adds the sequence to a packed batch: every token but the last is read,
// and predicts its successor where that belongs to the response.
func (s Sequence) AppendTo(b model.Batch) model.Batch {
	b.Starts = append(b.Starts, len(b.Tokens))
	for i, t := range s.Tokens[:len(s.Tokens)-1] {
		target := int32(-1)
		if i+1 >= s.ResponseFrom {
			target = s.Tokens[i+1]
		}
		b.Tokens = append(b.Tokens, t)
		b.Targets = append(b.Targets, target)
	}
	return b
}

// Options say how to train. A zero field takes its default; of ClipNorm,
// WarmupShare and DecayShare a negative value switches the thing off.
type Options struct {
	// Adapter, if set, is what is trained, in place, while the model stays as it is.
	Adapter *model.Adapter `json:"-"`

	// Epochs is how often each sequence is seen; Tokens is instead a budget
	// of tokens read, ended by the step that reaches it. Exactly one is set.
	Epochs int
	Tokens int64

	BatchTokens int // tokens of one step, about (2,048)

	// Context is the most tokens of a sequence; longer ones are left out (as many as
	// the model has positions). Together with BatchTokens and Accumulate it bounds the
	// memory of a step.
	Context int

	// Accumulate is in how many parts a step is computed, one after the other,
	// each of whole sequences (1). The gradients add up to those of the step in
	// one part but for rounding, in about that fraction of its memory; the
	// balance loss of experts, a mean over sequences in each part, weighs a part
	// by its loss tokens.
	Accumulate int

	Optimizer string  // "muon" (matrices by Muon, the rest by AdamW) or "adamw" (all by AdamW); "muon"
	LR        float64 // AdamW's learning rate (3e-3 beside Muon, 1.5e-3 alone, 5e-4 for an adapter)
	MuonLR    float64 // Muon's learning rate (0.01)

	// EmbedLR and HeadLR are AdamW's learning rates of token embeddings (ten times
	// LR) and of the output head (five times LR). Where both are one matrix it has LR.
	EmbedLR, HeadLR float64

	WarmupShare float64 // share of the steps over which the rates rise (0.02)
	DecayShare  float64 // share of the steps over which they fall to 0 (0.7)
	ClipNorm    float64 // bound of the global gradient norm (1)
	WeightDecay float64 // decoupled, of matrices only (0)

	// Precision of products with weights: "fp32", "bf16" for operands rounded to
	// bfloat16, or "auto": bf16 where kernel.FastBF16 says that it is faster
	// ("fp32").
	// Weights, gradients, moments and sums are float32 with both.
	Precision string

	Seed uint64 // of the shuffle

	// Heldout is watched every HeldoutEvery steps and after the last. It is
	// read whole each time, so it is the caller's to keep it short.
	Heldout      []Sequence
	HeldoutEvery int // steps (a twentieth of the run)

	// Dir, if set, is an existing directory for checkpoints and
	// metrics.jsonl. A run continues from the newest checkpoint there.
	Dir             string
	CheckpointEvery int // steps (200); one is also written at the end and on interruption
}

var precisions = map[string]kernel.Precision{kernel.F32.String(): kernel.F32, kernel.BF16.String(): kernel.BF16}

// WithDefaults fills what is zero, as SFT does, and refuses what cannot be meant.
func (o Options) WithDefaults() (Options, error) {
	var bad []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	finite := func(name string, v float64) {
		check(!math.IsNaN(v) && !math.IsInf(v, 0), "%s is %v, want a finite number", name, v)
	}
	check(o.Epochs >= 0 && o.Tokens >= 0, "epochs %d and tokens %d must not be negative", o.Epochs, o.Tokens)
	check((o.Epochs > 0) != (o.Tokens > 0), "exactly one of epochs (%d) and tokens (%d) must be given", o.Epochs, o.Tokens)
	check(o.BatchTokens >= 0, "batch tokens %d must not be negative", o.BatchTokens)
	check(o.Context >= 0, "a context of %d tokens must not be negative", o.Context)
	check(o.Accumulate >= 0, "a step cannot be accumulated from %d parts", o.Accumulate)
	check(o.HeldoutEvery >= 0 && o.CheckpointEvery >= 0, "intervals %d and %d must not be negative", o.HeldoutEvery, o.CheckpointEvery)
	finite("learning rate", o.LR)
	finite("Muon's learning rate", o.MuonLR)
	finite("the embeddings' learning rate", o.EmbedLR)
	finite("the output head's learning rate", o.HeadLR)
	check(min(o.LR, o.MuonLR, o.EmbedLR, o.HeadLR) >= 0, "learning rates %v, %v, %v and %v must not be negative", o.LR, o.MuonLR, o.EmbedLR, o.HeadLR)
	finite("warm-up share", o.WarmupShare)
	finite("decay share", o.DecayShare)
	check(o.WarmupShare <= 1 && o.DecayShare <= 1, "shares %v and %v must not exceed 1", o.WarmupShare, o.DecayShare)
	finite("clip norm", o.ClipNorm)
	finite("weight decay", o.WeightDecay)
	check(o.WeightDecay >= 0, "weight decay %v must not be negative", o.WeightDecay)
	if o.Optimizer == "" {
		o.Optimizer = "muon"
	}
	check(o.Optimizer == "muon" || o.Optimizer == "adamw", "optimiser %q is unknown, want muon or adamw", o.Optimizer)
	if o.Precision == "auto" && kernel.FastBF16() {
		o.Precision = kernel.BF16.String()
	} else if o.Precision == "" || o.Precision == "auto" {
		o.Precision = kernel.F32.String()
	}
	_, known := precisions[o.Precision]
	check(known, "precision %q is unknown, want fp32, bf16 or auto", o.Precision)
	if len(bad) > 0 {
		return o, fmt.Errorf("training options: %s", strings.Join(bad, "; "))
	}

	if o.BatchTokens == 0 {
		o.BatchTokens = 2048
	}
	o.Accumulate = max(1, o.Accumulate)
	fill := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	switch {
	case o.Adapter != nil:
		fill(&o.LR, 5e-4)
	case o.Optimizer == "muon":
		fill(&o.LR, 3e-3)
	default:
		fill(&o.LR, 1.5e-3)
	}
	fill(&o.MuonLR, 0.01)
	fill(&o.EmbedLR, 10*o.LR)
	fill(&o.HeadLR, 5*o.LR)
	fill(&o.WarmupShare, 0.02)
	fill(&o.DecayShare, 0.7)
	fill(&o.ClipNorm, 1)
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 200
	}
	return o, nil
}
