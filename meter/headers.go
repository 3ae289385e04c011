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
	// the x-ratelimit-reset-* header of the resource that has run out.
	RetryAfter time.Duration
	// Left says that the headers speak of requests, and tokens if they do,
	// that are left: who is refused nevertheless is not asking too often.
	Left bool
	// Pause is how long it takes until one more request is allowed, where the
	// headers say that none is left; otherwise 0.
	Pause time.Duration
}

// ParseHints reads Retry-After (seconds or a date), retry-after-ms and the
// x-ratelimit-* headers of OpenAI and its kin. Nonsense is ignored, and no
// wait is longer than ten minutes.
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
	_, err := strconv.ParseFloat(h.Get("X-Ratelimit-Remaining-Requests"), 64)
	out.Left = err == nil
	for _, what := range []string{"Requests", "Tokens"} {
		left, err := strconv.ParseFloat(h.Get("X-Ratelimit-Remaining-"+what), 64)
		if err != nil || left >= 1 {
			continue
		}
		out.Left = false
		reset := parseReset(h.Get("X-Ratelimit-Reset-"+what), now)
		// OpenAI resets mean "until all of the limit is there again".
		share := reset
		if limit, err := strconv.ParseFloat(h.Get("X-Ratelimit-Limit-"+what), 64); err == nil && limit > 1 && what == "Requests" {
			share = time.Duration(float64(reset) / limit)
		}
		out.Pause = max(out.Pause, share)
		if h.Get("Retry-After") == "" && h.Get("Retry-After-Ms") == "" {
			out.RetryAfter = max(out.RetryAfter, reset)
		}
	}
	return out
}

// parseReset reads "6m0s", "20ms", a number of seconds, or a Unix time.
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
		return 0
	}
	return min(max(d, 0), longestHint)
}

func seconds(s float64) time.Duration {
	if math.IsNaN(s) || s <= 0 {
		return 0
	}
	return time.Duration(min(s, longestHint.Seconds()) * float64(time.Second))
}
