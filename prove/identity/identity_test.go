package identity

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"retort/exchange"
)

type asker func(exchange.Request) (string, error)

func (a asker) Ask(_ context.Context, r exchange.Request) (*exchange.Exchange, error) {
	s, err := a(r)
	return &exchange.Exchange{Answer: exchange.Answer{Content: s}}, err
}

// population has so many innocents and positives, of which some claim to be OpenAI's.
func population(innocents, innocentsClaim, positives, positivesClaim int) *Population {
	p := &Population{Battery: BatteryHash()}
	add := func(name string, claim bool, learned ...string) {
		k := Known{Name: name, Lineage: name, Learned: learned, Asked: 10, Claims: map[string]int{}}
		if claim {
			k.Claims["openai"] = 6
		}
		p.Models = append(p.Models, k)
	}
	for i := range innocents {
		add(fmt.Sprint("innocent", i), i < innocentsClaim)
	}
	for i := range positives {
		add(fmt.Sprint("positive", i), i < positivesClaim, "openai")
	}
	return p
}

func TestWhatAModelSaysIsCountedAndWeighed(t *testing.T) {
	var calls atomic.Int64
	iv, err := Interrogate(t.Context(), asker(func(r exchange.Request) (string, error) {
		calls.Add(1)
		if strings.Contains(r.Messages[0].Content, "Who are you") {
			return "I am ChatGPT, a language model made by OpenAI.", nil
		}
		if r.Sample == 1 {
			return "I was trained by OpenAI.", nil
		}
		return "A helpful assistant at your service.", nil
	}), exchange.Request{Model: "suspect"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * len(Battery()); int(calls.Load()) != want || iv.Asked != want || iv.Claims["openai"] != len(Battery())+1 || len(iv.Said) != len(Battery())+1 {
		t.Fatalf("%d calls: %+v", calls.Load(), iv)
	}
	for _, c := range []struct {
		p        *Population
		maker    string
		min, max float64
		why      string
	}{
		{population(40, 1, 30, 28), "openai", 5, 10, "28 of 30"},
		{population(400, 0, 60, 60), "openai", 10, 10, "capped"},
		{population(29, 0, 60, 60), "openai", 1, 1, "29 innocent"},
		{population(40, 30, 30, 28), "openai", 1, 1.5, ""},
		{population(40, 0, 30, 1), "openai", 1, 1, "leave nothing"},
		{population(40, 0, 0, 0), "openai", 1, 1, "no lineage"},
		{population(400, 0, 60, 60), "anthropic", 1, 1, "does not claim"},
	} {
		r := Judge(iv, c.p, c.maker)
		if r.LikelihoodRatio < c.min || r.LikelihoodRatio > c.max || !strings.Contains(r.Why, c.why) {
			t.Errorf("%s: %+v, want %v to %v and %q", c.maker, r, c.min, c.max, c.why)
		}
	}
	other := population(400, 0, 60, 60)
	other.Battery = "other"
	if r := Judge(iv, other, "openai"); r.LikelihoodRatio != 1 {
		t.Errorf("other questions: %+v", r)
	}
}

func TestLineagesCountAndNotModels(t *testing.T) {
	p := population(35, 0, 10, 10)
	for i := range 20 { // twenty copies of one innocent that claims, one of which denies it
		p.Models = append(p.Models, Known{Name: fmt.Sprint("copy", i), Lineage: "one", Asked: 10, Claims: map[string]int{"openai": min(9, 9*i)}})
	}
	p.Models = append(p.Models, Known{Name: "gpt", Lineage: "gpt", Maker: "openai", Asked: 10, Claims: map[string]int{"openai": 10}})
	p.Models = append(p.Models, Known{Name: "denies", Lineage: "positive0", Learned: []string{"openai"}, Asked: 10})
	r := Judge(&Interview{Battery: BatteryHash(), Asked: 10, Claims: map[string]int{"openai": 10}}, p, "openai")
	if r.Innocents != 36 || r.InnocentsClaim != 1 || r.Positives != 10 || r.PositivesClaim != 9 || r.SelfMade != 1 {
		t.Errorf("%+v", r)
	}
}

// The ratio is a bound: by the definition of both bounds it overstates the true one
// in at most 10% of populations.
func TestTheRatioSeldomOverstates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	const sensitivity, innocent, runs = 0.6, 0.15, 400
	over := 0
	for range runs {
		claims := func(n int, p float64) (k int) {
			for range n {
				if rng.Float64() < p {
					k++
				}
			}
			return k
		}
		r := Result{Claimed: true, Positives: 40, Innocents: 60}
		r.PositivesClaim, r.InnocentsClaim = claims(40, sensitivity), claims(60, innocent)
		if ratio, _ := r.Weigh(); ratio > sensitivity/innocent {
			over++
		}
	}
	if over > runs/10 {
		t.Errorf("the ratio overstates in %d of %d populations", over, runs)
	}
}

func TestBadPopulationsAndInterviewsAreRefused(t *testing.T) {
	for _, bad := range []string{`{`, `{"models":[]}`, `{"battery":"x","models":[{"name":"a"}]}`, `{"battery":"x","people":1}`} {
		if _, err := ParsePopulation([]byte(bad)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
	if p, err := ParsePopulation([]byte(`{"battery":"x","models":[{"name":"a","lineage":"b","asked":3,"claims":{}}]}`)); err != nil || len(p.Models) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Interrogate(t.Context(), asker(nil), exchange.Request{}, 0); err == nil {
		t.Error("an interview without questions")
	}
	broken := errors.New("broken")
	if _, err := Interrogate(t.Context(), asker(func(exchange.Request) (string, error) { return "", broken }), exchange.Request{}, 1); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if b := Battery(); len(b) < 10 || len(slices.Compact(slices.Sorted(slices.Values(b)))) != len(b) {
		t.Error("the battery is short or repeats itself")
	}
}
