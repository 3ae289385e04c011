package serve

import (
	"net/http"
	"slices"
	"unicode/utf8"

	"retort/openai"
	"retort/student/tokenizer"
)

// maxSequences bounds the completions that one request may ask for, prompts and
// samples multiplied: each takes memory until all are answered.
const maxSequences = 1024

func (e *Engine) serveCompletions(w http.ResponseWriter, r *http.Request) {
	req, bad := openai.ReadCompletionRequest(w, r, e.opt.MaxBody)
	if bad != nil {
		openai.WriteAPIError(w, bad)
		return
	}
	j, bad := e.newCompletionJob(req)
	if bad != nil {
		openai.WriteAPIError(w, bad)
		return
	}
	c := e.newCompletion(j)
	if req.Stream {
		c.stream(w, r, req.StreamOptions != nil && req.StreamOptions.IncludeUsage)
		return
	}
	answers, tokens, reasoning, err := e.answers(r.Context(), j, false)
	if err != nil {
		e.fail(w, err)
		return
	}
	resp := c.response()
	resp.Usage = usage(j, tokens, reasoning)
	for i, a := range answers {
		resp.Choices = append(resp.Choices, openai.CompletionChoice{Index: i, Text: a.echo + a.content,
			Logprobs: c.logprobs(i, a.prompt, a.logprobs), FinishReason: &a.finish})
	}
	openai.WriteJSON(w, http.StatusOK, resp)
}

// newCompletionJob reads a request as what the engine is to do, without a
// context.
func (e *Engine) newCompletionJob(req *openai.CompletionRequest) (*job, *openai.APIError) {
	which, bad := e.modelOf(req.Model)
	if bad != nil {
		return nil, bad
	}
	j := &job{model: which, inline: true, stops: req.Stop, echo: req.Echo, maxTokens: openai.DefaultCompletionTokens, ready: make(chan struct{}, 1)}
	if req.MaxTokens != nil {
		j.maxTokens = *req.MaxTokens
	}
	if req.Logprobs != nil {
		j.logprobs, j.top = true, *req.Logprobs
	}
	if bad := j.readSampling(req.Temperature, req.TopP, req.Seed, req.Extra); bad != nil {
		return nil, bad
	}
	each := 1
	if req.N != nil {
		each = *req.N
	}
	best := each
	if bad := readFields(req.Extra, field{"best_of", &best}); bad != nil {
		return nil, bad
	}
	if best != each {
		return nil, invalid("best_of", "best_of is %d, which is supported only where it is n (%d)", best, each)
	}
	if bad := e.readAdjustments(j, req.Extra); bad != nil {
		return nil, bad
	}
	if bad := refuse(req.Extra, "suffix"); bad != nil {
		return nil, bad
	}
	if bad := e.readPrompts(j, req.Prompt); bad != nil {
		return nil, bad
	}
	j.n = each * len(j.prompts)
	if j.n > maxSequences {
		return nil, invalid("prompt", "%d prompts of %d completions each are %d, more than the %d of a request: send them in parts", len(j.prompts), each, j.n, maxSequences)
	}
	return j, nil
}

// readPrompts sets the job's prompts. Text is encoded as the client's own
// (tokenizer.Encode): what spells a special token is that token. Where the model's files
// ask for a token before text, it is put there unless the client has written it.
func (e *Engine) readPrompts(j *job, p openai.Prompt) *openai.APIError {
	bos, begins := e.tok.BOS()
	j.bos = make([]bool, len(p.Texts)+len(p.Tokens))
	for i, text := range p.Texts {
		ids := e.tok.Encode(text)
		if begins && (len(ids) == 0 || ids[0] != bos) {
			ids = slices.Insert(ids, 0, bos)
			j.bos[i] = true
		}
		j.prompts = append(j.prompts, ids)
	}
	j.prompts = append(j.prompts, p.Tokens...)
	need := min(1, j.maxTokens) // room for what is sampled
	for i, prompt := range j.prompts {
		switch {
		case len(prompt) == 0:
			return invalid("prompt", "prompt %d is empty: a model continues at least one token, such as <|endoftext|>", i)
		case len(prompt)+need > e.opt.MaxContext:
			bad := invalid("prompt", "this model's context is %d tokens and prompt %d takes %d of them: shorten it", e.opt.MaxContext, i, len(prompt))
			bad.Code = "context_length_exceeded"
			return bad
		}
		for _, id := range prompt {
			if id < 0 || int(id) >= e.tok.VocabSize() {
				return invalid("prompt", "prompt %d holds token %d, not in the vocabulary of %d", i, id, e.tok.VocabSize())
			}
		}
	}
	return nil
}

// completion words what a job says on the completions wire.
type completion struct {
	e      *Engine
	job    *job
	shared reply
	cursor []cursor // of each choice
}

// cursor is how far the tokens of a choice have come in its text.
type cursor struct {
	bytes  *tokenizer.Stream
	offset int // code points
	begun  bool
}

func (e *Engine) newCompletion(j *job) *completion {
	c := &completion{e: e, job: j, shared: newReply("cmpl-"), cursor: make([]cursor, j.n)}
	for i := range c.cursor {
		c.cursor[i].bytes = e.tok.NewStream()
	}
	return c
}

// response is a response without choices, or an event of a streamed one.
func (c *completion) response() *openai.CompletionResponse {
	return &openai.CompletionResponse{ID: c.shared.id, Object: "text_completion", Created: c.shared.created, Model: c.e.served[c.job.model].name,
		SystemFingerprint: c.e.served[c.job.model].fingerprint, Choices: []openai.CompletionChoice{}}
}

func (c *completion) stream(w http.ResponseWriter, r *http.Request, withUsage bool) {
	s := streamed{event: func(ev event, send func(any) error) error {
		choice := openai.CompletionChoice{Index: ev.choice, Text: ev.echo + ev.piece.content, Logprobs: c.logprobs(ev.choice, ev.prompt, ev.logprobs)}
		if ev.finish != "" {
			choice.FinishReason = &ev.finish
		}
		if choice.Text == "" && choice.Logprobs == nil && choice.FinishReason == nil {
			return nil
		}
		chunk := c.response()
		chunk.Choices = append(chunk.Choices, choice)
		return send(chunk)
	}}
	if withUsage {
		s.usage = func(u *openai.Usage) any {
			last := c.response()
			last.Usage = u
			return last
		}
	}
	c.e.stream(w, r, c.job, s)
}

// logprobs is the wire's logprobs object for the next tokens of a choice, or nil
// where none were asked for. Like chat's it lists every token sampled, those
// that end the text or are cut off with a stop string included. A token that
// begins inside of a character is placed where the character is.
func (c *completion) logprobs(choice int, prompt, sampled []tokenInfo) *openai.CompletionLogprobs {
	if !c.job.logprobs {
		return nil
	}
	out := &openai.CompletionLogprobs{Tokens: []string{}, TokenLogprobs: []*float64{}, TopLogprobs: []map[string]float64{}, TextOffset: []int{}}
	at := &c.cursor[choice]
	add := func(id int32, logprob *float64, top map[string]float64, shown bool) {
		out.Tokens = append(out.Tokens, c.e.tokenText(id))
		out.TokenLogprobs = append(out.TokenLogprobs, logprob)
		out.TopLogprobs = append(out.TopLogprobs, top)
		out.TextOffset = append(out.TextOffset, at.offset)
		if shown {
			at.offset += utf8.RuneCountInString(at.bytes.Next(id))
		}
	}
	judged := func(t tokenInfo, shown bool) {
		logprob := finite(t.logprob)
		top := map[string]float64{c.e.tokenText(t.id): logprob}
		for _, alt := range t.top {
			top[c.e.tokenText(alt.id)] = finite(alt.logprob)
		}
		add(t.id, &logprob, top, shown)
	}
	if c.job.scores() && !at.begun {
		add(c.job.prompt(choice)[0], nil, nil, !c.job.put(choice))
	}
	at.begun = true
	for _, t := range prompt {
		judged(t, true)
	}
	for _, t := range sampled {
		judged(t, !c.e.tok.IsSpecial(t.id))
	}
	return out
}
