package expose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/prove/commit"
)

// Endpoint scores a model behind an API that returns the log-probabilities of a
// prompt's tokens: chat completions with prompt_logprobs, as vLLM has it, or an answer
// in the form of completions with echo and logprobs. A conversation that ends with the
// arm is sent as the prompt; what both arms have before it cancels out.
type Endpoint struct {
	Asker    exchange.Asker
	Request  exchange.Request // what every request has: endpoint, model, parameters
	Parallel int              // requests at once; 0: 4
}

// Score implements Scorer.
func (e *Endpoint) Score(ctx context.Context, pairs []Pair) ([]Scored, error) {
	out := make([]Scored, len(pairs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(e.Parallel, 4))
	for i, p := range pairs {
		g.Go(func() error {
			for arm, a := range p.Arms {
				var err error
				if out[i].LogProb[arm], out[i].Tokens[arm], err = e.judge(ctx, p.Messages, a); err != nil {
					return fmt.Errorf("coin %d, answer %d: %w", p.Counter, arm+1, err)
				}
			}
			return nil
		})
	}
	return out, g.Wait()
}

func (e *Endpoint) judge(ctx context.Context, prompt []exchange.Message, a commit.Answer) (logProb float64, tokens int, err error) {
	r := e.Request
	r.Messages = append(prompt[:len(prompt):len(prompt)], exchange.Message{Role: "assistant", Content: a.Content, Reasoning: a.Reasoning})
	r.MaxTokens, r.Seed = 1, exchange.SeedNone
	if r.Params, err = with(r.Params, map[string]any{"prompt_logprobs": 0, "add_generation_prompt": false, "temperature": 0}); err != nil {
		return 0, 0, err
	}
	x, err := e.Asker.Ask(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	return promptLogProb(x.ResponseBody, x.Usage.Input)
}

// with adds fields to a request's parameters, those that are there already first.
func with(params json.RawMessage, add map[string]any) (json.RawMessage, error) {
	all := map[string]any{}
	for name, v := range add {
		all[name] = v
	}
	if len(params) > 0 {
		if err := json.Unmarshal(params, &all); err != nil {
			return nil, fmt.Errorf("request parameters: %w", err)
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("request parameters: %w", err)
	}
	return exchange.CanonicalJSON(raw)
}

// promptLogProb adds up what a response says of its prompt's tokens, of which there
// are input.
func promptLogProb(body []byte, input int64) (sum float64, tokens int, err error) {
	var r struct {
		Prompt  []map[string]struct{ LogProb float64 } `json:"prompt_logprobs"`
		Choices []struct {
			LogProbs struct {
				Token []*float64 `json:"token_logprobs"`
			} `json:"logprobs"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return 0, 0, fmt.Errorf("the answer cannot be read: %w", err)
	}
	if len(r.Prompt) > 0 {
		for _, t := range r.Prompt[1:] { // nothing precedes the first
			if len(t) != 1 {
				return 0, 0, errors.New("the answer's prompt_logprobs have more than the prompt's own tokens")
			}
			for _, v := range t {
				sum += v.LogProb
			}
		}
		return sum, len(r.Prompt), nil
	}
	if len(r.Choices) == 1 && len(r.Choices[0].LogProbs.Token) > 1 {
		list := r.Choices[0].LogProbs.Token
		if input > 0 && input < int64(len(list)) {
			list = list[:input] // the rest was generated
		}
		for _, v := range list[1:] {
			if v == nil {
				return 0, 0, errors.New("the answer lacks the log-probability of a token")
			}
			sum += *v
		}
		return sum, len(list), nil
	}
	return 0, 0, errors.New("the endpoint does not return log-probabilities of the prompt: test it as a model that gives text alone")
}
