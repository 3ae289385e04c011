package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"retort/exchange"
	"retort/openai"
)

// checkTimeout bounds each request of Check.
const checkTimeout = 15 * time.Second

// errNotOffered says that a teacher has no list of models.
var errNotOffered = errors.New("the teacher offers no list of models")

// Check finds out, without spending, whether the teacher can be reached, takes
// the key and has the model. A teacher that offers no list of models passes as
// long as it does not refuse the key.
func (c *Collector) Check(ctx context.Context) error {
	list, err := c.list(ctx)
	if errors.Is(err, errNotOffered) {
		return nil
	}
	if err != nil {
		return err
	}
	if list.has(c.cfg.Model) {
		return nil
	}
	return &exchange.Error{Op: "check", What: c.what(), Class: exchange.ClassNotFound, Err: list.missing(c.cfg.Model)}
}

// Models returns the names of the models that the teacher offers.
func (c *Collector) Models(ctx context.Context) ([]string, error) {
	list, err := c.list(ctx)
	if err != nil {
		return nil, err
	}
	return list.names(), nil
}

// list asks for the models, a second time if the connection fails.
func (c *Collector) list(ctx context.Context) (modelList, error) {
	list, err := c.listOnce(ctx)
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) && c.sleep(ctx, firstBackoff) == nil {
		list, err = c.listOnce(ctx)
	}
	return list, err
}

func (c *Collector) listOnce(ctx context.Context) (modelList, error) {
	tctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(tctx, http.MethodGet, strings.TrimSuffix(c.cfg.BaseURL, "/")+"/models"+c.codec.list, nil)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", c.what(), err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "retort")
	c.codec.header(req.Header, &c.cfg, nil)
	resp, err := c.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &UnreachableError{What: c.what(), Err: because(tctx, err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, &UnreachableError{What: c.what(), Err: because(tctx, err)}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		refused := c.codec.refuse(resp.StatusCode, body)
		switch class := classOfRefusal(refused); class {
		case exchange.ClassAuth, exchange.ClassQuota:
			res := &result{e: &exchange.Exchange{Status: resp.StatusCode, ErrorClass: class}, refusal: refused, cause: refused}
			return nil, c.failure(ctx, res)
		}
		return nil, errNotOffered // overload shows, if it lasts, when it matters
	}
	var parsed openai.ModelList
	if openai.Check(body) != nil || json.Unmarshal(body, &parsed) != nil || len(parsed.Data) == 0 {
		return nil, errNotOffered
	}
	return modelList(parsed.Data), nil
}

// modelList is what a teacher offers.
type modelList []openai.Model

func (l modelList) names() []string {
	names := make([]string, len(l))
	for i, m := range l {
		names[i] = m.ID
	}
	return names
}

// has reports whether a request for the model would be answered. Ollama adds a
// tag to names; llama.cpp's server has one model and answers to any name.
func (l modelList) has(model string) bool {
	if len(l) == 1 && l[0].OwnedBy == "llamacpp" {
		return true
	}
	return slices.ContainsFunc(l, func(m openai.Model) bool { return m.ID == model || m.ID == model+":latest" })
}

// missing says which names there are, the nearest first.
func (l modelList) missing(model string) error {
	const most = 5
	names := l.names()
	slices.Sort(names)
	distance := func(name string) int {
		return levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(model))
	}
	slices.SortStableFunc(names, func(a, b string) int { return distance(a) - distance(b) })
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d others", len(names)-most)
		names = names[:most]
	}
	for i := range names {
		names[i] = fmt.Sprintf("%q", names[i])
	}
	return fmt.Errorf("the teacher has no model %q; it offers %s%s", model, strings.Join(names, ", "), more)
}

// notFound explains a 404: the model, or the address, is wrong.
func (c *Collector) notFound(ctx context.Context, cause error) error {
	list, err := c.listOnce(ctx)
	if err != nil || list.has(c.cfg.Model) {
		return fmt.Errorf("model or address is wrong; base_url should end where %s follows, usually in /v1: %w", c.codec.path, cause)
	}
	return fmt.Errorf("%w (%w)", list.missing(c.cfg.Model), cause)
}
