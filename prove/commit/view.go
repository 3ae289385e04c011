package commit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"retort/exchange"
	"retort/ledger"
)

// What a commitment record of this package holds.
const (
	WhatLeaf = "leaf"
	WhatHead = "head"
)

// View is a log as the ledger holds it.
type View struct {
	ID     string
	Leaves []Leaf
	Raw    [][]byte // the leaves' bytes
	Tree   Tree
	Heads  []Head // signed, in the order of their sizes

	records []ledger.Commitment // of the leaves
}

// Head is a signed head of the log, or another signed statement about it.
type Head struct {
	What  string `json:"what"`
	Time  int64  `json:"time"` // when it was made, by the operator's clock
	Note  string `json:"note"`
	Stamp []byte `json:"stamp,omitempty"` // RFC 3161 response about the note
	Body  []byte `json:"body,omitempty"`  // what the note names by its hash
}

// ReadLog reads one log. It refuses one with a gap, or with two leaves in one place.
func ReadLog(ctx context.Context, r ledger.Reader, id string) (*View, error) {
	v := &View{ID: id}
	if r == nil {
		return v, nil
	}
	err := r.Scan(ctx, func(rec ledger.Record) error {
		if rec.Kind != ledger.KindCommitment {
			return nil
		}
		c, err := ledger.ParseCommitment(rec)
		if err != nil || c.Log != id {
			return err
		}
		if c.What == WhatLeaf {
			v.records = append(v.records, c)
		} else {
			v.Heads = append(v.Heads, Head{c.What, c.Time, c.Note, c.Stamp, c.Body})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read exposure log %s: %w", id, err)
	}
	slices.SortStableFunc(v.records, func(a, b ledger.Commitment) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortStableFunc(v.Heads, func(a, b Head) int { return cmp.Compare(a.Time, b.Time) })
	for i, c := range v.records {
		if c.Index != uint64(i) {
			return nil, fmt.Errorf("exposure log %s: leaf %d is missing or there twice: the ledger is damaged, or two gateways wrote to one log", id, min(uint64(i), c.Index))
		}
		v.Raw = append(v.Raw, []byte(c.Leaf))
	}
	v.Leaves, v.Tree, err = Replay(v.Raw)
	if err != nil {
		return nil, fmt.Errorf("exposure log %s: %w", id, err)
	}
	return v, nil
}

// Replay reads leaves and checks what must be true of every log: it begins with the
// commitment to its key; counters are contiguous, over the log and over each account;
// no coin is closed before it was committed, or twice.
func Replay(raw [][]byte) ([]Leaf, Tree, error) {
	var tree Tree
	var leaves []Leaf
	coins, of, closed := uint64(0), map[string]uint64{}, map[uint64]bool{}
	for i, b := range raw {
		l, err := ParseLeaf(b)
		if err != nil {
			return nil, tree, fmt.Errorf("leaf %d: %w", i, err)
		}
		switch {
		case (l.Kind == LeafLog) != (i == 0):
			err = fmt.Errorf("a log begins with a leaf of kind %s and has no other", LeafLog)
		case l.Kind == LeafLog && l.Key == "":
			err = fmt.Errorf("it commits to no key")
		case l.Kind == LeafCoin:
			coins++
			of[l.Account]++
			switch {
			case l.Counter != coins:
				err = fmt.Errorf("coin %d follows coin %d: the counters have a gap", l.Counter, coins-1)
			case l.Of != of[l.Account]:
				err = fmt.Errorf("coin %d of account %.12s follows its coin %d: its counters have a gap", l.Of, l.Account, of[l.Account]-1)
			case l.Coin == "" || l.Prompt == "" || l.Account == "":
				err = fmt.Errorf("it commits to nothing")
			}
		case l.Kind == LeafArms:
			switch {
			case l.Counter == 0 || l.Counter > coins:
				err = fmt.Errorf("coin %d has answers before it was committed", l.Counter)
			case closed[l.Counter]:
				err = fmt.Errorf("coin %d has answers twice", l.Counter)
			case (l.Void == "") != (len(l.Arms) == 2) || l.Void != "" && len(l.Arms) > 0:
				err = fmt.Errorf("coin %d has neither two answers nor a reason why it is void", l.Counter)
			}
			closed[l.Counter] = true
		case l.Kind != LeafLog:
			err = fmt.Errorf("its kind %q is not known", l.Kind)
		}
		if err != nil {
			return nil, tree, fmt.Errorf("leaf %d: %w", i, err)
		}
		leaves = append(leaves, l)
		tree.Append(b)
	}
	return leaves, tree, nil
}

// Entry is one coin of a log, its two leaves together.
type Entry struct {
	Counter   uint64
	Coin      Leaf
	CoinIndex uint64 // of its first leaf
	Arms      Leaf   // zero if it has no second leaf
	ArmsIndex uint64 // of its second leaf; 0 if there is none

	Exchange  exchange.ID    // that was served
	Exchanges [2]exchange.ID // that brought the two arms; zero in a log that is not one's own
}

// Entries are the coins among the first size leaves, in order.
func Entries(leaves []Leaf, size uint64) []Entry {
	var all []Entry
	for i, l := range leaves[:min(uint64(len(leaves)), size)] {
		switch l.Kind {
		case LeafCoin:
			all = append(all, Entry{Counter: l.Counter, Coin: l, CoinIndex: uint64(i)})
		case LeafArms:
			all[l.Counter-1].Arms, all[l.Counter-1].ArmsIndex = l, uint64(i)
		}
	}
	return all
}

// Entries are the coins among the first size leaves, with their exchanges.
func (v *View) Entries(size uint64) []Entry {
	all := Entries(v.Leaves, size)
	for i, c := range v.records[:min(uint64(len(v.records)), size)] {
		switch l := v.Leaves[i]; l.Kind {
		case LeafCoin:
			all[l.Counter-1].Exchange = c.Exchange
		case LeafArms:
			if len(c.Arms) == 2 {
				all[l.Counter-1].Exchanges = [2]exchange.ID(c.Arms)
			}
		}
	}
	return all
}

// OpenSeed derives the seed of a coin of one's own log, and checks it against the
// commitment.
func (k Key) OpenSeed(e *Entry, messages []exchange.Message) (Seed, error) {
	seed := k.seed(e.Coin.Account, messages)
	if got := seed.Commitment(k.Log(), &e.Coin); got != e.Coin.Coin {
		return Seed{}, fmt.Errorf("coin %d: the key and the prompt do not give what was committed", e.Counter)
	}
	return seed, nil
}
