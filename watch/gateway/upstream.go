package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"retort/anthropic"
)

// upstream is an API with its key.
type upstream struct {
	*Upstream
	base *url.URL
	key  string
}

// pick returns the upstreams that serve a model, in the order in which to try
// them: drawn by weight. Model "" is any.
func (p *policy) pick(model string) []*upstream {
	var rest []*upstream
	for _, u := range p.upstreams {
		if model == "" || len(u.Models) == 0 || fits(u.Models, model) {
			rest = append(rest, u)
		}
	}
	out := make([]*upstream, 0, len(rest))
	for len(rest) > 0 {
		total := 0
		for _, u := range rest {
			total += u.Weight
		}
		at := rand.IntN(total)
		i := slices.IndexFunc(rest, func(u *upstream) bool { at -= u.Weight; return at < 0 })
		out = append(out, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return out
}

// dropped are the headers of a request that are not passed on: those that belong
// to one connection, what names or authenticates somebody to the gateway, and what
// an upstream could take for its own account's.
var dropped = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Host", "Content-Length", "Expect", "Accept-Encoding",
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Openai-Organization", "Openai-Project",
}

// hidden are the headers of a response that are not passed on: those of one
// connection, and what speaks of the gateway's account and not of the client's.
var hidden = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Set-Cookie",
	"Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Alt-Svc",
}

// request makes what is sent to the upstream. Its address is the upstream's own
// and a path that the gateway knows: nothing in a request leads elsewhere.
func (u *upstream) request(ctx context.Context, p *policy, rt *route, r *http.Request, body []byte) (*http.Request, error) {
	address := *u.base
	address = *address.JoinPath(strings.TrimPrefix(r.URL.Path, "/v1"))
	address.RawQuery = r.URL.RawQuery
	var reader io.Reader = http.NoBody
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, address.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("request to %s: %w", u.Name, err)
	}
	own, user := listed(r.Header), textproto.CanonicalMIMEHeaderKey(p.cfg.EndUser)
	for name, values := range r.Header {
		if name != user && !slices.Contains(dropped, name) && !slices.Contains(own, name) {
			req.Header[name] = slices.Clone(values)
		}
	}
	// The usage is read from the bytes that pass: they come as they are.
	req.Header.Set("Accept-Encoding", "identity")
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = nil // no name of ours in its place
	}
	switch messages := strings.HasPrefix(rt.path, "/v1/messages"); {
	case u.key == "":
	case messages && !u.BearerKey:
		req.Header.Set(anthropic.KeyHeader, u.key)
	default:
		req.Header.Set("Authorization", "Bearer "+u.key)
	}
	return req, nil
}

// listed are the headers that Connection says belong to the connection.
func listed(h http.Header) []string {
	var out []string
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			out = append(out, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return out
}

// copyHeader passes a response's headers on.
func copyHeader(to, from http.Header) {
	drop := slices.Concat(hidden, listed(from))
	for name, values := range from {
		if !slices.Contains(drop, name) && !isRateHeader(name) {
			to[name] = values
		}
	}
}

// isRateHeader reports whether a header speaks of rates: an upstream's are those
// of the gateway's account, which a client can do nothing with.
func isRateHeader(name string) bool {
	return strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-")
}

// failsOver reports whether another upstream may be asked in place of one that
// answered with a status: it has done nothing.
func failsOver(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout, anthropic.StatusOverloaded:
		return true
	}
	return false
}
