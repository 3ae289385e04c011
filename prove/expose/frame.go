package expose

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"retort/prove/commit"
)

// FrameVersion is the version of frames that this program writes and reads.
const FrameVersion = 1

// Frame says, before anything is scored, what the test is about. What it says cannot
// be changed afterwards: its hash is signed, and the scores name it.
type Frame struct {
	Version int    `json:"frame"`
	Log     string `json:"log"`
	Size    uint64 `json:"size"` // leaves of the log: coins that were closed among these are in the frame

	Accounts []string `json:"accounts,omitempty"` // keyed hashes; none: all of them
	From     int64    `json:"from,omitempty"`     // coins committed from this time on, UTC nanoseconds
	To       int64    `json:"to,omitempty"`       // and before this one; 0: no end

	Suspect   Model            `json:"suspect"`
	Held      int64            `json:"held"`                // when the operator first held the suspect
	Reference *Model           `json:"reference,omitempty"` // a model that saw neither arm
	Controls  []Model          `json:"controls,omitempty"`  // unrelated models that go through the same test
	Campaigns map[string]Group `json:"campaigns,omitempty"` // groups of accounts to be tested as one
	Windows   []Window         `json:"windows,omitempty"`   // spans of time to be tested by themselves
	PerOne    bool             `json:"per_account,omitempty"`
	Score     Score            `json:"score"`
	Level     float64          `json:"level"` // below which a finding is called one, over all that is tested
	FDR       float64          `json:"fdr,omitempty"`
	Statement string           `json:"statement,omitempty"` // in the operator's words: the case
}

// Model names a model under test.
type Model struct {
	Name string `json:"name"`
	Kind string `json:"kind"`           // one of the Kind constants
	Hash string `json:"hash,omitempty"` // of its weights, as model.Model.Hash
}

// How a model can be asked.
const (
	KindWeights  = "weights"  // open weights, in this process
	KindLogprobs = "logprobs" // an endpoint that returns a prompt's log-probabilities
	KindText     = "text"     // an API that answers
)

// Group is a set of accounts.
type Group []string

// Window is a span of time, of coins' commitments.
type Window struct {
	Name string `json:"name"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

// Score fixes the score: the default is DefaultScore.
type Score struct {
	Clip  float64 `json:"clip"`  // residuals are cut at so many times the scale of their family
	Power float64 `json:"power"` // a family's residuals are weighted by scale^(−2·power)
	// Rounds of reweighting after the first fit, so that few pairs that no model finds
	// likely, such as answers of a kind that is never taught, decide neither a family's
	// coefficients nor its scale; 0 is least squares and the root mean square.
	Rounds int `json:"rounds,omitempty"`
	Grid   int `json:"grid"`  // integer steps from 0 to the largest score
	Least  int `json:"least"` // pairs of a family that has coefficients of its own
	Cut    int `json:"cut"`   // text only: words behind the arms' first difference that the prefix holds
	Words  int `json:"words"` // text only: most words that are compared
	// Stakes are what is bet in text-only tests, in standard deviations.
	Stakes []float64 `json:"stakes"`
}

// DefaultScore is odd: per family a robust regression (Huber's weights), residuals over
// the family's scale, clipped at 2. Families whose answers are of two kinds, such as a
// search that gives up or does not, have tails of hundreds of nats: by variances they
// drown what the others show.
func DefaultScore() Score {
	return Score{Clip: 2, Power: 0.5, Rounds: 10, Grid: 64, Least: 30, Cut: 2, Words: 12, Stakes: []float64{0.03, 0.06, 0.12, 0.25, 0.5}}
}

// Encode returns the frame's bytes, over which its hash is taken.
func (f *Frame) Encode() []byte { return commit.JSON(f) }

// Hash names the frame.
func (f *Frame) Hash() string { return hashOf(f.Encode()) }

// ParseFrame reads a frame and refuses what cannot be meant.
func ParseFrame(b []byte) (*Frame, error) {
	f := new(Frame)
	if err := decodeInto(b, f); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	if !bytes.Equal(f.Encode(), b) {
		return nil, errors.New("frame: it is not in canonical form")
	}
	return f, f.Validate()
}

// Validate refuses a frame that cannot be meant.
func (f *Frame) Validate() error {
	kinds := []string{KindWeights, KindLogprobs, KindText}
	s := f.Score
	names := map[string]bool{}
	for _, m := range f.Models() {
		if m.Name == "" || names[m.Name] || !slices.Contains(kinds, m.Kind) {
			return fmt.Errorf("frame: model %q: every model needs a name of its own and one of the kinds %v", m.Name, kinds)
		}
		names[m.Name] = true
	}
	switch {
	case f.Version != FrameVersion:
		return fmt.Errorf("frame: version %d is not known to this program; it reads %d", f.Version, FrameVersion)
	case f.Log == "" || f.Size == 0:
		return errors.New("frame: it names no log, or no leaf of one")
	case f.Held == 0:
		return errors.New("frame: it does not say since when the operator has held the suspect")
	case f.To != 0 && f.To <= f.From:
		return errors.New("frame: its window ends before it begins")
	case !(f.Level > 0 && f.Level < 1) || f.FDR < 0 || f.FDR >= 1:
		return fmt.Errorf("frame: level %v and false discovery rate %v have to lie between 0 and 1", f.Level, f.FDR)
	case !(s.Clip > 0) || s.Power < 0 || s.Power > 1 || s.Grid < 1 || s.Grid > 1<<12 || s.Least < 2 || s.Cut < 0 || s.Words < 1 || len(s.Stakes) == 0:
		return fmt.Errorf("frame: the score %+v cannot be computed", s)
	case slices.ContainsFunc(s.Stakes, func(v float64) bool { return !(v > 0 && v < 10) }):
		return fmt.Errorf("frame: stakes %v have to lie between 0 and 10", s.Stakes)
	case f.Suspect.Kind == KindText && f.Reference != nil:
		return errors.New("frame: a suspect that gives text alone is compared with no reference")
	}
	for _, w := range f.Windows {
		if w.Name == "" || w.To <= w.From {
			return fmt.Errorf("frame: window %q ends before it begins", w.Name)
		}
	}
	return nil
}

// Models are all models that are scored, the suspect first.
func (f *Frame) Models() []Model {
	all := []Model{f.Suspect}
	if f.Reference != nil {
		all = append(all, *f.Reference)
	}
	return append(all, f.Controls...)
}

// Holds reports whether the frame holds a coin. It looks at nothing that hangs on the
// coin.
func (f *Frame) Holds(e *commit.Entry) bool {
	return (len(f.Accounts) == 0 || slices.Contains(f.Accounts, e.Coin.Account)) && e.Coin.Time >= f.From && (f.To == 0 || e.Coin.Time < f.To)
}

// Select returns the frame's coins that count, and how many are void and why: a coin
// without a second leaf counts as unfinished.
func (f *Frame) Select(all []commit.Entry) (in []commit.Entry, void map[string]int) {
	void = map[string]int{}
	for _, e := range all {
		switch {
		case !f.Holds(&e):
		case e.ArmsIndex == 0:
			void[commit.VoidUnfinished]++
		case e.Arms.Void != "":
			void[e.Arms.Void]++
		default:
			in = append(in, e)
		}
	}
	return in, void
}

// decodeInto reads JSON and refuses fields that are not known.
func decodeInto(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

func hashOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// The statements about a log that a case makes, in this order.
const (
	StateFrame  = "frame"
	StateScores = "scores"
)

// FramePrefix is what notes that state frames begin with.
const FramePrefix = "retort/frame\n"

// FrameText is the note that states a frame.
func FrameText(f *Frame) string {
	return fmt.Sprintf(FramePrefix+"%s\n%s\n%d\n", f.Hash(), commit.Origin(f.Log), f.Size)
}

// ScoresText is the note that states the scores of a frame.
func ScoresText(f *Frame, scores []byte) string {
	return fmt.Sprintf("retort/scores\n%s\n%s\n", f.Hash(), hashOf(scores))
}
