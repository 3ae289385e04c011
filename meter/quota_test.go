package meter

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNoWindowSeesMoreThanItsRate drives a quota with requests at random times and
// adds up, for each request, what was let through in the minute that it ends.
func TestNoWindowSeesMoreThanItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := Rates{RequestsPerMinute: rapid.Int64Range(1, 20).Draw(t, "rpm"), TokensPerMinute: rapid.Int64Range(1, 500).Draw(t, "tpm")}
		q := NewQuota(rates)
		type let struct {
			at     time.Time
			tokens int64
		}
		var all []let
		now := time.Unix(1_800_000_000, 0)
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(8*time.Second)).Draw(t, "pause")))
			tokens := rapid.Int64Range(0, rates.TokensPerMinute).Draw(t, "tokens")
			g, err := q.Take(now, tokens)
			var exceeded *ExceededError
			if errors.As(err, &exceeded) {
				if exceeded.RetryAfter <= 0 || exceeded.RetryAfter > time.Minute {
					t.Fatalf("told to wait %s", exceeded.RetryAfter)
				}
				later := now.Add(exceeded.RetryAfter)
				if _, err := q.Take(later, tokens); err != nil {
					t.Fatalf("who waited as told is refused: %v", err)
				}
				all = append(all, let{later, tokens})
				now = later
				continue
			}
			used := rapid.Int64Range(0, tokens).Draw(t, "used")
			g.Settle(used)
			g.Settle(1 << 40) // a second one does nothing
			all = append(all, let{now, used})
		}
		for i := range all {
			var requests, tokens int64
			for j := i; j >= 0 && all[i].at.Sub(all[j].at) < 59*time.Second; j-- {
				requests++
				tokens += all[j].tokens
			}
			if requests > rates.RequestsPerMinute || tokens > rates.TokensPerMinute {
				t.Fatalf("%d requests and %d tokens within a minute; rates %+v", requests, tokens, rates)
			}
		}
	})
}

func TestAQuotaOfADay(t *testing.T) {
	q := NewQuota(Rates{RequestsPerDay: 2})
	now := time.Unix(1_800_000_000, 0)
	for range 2 {
		if _, err := q.Take(now, 1<<50); err != nil { // tokens have no limit
			t.Fatal(err)
		}
	}
	var exceeded *ExceededError
	if _, err := q.Take(now.Add(23*time.Hour), 0); !errors.As(err, &exceeded) || exceeded.Limit != 2 {
		t.Errorf("the third request of a day: %v", err)
	}
	if _, err := q.Take(now.Add(24*time.Hour), 0); err != nil {
		t.Errorf("a day later: %v", err)
	}
	if requests, tokens := q.PerMinute(now.Add(24 * time.Hour)); requests.Limit != 0 || tokens.Limit != 0 {
		t.Errorf("limits that there are not: %+v %+v", requests, tokens)
	}
	if _, err := NewQuota(Rates{TokensPerMinute: 10}).Take(now, 11); err != nil {
		t.Errorf("a request larger than its minute, alone: %v", err)
	}
}
