package reference

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	mrand "math/rand/v2"
	"strings"

	"retort/openai"
	"retort/teach/task"
)

// answer is one choice as it is generated: tokens in the order in which they
// are sent.
type answer struct {
	tokens    []piece
	reasoning int64  // tokens of it that are reasoning
	finish    string // stop or length
	stopped   string // the stop sequence that ended it, if one did
	tool      string // the tool whose arguments its content is; "" for text
}

// piece is a token and the field of the reply that it belongs to.
type piece struct {
	text      string
	reasoning bool // in reasoning_content, otherwise in content
}

// text joins the tokens of one field.
func (a *answer) text(reasoning bool) string {
	var b strings.Builder
	for _, p := range a.tokens {
		if p.reasoning == reasoning {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// generate answers a request once. Index is that of the choice; empty drops
// the reasoning.
func (t *Teacher) generate(req *openai.ChatRequest, index int, empty bool) (*answer, error) {
	v := voice{rng: t.random(req, index), temperature: 1, topP: 1, seed: t.cfg.Seed}
	if req.Temperature != nil {
		v.temperature = *req.Temperature
	}
	if req.TopP != nil {
		v.topP = *req.TopP
	}
	s := solution{answer: unknown}
	if p, ok := task.Parse(lastUser(req)); ok {
		var err error
		if s, err = solve(p, v); err != nil {
			return nil, err
		}
	}
	if empty {
		s.reasoning = ""
	}
	form, stopped := shapeOf(req), ""
	var err error
	if s.answer, err = form.put(s.answer); err != nil {
		return nil, err
	}
	for _, stop := range req.Stop {
		if head, _, ok := strings.Cut(s.answer, stop); ok && stop != "" {
			s.answer, stopped = head, stop
		}
	}
	a := t.compose(s, req)
	if a.tool = form.tool; a.finish == "stop" {
		a.stopped = stopped
	}
	return a, nil
}

// compose puts the tokens of a solution in order and cuts them at the
// request's limit.
func (t *Teacher) compose(s solution, req *openai.ChatRequest) *answer {
	a := &answer{finish: "stop"}
	thinking := pieces(s.reasoning)
	add := func(tokens []string, field bool) {
		for _, p := range tokens {
			a.tokens = append(a.tokens, piece{p, field})
		}
	}
	inTags := t.cfg.Reasoning == ReasoningThink
	if inTags {
		thinking = pieces("<think>\n" + s.reasoning + "\n</think>\n\n")
	}
	add(thinking, !inTags)
	add(pieces(s.answer), false)
	if most, ok := req.OutputLimit(); ok && most < len(a.tokens) {
		a.tokens, a.finish = a.tokens[:most], "length"
	}
	a.reasoning = int64(min(len(thinking), len(a.tokens)))
	return a
}

// lastUser returns the last user message.
func lastUser(req *openai.ChatRequest) string {
	for i := len(req.Messages) - 1; i >= 0; i-- {
		if req.Messages[i].Role == "user" {
			return strings.TrimSpace(req.Messages[i].Content.String())
		}
	}
	return ""
}

// random returns the random numbers for one choice: with a seed in the request
// a function of the teacher's seed and all that decides the answer, otherwise
// new ones.
func (t *Teacher) random(req *openai.ChatRequest, index int) *mrand.Rand {
	if req.Seed == nil {
		var key [32]byte
		_, _ = rand.Read(key[:]) // never fails
		return mrand.New(mrand.NewChaCha8(key))
	}
	h := sha256.New()
	number := func(n uint64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], n)
		h.Write(b[:])
	}
	number(t.cfg.Seed)
	number(uint64(*req.Seed))
	number(uint64(index))
	for _, f := range []*float64{req.Temperature, req.TopP} {
		if f == nil {
			number(math.Float64bits(1))
		} else {
			number(math.Float64bits(*f))
		}
	}
	most, limited := req.OutputLimit()
	if !limited {
		most = -1
	}
	number(uint64(most))
	hashTexts(h, req.Stop)
	for _, m := range req.Messages {
		hashTexts(h, []string{m.Role, m.Content.String()})
	}
	return mrand.New(mrand.NewChaCha8([32]byte(h.Sum(nil))))
}

// hashTexts hashes texts so that no other texts hash the same bytes.
func hashTexts(h hash.Hash, texts []string) {
	fmt.Fprintf(h, "%d\n", len(texts))
	for _, s := range texts {
		fmt.Fprintf(h, "%d\n%s", len(s), s)
	}
}

// inputTokens counts a request's messages: their text, and one token each for
// the role, which is never more than the bytes of the request.
func inputTokens(req *openai.ChatRequest) int64 {
	n := len(req.Messages)
	for _, m := range req.Messages {
		n += CountTokens(m.Content.String())
	}
	return int64(n)
}
