package expose

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"retort/exchange"
	"retort/internal/text"
	"retort/ledger"
	"retort/prove/commit"
)

// Pair is a coin's prompt and its two answers, in the order of the log and not of
// what was served.
type Pair struct {
	Counter  uint64             `json:"counter"`
	Messages []exchange.Message `json:"messages"`
	Arms     [2]commit.Answer   `json:"arms"`

	Account string      `json:"-"`
	Family  string      `json:"-"`
	Time    int64       `json:"-"`
	Seed    commit.Seed `json:"-"` // opens the coin: it is looked at last
}

// Pairs reads the prompts and answers of coins from one's own ledger, and checks them
// against the log.
func Pairs(ctx context.Context, r ledger.Reader, key commit.Key, entries []commit.Entry) ([]Pair, error) {
	want := map[exchange.ID]*exchange.Exchange{}
	for _, e := range entries {
		want[e.Exchange] = nil // the withheld one need not say how it was asked
		for _, id := range e.Exchanges {
			want[id] = nil
		}
	}
	err := ledger.Answers(ctx, r, func(e *exchange.Exchange) error {
		if _, ok := want[e.ID]; ok {
			want[e.ID] = e
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the exchanges of coins: %w", err)
	}
	pairs := make([]Pair, len(entries))
	for i, e := range entries {
		p := &pairs[i]
		p.Counter, p.Account, p.Time = e.Counter, e.Coin.Account, e.Coin.Time
		for arm, id := range e.Exchanges {
			x := want[id]
			if x == nil {
				return nil, fmt.Errorf("coin %d: exchange %s is not in the ledger", e.Counter, id)
			}
			p.Arms[arm] = commit.AnswerOf(x.Answer)
			if p.Arms[arm] == (commit.Answer{}) {
				return nil, fmt.Errorf("coin %d: the ledger does not hold its answer %d: the gateway stored hashes alone, or the body was erased; choose a window of time whose bodies are there", e.Counter, arm+1)
			}
		}
		x := want[e.Exchange]
		if x == nil || len(x.RequestBody) == 0 {
			return nil, fmt.Errorf("coin %d: the ledger does not hold its prompt: the gateway stored hashes alone, or the body was erased; choose a window of time whose bodies are there", e.Counter)
		}
		if p.Messages, err = commit.Read(commit.Wire(x.Stage), x.RequestBody); err != nil {
			return nil, fmt.Errorf("coin %d: %w", e.Counter, err)
		}
		if p.Seed, err = key.OpenSeed(&e, p.Messages); err != nil {
			return nil, err
		}
		if err := CheckPair(&e, p); err != nil {
			return nil, err
		}
	}
	Families(pairs)
	return pairs, nil
}

// CheckPair checks a pair, with its seed, against its coin's two leaves.
func CheckPair(e *commit.Entry, p *Pair) error {
	if p.Seed.PromptHash(p.Messages) != e.Coin.Prompt {
		return fmt.Errorf("coin %d: the prompt is not the one that was committed", e.Counter)
	}
	for arm, a := range p.Arms {
		if len(e.Arms.Arms) != 2 || p.Seed.ArmHash(arm, a) != e.Arms.Arms[arm] {
			return fmt.Errorf("coin %d: answer %d is not the one that was committed", e.Counter, arm+1)
		}
	}
	return nil
}

const (
	alike       = 0.4 // Jaccard similarity from which two prompts are of one family
	mostFamily  = 64
	familyRest  = "rest"
	maskedWords = 200 // of a prompt that are looked at
)

// Families gives pairs their families: prompts that share most of their words once
// numbers are masked. It goes through the pairs in their order and looks at prompts
// alone.
func Families(pairs []Pair) {
	var leaders []map[string]bool
	for i := range pairs {
		words := scaffold(pairs[i].Messages)
		best, near := -1, alike
		for j, l := range leaders {
			if s := jaccard(words, l); s >= near {
				best, near = j, s+1e-12
			}
		}
		if best < 0 && len(leaders) < mostFamily {
			best = len(leaders)
			leaders = append(leaders, words)
		}
		pairs[i].Family = familyRest
		if best >= 0 {
			pairs[i].Family = "f" + strconv.Itoa(best+1)
		}
	}
}

func scaffold(messages []exchange.Message) map[string]bool {
	set := map[string]bool{}
	for _, m := range messages {
		for _, w := range text.Words(m.Content) {
			if strings.ContainsFunc(w, unicode.IsDigit) {
				w = "0"
			}
			if len(set) < maskedWords {
				set[w] = true
			}
		}
	}
	return set
}

func jaccard(a, b map[string]bool) float64 {
	both := 0
	for w := range a {
		if b[w] {
			both++
		}
	}
	if both == 0 {
		return 0
	}
	return float64(both) / float64(len(a)+len(b)-both)
}
