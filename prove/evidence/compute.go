package evidence

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"retort/prove/commit"
	"retort/prove/expose"
	"retort/prove/identity"
)

// skew is by how much the operator's clock may be ahead of the authority's.
const skew = 10 * time.Minute

// contents are the parts of a pack, read.
type contents struct {
	manifest Manifest
	keys     []string
	frame    *expose.Frame
	raw      [][]byte // leaves
	heads    []head
	coins    []coin
	lines    []expose.Line
	scores   []byte
	said     []identity.Result

	trusted map[string]note.Verifier
	roots   *x509.CertPool
}

// Results are all figures of a pack.
type Results struct {
	Examined int               `json:"examined"` // frames that were stated about the log: other suspects, too
	Coins    int               `json:"coins"`    // of the frame, that count
	Void     map[string]int    `json:"void"`     // and those that do not, by why
	Leaves   uint64            `json:"leaves"`
	Stamp    Stamp             `json:"stamp"`  // of the head that covers the frame
	Grid     map[string][]int  `json:"grid"`   // scores of each model, in the order of coins
	Served   [2]int            `json:"served"` // how often each arm was
	Outcomes []expose.Outcome  `json:"outcomes"`
	Power    float64           `json:"bootstrap_power"` // of the suspect's overall test at the frame's level
	Identity []identity.Result `json:"identity"`
	Findings []Finding         `json:"findings"`
}

// Stamp is what a third party said about a head.
type Stamp struct {
	Size          uint64 `json:"size"` // leaves under the head
	Time          int64  `json:"time"` // UTC nanoseconds
	Authority     string `json:"authority"`
	Demonstration bool   `json:"demonstration,omitempty"` // a local witness: not a third party
	Traced        bool   `json:"-"`                       // its certificate leads to a root that the reader trusts
}

// compute checks everything that the figures hang on and computes them. With given
// grids, those of a pack, it checks them and computes from them.
func (x *contents) compute(grids map[string][]int) (*Results, error) {
	leaves, tree, err := commit.Replay(x.raw)
	if err != nil {
		return nil, failed(partLog, "%v", err)
	}
	if err := x.frame.Validate(); err != nil {
		return nil, failed(partFrame, "%v", err)
	}
	if len(leaves) == 0 || len(leaves[0].Key) != 64 || leaves[0].Key[:16] != x.frame.Log {
		return nil, failed(partLog, "it is not the log that the frame names")
	}
	if x.frame.Size > tree.Size() {
		return nil, failed(partLog, "the frame is about %d leaves, of which %d are there", x.frame.Size, tree.Size())
	}
	r := &Results{Leaves: tree.Size(), Identity: x.said}
	if r.Stamp, r.Examined, err = x.checkHeads(leaves, &tree); err != nil {
		return nil, err
	}
	entries, void := x.frame.Select(commit.Entries(leaves, x.frame.Size))
	r.Coins, r.Void = len(entries), void
	opened, err := x.open(entries, &tree)
	if err != nil {
		return nil, err
	}
	for _, c := range opened {
		r.Served[c.Live]++
	}
	if err := x.checkScores(entries); err != nil {
		return nil, err
	}
	if grids == nil {
		if grids, err = expose.Grids(x.frame, x.lines); err != nil {
			return nil, failed(partScores, "%v", err)
		}
	}
	if err := expose.CheckGrids(x.frame, x.lines, grids); err != nil {
		return nil, failed(partResults, "%v", err)
	}
	r.Grid = grids
	if r.Outcomes, err = expose.Tested(x.frame, x.lines, grids, opened); err != nil {
		return nil, failed(partScores, "%v", err)
	}
	if grid := grids[x.frame.Suspect.Name]; len(grid) > 0 {
		r.Power = expose.Power(grid, opened, len(grid), x.frame.Level, 1)
	}
	for i, s := range x.said {
		if ratio, why := s.Weigh(); ratio != s.LikelihoodRatio || why != s.Why {
			return nil, failed(partIdentity, "claim %d: the ratio is %v, not %v", i+1, ratio, s.LikelihoodRatio)
		}
	}
	r.Findings = findings(x.frame, r)
	return r, nil
}

// checkHeads checks every signed head and statement, and returns the stamp of the
// last head that was stamped before the operator held the suspect, and how many frames
// are stated.
func (x *contents) checkHeads(leaves []commit.Leaf, tree *commit.Tree) (covering Stamp, frames int, err error) {
	var before, last commit.Checkpoint
	var stated, scored *head
	for i := range x.heads {
		h := &x.heads[i]
		bad := func(format string, a ...any) error {
			return failed(partHeads, "head %d: %s", i+1, fmt.Sprintf(format, a...))
		}
		text, err := openByAny(h.Note, x.trusted)
		if err != nil {
			return covering, 0, bad("%v", err)
		}
		var stamp *commit.Stamped
		if len(h.Stamp) > 0 {
			s, err := commit.CheckStamp(h.Stamp, sha256.Sum256([]byte(h.Note)), x.roots)
			if err != nil {
				return covering, 0, bad("%v", err)
			}
			stamp = &s
		}
		switch h.What {
		case expose.StateFrame:
			switch {
			case !strings.HasPrefix(text, expose.FramePrefix) || len(h.Consistency) > 0:
				return covering, 0, bad("it states no frame")
			case text != expose.FrameText(x.frame): // another suspect's
			case stated != nil:
				return covering, 0, bad("it states the frame again")
			default:
				stated = h
			}
			frames++
		case expose.StateScores:
			switch {
			case text != expose.ScoresText(x.frame, x.scores) || scored != nil || len(h.Consistency) > 0:
				return covering, 0, bad("it states something else, or again")
			case stated == nil:
				return covering, 0, bad("the scores are stated before the frame")
			}
			scored = h
		case commit.WhatHead:
			if last, err = x.checkHead(h, text, before, tree); err != nil {
				return covering, 0, bad("%v", err)
			}
			before = last
			if stamp == nil {
				continue
			}
			for j, l := range leaves[:last.Size] {
				if l.Time > stamp.Time.Add(skew).UnixNano() {
					return covering, 0, bad("leaf %d says that it was made after the stamp", j)
				}
			}
			if stamp.Time.UnixNano() <= x.frame.Held && last.Size >= covering.Size {
				covering = Stamp{last.Size, stamp.Time.UnixNano(), stamp.Authority, stamp.Demonstration, stamp.Trusted}
			}
		default:
			return covering, 0, bad("%q is not known", h.What)
		}
	}
	switch {
	case stated == nil:
		return covering, 0, failed(partHeads, "nothing states the frame")
	case scored == nil:
		return covering, 0, failed(partHeads, "nothing states the scores")
	case scored.Time < stated.Time:
		return covering, 0, failed(partHeads, "the scores are older than the frame")
	case covering.Size < x.frame.Size:
		return covering, 0, failed(partHeads, "the frame holds coins that no head covers which was stamped before the suspect was held: %d leaves of %d", covering.Size, x.frame.Size)
	}
	return covering, frames, nil
}

// checkHead checks one head against the leaves, and against the head before it.
func (x *contents) checkHead(h *head, text string, before commit.Checkpoint, tree *commit.Tree) (commit.Checkpoint, error) {
	c, err := commit.ParseCheckpoint(text)
	if err != nil {
		return c, err
	}
	root, err := tree.Root(min(c.Size, tree.Size()))
	switch {
	case err != nil:
		return c, err
	case c.Log != x.frame.Log:
		return c, fmt.Errorf("it is the head of log %s", c.Log)
	case c.Size > tree.Size() || !bytes.Equal(root, c.Root):
		return c, fmt.Errorf("the log's first %d leaves are not those that were signed", c.Size)
	case c.Size < before.Size:
		return c, fmt.Errorf("it is smaller than the one before it")
	case before.Size == 0:
		if len(h.Consistency) != 0 {
			return c, fmt.Errorf("it has a proof of nothing")
		}
		return c, nil
	}
	path, err := decodePath(h.Consistency)
	if err != nil {
		return c, err
	}
	return c, commit.CheckConsistency(before.Size, c.Size, path, before.Root, c.Root)
}

// open checks every opened coin of the frame: that none is missing or added, that its
// seed gives what was committed, that its leaves are in the log, and that what is
// disclosed of its exchanges is what was hashed.
func (x *contents) open(entries []commit.Entry, tree *commit.Tree) ([]expose.Coin, error) {
	if len(x.coins) != len(entries) {
		return nil, failed(partCoins, "%d coins are opened, the frame holds %d", len(x.coins), len(entries))
	}
	root, err := tree.Root(x.frame.Size)
	if err != nil {
		return nil, failed(partLog, "%v", err)
	}
	out := make([]expose.Coin, len(entries))
	for i := range entries {
		e, c := &entries[i], &x.coins[i]
		if err := x.openOne(e, c, root); err != nil {
			return nil, failed(partCoins, "%v", err)
		}
		out[i] = expose.Coin{Account: e.Coin.Account, Time: e.Coin.Time, Live: c.Seed.Live()}
	}
	return out, nil
}

func (x *contents) openOne(e *commit.Entry, c *coin, root []byte) error {
	switch {
	case c.Counter != e.Counter:
		return fmt.Errorf("coin %d stands where coin %d of the frame belongs", c.Counter, e.Counter)
	case c.CoinIndex != e.CoinIndex || c.ArmsIndex != e.ArmsIndex:
		return fmt.Errorf("coin %d: its leaves stand elsewhere", e.Counter)
	case c.Seed.Commitment(x.frame.Log, &e.Coin) != e.Coin.Coin:
		return fmt.Errorf("coin %d: its seed is not the one that was committed", e.Counter)
	}
	for _, leaf := range []struct {
		index uint64
		path  []string
	}{{c.CoinIndex, c.CoinPath}, {c.ArmsIndex, c.ArmsPath}} {
		path, err := decodePath(leaf.path)
		if err != nil {
			return fmt.Errorf("coin %d: %w", e.Counter, err)
		}
		if err := commit.CheckInclusion(x.raw[leaf.index], leaf.index, x.frame.Size, path, root); err != nil {
			return fmt.Errorf("coin %d, leaf %d: %w", e.Counter, leaf.index, err)
		}
	}
	disclosed := x.manifest.Disclosure == DiscloseFull
	switch {
	case !disclosed && (len(c.Messages) > 0 || len(c.Arms) > 0):
		return fmt.Errorf("coin %d discloses what the manifest says is not", e.Counter)
	case !disclosed:
		return nil
	case len(c.Arms) != 2 || len(c.Messages) == 0:
		return fmt.Errorf("coin %d: its prompt or one of its answers is missing", e.Counter)
	}
	return expose.CheckPair(e, &expose.Pair{Counter: c.Counter, Messages: c.Messages, Arms: [2]commit.Answer(c.Arms), Seed: c.Seed})
}

// checkScores checks that every coin of the frame has its scores, and no other has.
func (x *contents) checkScores(entries []commit.Entry) error {
	if len(x.lines) != len(entries) {
		return failed(partScores, "%d coins have scores, the frame holds %d", len(x.lines), len(entries))
	}
	want := map[string]bool{}
	texts := map[string]bool{}
	for _, m := range x.frame.Models() {
		if m.Kind == expose.KindText {
			texts[m.Name] = true
		} else {
			want[m.Name] = true
		}
	}
	for i := range x.lines {
		l, c := &x.lines[i], &x.coins[i]
		if l.Counter != entries[i].Counter {
			return failed(partScores, "coin %d stands where coin %d of the frame belongs", l.Counter, entries[i].Counter)
		}
		have := slices.Collect(maps.Keys(l.LogProb))
		if len(have) != len(want) || slices.ContainsFunc(have, func(n string) bool { return !want[n] }) {
			return failed(partScores, "coin %d has scores of %v", l.Counter, have)
		}
		for name := range l.Match {
			if !texts[name] {
				return failed(partScores, "coin %d has text of %s", l.Counter, name)
			}
		}
		if len(c.Arms) == 2 {
			if lengths := expose.Lines([]expose.Pair{{Arms: [2]commit.Answer(c.Arms)}})[0].Length; lengths != l.Length {
				return failed(partScores, "coin %d: its answers have %v characters, not %v", l.Counter, lengths, l.Length)
			}
		}
	}
	return nil
}
