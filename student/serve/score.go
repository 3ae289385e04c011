package serve

import (
	"context"
	"errors"
	"fmt"
)

// Score returns the log-probability that the model of a name gives each token after
// the first, after those before it.
func (e *Engine) Score(ctx context.Context, name string, tokens []int32) ([]float64, error) {
	which, bad := e.modelOf(name)
	if bad != nil {
		return nil, fmt.Errorf("serve: %s", bad.Message)
	}
	if len(tokens) < 2 || len(tokens) > e.opt.MaxContext {
		return nil, fmt.Errorf("serve: %d tokens to judge, want 2 to %d, the context", len(tokens), e.opt.MaxContext)
	}
	j := &job{model: which, n: 1, prompts: [][]int32{tokens}, inline: true, echo: true, logprobs: true, ready: make(chan struct{}, 1)}
	answers, _, _, err := e.answers(ctx, j, true)
	if err != nil {
		return nil, err
	}
	if len(answers[0].prompt) != len(tokens)-1 {
		return nil, errors.New("serve: the engine did not judge every token")
	}
	out := make([]float64, len(answers[0].prompt))
	for i, t := range answers[0].prompt {
		out[i] = t.logprob
	}
	return out, nil
}
