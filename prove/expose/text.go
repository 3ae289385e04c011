package expose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/internal/stat"
	"retort/prove/commit"
)

// Text puts pairs to a model that gives text alone: it is to continue each answer
// behind a prefix, and what counts is how much further it follows the one than the
// other. Queries are made without the coins and are symmetric in the arms.
type Text struct {
	Asker    exchange.Asker
	Request  exchange.Request // what every request has: endpoint, model, parameters
	Prefill  bool             // the API continues a conversation that ends with a beginning of the assistant's turn
	Think    bool             // with Prefill: reasoning stands behind <think> in that
	Parallel int              // requests at once; 0: 4

	// Refused counts pairs that the API cannot be asked about, such as a prompt that is
	// too long for it. They say nothing, whichever arm it was.
	Refused atomic.Int64
}

// Order is the order in which a frame's coins are put to a text-only suspect: a
// function of the frame and of counters alone.
func Order(f *Frame, counters []uint64) []uint64 {
	key := map[uint64]string{}
	hash := f.Hash()
	for _, c := range counters {
		key[c] = hashOf([]byte(hash + ":" + strconv.FormatUint(c, 10)))
	}
	out := slices.Clone(counters)
	slices.SortFunc(out, func(a, b uint64) int { return cmp.Compare(key[a], key[b]) })
	return out
}

// Ask puts the pairs to a model into their lines, in the frame's order. After each
// batch it calls more, if that is not nil, with how many have been asked; it stops
// where that says so.
func (t *Text) Ask(ctx context.Context, f *Frame, m Model, lines []Line, pairs []Pair, batch int, more func(asked int) bool) error {
	at := map[uint64]int{}
	var counters []uint64
	for i, l := range lines {
		at[l.Counter] = i
		counters = append(counters, l.Counter)
	}
	order := Order(f, counters)
	for asked := 0; asked < len(order); {
		part := order[asked:min(len(order), asked+max(1, batch))]
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(cmp.Or(t.Parallel, 4))
		found := make([][2]float64, len(part))
		for i, c := range part {
			g.Go(func() (err error) {
				if found[i], err = t.match(ctx, f.Score, pairs[at[c]]); err != nil {
					err = fmt.Errorf("coin %d: %w", c, err)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("ask %s: %w", m.Name, err)
		}
		for i, c := range part {
			l := &lines[at[c]]
			if l.Match == nil {
				l.Match = map[string][2]float64{}
			}
			l.Match[m.Name] = found[i]
		}
		asked += len(part)
		if n := t.Refused.Load(); n == int64(asked) {
			return fmt.Errorf("ask %s: it refuses all of the first %d questions: is its address, its model or --prefill right?", m.Name, n)
		}
		if more != nil && !more(asked) {
			break
		}
	}
	return nil
}

// match is how many words a model follows each arm.
func (t *Text) match(ctx context.Context, s Score, p Pair) (out [2]float64, err error) {
	prefix, rest, ok := cut(s, p.Arms)
	if !ok {
		return out, nil
	}
	for arm := range p.Arms {
		begun := prefix[arm]
		if reasoning := p.Arms[arm].Reasoning; t.Think && len(strings.Fields(begun)) <= len(strings.Fields(reasoning)) {
			begun = thinkOpen + begun
		}
		said, err := t.continues(ctx, s, p.Messages, begun)
		var refused *exchange.Error
		if errors.As(err, &refused) && refused.Class == exchange.ClassInvalid {
			t.Refused.Add(1)
			return [2]float64{}, nil
		}
		if err != nil {
			return out, fmt.Errorf("answer %d: %w", arm+1, err)
		}
		words := strings.Fields(said)
		n := 0
		for n < len(words) && n < len(rest[arm]) && n < s.Words && words[n] == rest[arm][n] {
			n++
		}
		out[arm] = float64(n)
	}
	return out, nil
}

// thinkOpen is what reasoning stands behind in a beginning.
const thinkOpen = "<think>"

// cut divides both arms behind so many words after their first difference. It is not
// ok if nothing is left of one of them to be continued.
func cut(s Score, arms [2]commit.Answer) (prefix [2]string, rest [2][]string, ok bool) {
	var text [2]string
	var words [2][]string
	for i, a := range arms {
		text[i] = a.Content
		if a.Reasoning != "" {
			text[i] = a.Reasoning + "\n\n" + a.Content
		}
		words[i] = strings.Fields(text[i])
	}
	same := 0
	for same < len(words[0]) && same < len(words[1]) && words[0][same] == words[1][same] {
		same++
	}
	n := same + s.Cut
	if n == 0 || n >= len(words[0]) || n >= len(words[1]) {
		return prefix, rest, false
	}
	for i := range words {
		prefix[i], rest[i] = beginning(text[i], n), words[i][n:]
	}
	return prefix, rest, true
}

// beginning is a text up to the end of its nth word.
func beginning(text string, n int) string {
	end := 0
	for range n {
		for end < len(text) { // white space, then the word
			r, size := utf8.DecodeRuneInString(text[end:])
			if !unicode.IsSpace(r) {
				break
			}
			end += size
		}
		if i := strings.IndexFunc(text[end:], unicode.IsSpace); i >= 0 {
			end += i
		} else {
			end = len(text)
		}
	}
	return text[:end]
}

func (t *Text) continues(ctx context.Context, s Score, prompt []exchange.Message, prefix string) (string, error) {
	r := t.Request
	r.Messages = slices.Clone(prompt)
	r.Seed = exchange.SeedNone
	if r.MaxTokens == 0 {
		r.MaxTokens = 8 * s.Words
	}
	add := map[string]any{"temperature": 0}
	if t.Prefill {
		r.Messages = append(r.Messages, exchange.Message{Role: "assistant", Content: prefix})
		add["continue_final_message"], add["add_generation_prompt"] = true, false // as vLLM and SGLang want it said
	} else {
		last := &r.Messages[len(r.Messages)-1]
		last.Content += "\n\nBegin your answer with exactly these words, and go on:\n" + prefix
	}
	var err error
	if r.Params, err = with(r.Params, add); err != nil {
		return "", err
	}
	x, err := t.Asker.Ask(ctx, r)
	if err != nil {
		return "", err
	}
	said := strings.Join(strings.Fields(x.Answer.Reasoning+"\n\n"+x.Answer.Content), " ")
	whole := strings.Join(strings.Fields(strings.TrimPrefix(prefix, thinkOpen)), " ")
	if after, ok := strings.CutPrefix(said, whole); ok { // it said the prefix too
		said = after
	}
	return said, nil
}

// bets plays the e-process of a text-only suspect on the coins that belong, in the
// frame's order. A stake is in standard deviations of the differences so far, which are
// known before the coin is.
func bets(f *Frame, lines []Line, coins []Coin, m Model, belongs func(Coin) bool) (Outcome, error) {
	at := map[uint64]int{}
	var counters []uint64
	for i, l := range lines {
		at[l.Counter] = i
		counters = append(counters, l.Counter)
	}
	o := Outcome{}
	mixture := stat.NewMixture(f.Score.Stakes...)
	square, n, over := 0.0, 0, false
	for _, c := range Order(f, counters) {
		i := at[c]
		d, ok := lines[i].Match[m.Name]
		if over && ok {
			return o, fmt.Errorf("scores: coin %d was asked out of the frame's order", c)
		}
		if over = over || !ok; over || !belongs(coins[i]) {
			continue
		}
		diff := d[0] - d[1]
		square += diff * diff
		n++
		o.Coins++
		if diff == 0 {
			continue
		}
		first := coins[i].Live == 0
		mixture.Bet(math.Abs(diff)/math.Sqrt(square/float64(n)), (diff > 0) == first)
	}
	o.LogE, o.LogBest = mixture.LogE(), mixture.LogBest()
	return o, nil
}

// LogE is the logarithm of a text-only model's e-value over all coins that were asked.
func LogE(f *Frame, lines []Line, coins []Coin, m Model) (float64, error) {
	o, err := bets(f, lines, coins, m, func(Coin) bool { return true })
	return o.LogE, err
}
