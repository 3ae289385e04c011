package meter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestHint bounds what a server may make us wait.
const longestHint = 10 * time.Minute

// Hints are what a response's headers say about the next request.
type Hints struct {
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	// It comes from Retry-After, retry-after-ms or, for who has been refused,
	// the reset header of the resource that has run out.
	RetryAfter time.Duration
	// Left says that the headers speak of requests, and tokens if they do,
	// that are left: who is refused nevertheless is not asking too often.
	Left bool
	// Pause is how long it takes until one more request is allowed, where the
	// headers say that none is left; otherwise 0.
	Pause time.Duration
}

// ParseHints reads Retry-After (seconds or a date), retry-after-ms, the
// x-ratelimit-* headers of OpenAI and its kin and the anthropic-ratelimit-* ones.
// Nonsense is ignored, and no wait is longer than ten minutes.
func ParseHints(h http.Header, now time.Time) Hints {
	var out Hints
	if ms, err := strconv.ParseFloat(strings.TrimSpace(h.Get("Retry-After-Ms")), 64); err == nil {
		out.RetryAfter = seconds(ms / 1000)
	}
	if v := strings.TrimSpace(h.Get("Retry-After")); out.RetryAfter == 0 && v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil {
			out.RetryAfter = seconds(s)
		} else if at, err := http.ParseTime(v); err == nil {
			out.RetryAfter = min(max(at.Sub(now), 0), longestHint)
		}
	}
	told := h.Get("Retry-After") != "" || h.Get("Retry-After-Ms") != ""
	for _, r := range resources {
		left, err := strconv.ParseFloat(h.Get(r.remaining), 64)
		if err != nil {
			continue
		}
		if left >= 1 {
			out.Left = out.Left || r.requests
			continue
		}
		out.Left = false
		reset := parseReset(h.Get(r.reset), now)
		// Resets mean "until all of the limit is there again".
		share := reset
		if limit, err := strconv.ParseFloat(h.Get(r.limit), 64); err == nil && limit > 1 && r.requests {
			share = time.Duration(float64(reset) / limit)
		}
		out.Pause = max(out.Pause, share)
		if !told {
			out.RetryAfter = max(out.RetryAfter, reset)
		}
	}
	return out
}

// resource is what a limit counts, by the names of its headers.
type resource struct {
	limit, remaining, reset string
	requests                bool // not tokens
}

// resources are those of OpenAI and its kin and those of Anthropic; of each,
// requests come first.
var resources = []resource{
	{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", true},
	{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens", false},
	{"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset", true},
	{"Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset", false},
	{"Anthropic-Ratelimit-Input-Tokens-Limit", "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset", false},
	{"Anthropic-Ratelimit-Output-Tokens-Limit", "Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset", false},
}

// parseReset reads "6m0s", "20ms", a number of seconds, a Unix time, or a time
// as RFC 3339 has it.
func parseReset(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if s > 1e9 { // a time, not a wait
			s -= float64(now.UnixNano()) / 1e9
		}
		return seconds(s)
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		at, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return 0
		}
		d = at.Sub(now)
	}
	return min(max(d, 0), longestHint)
}

func seconds(s float64) time.Duration {
	if math.IsNaN(s) || s <= 0 {
		return 0
	}
	return time.Duration(min(s, longestHint.Seconds()) * float64(time.Second))
}
