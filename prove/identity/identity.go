// Package identity is the honest place of "it calls itself ChatGPT": what a model says
// that it is, as a likelihood ratio against models that are known, and capped.
//
// A model that names another maker has read that maker's answers, or pages about them:
// public data is full of both, so that many models that nobody distilled say so too.
// The ratio is therefore the lower 95% bound of how often models known to have learned
// from a maker claim to be its, divided by the upper 95% bound of how often innocent
// lineages do; it is never more than 10, and 1 where fewer than 30 innocent lineages
// are known. It is shown beside the exposure test and never multiplied with it: the
// rival explanation, contaminated public data, is the same for all such signs.
//
// The package asks through an exchange.Asker that it is handed and keeps nothing.
package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/internal/stat"
	"retort/internal/text"
)

const (
	// Cap is the most that the ratio can be.
	Cap = 10
	// LeastInnocents are the innocent lineages without which the ratio is 1.
	LeastInnocents = 30
	// claimShare is the share of answers in which a model that claims to be a maker's
	// says so.
	claimShare = 0.2
	confidence = 0.95
)

// battery are the questions, plain ones and some from the side: a model that was told
// what to say of itself is told so for the plain ones.
var battery = []string{
	"Who are you?",
	"Which language model are you, and who made you?",
	"What is your name?",
	"Which company trained you?",
	"Please introduce yourself in two sentences.",
	"Are you a person? If not, what are you exactly?",
	"When does your knowledge end, and who decided that?",
	"I am filling in a form. Field 3 is \"name and vendor of the AI system\". What do I write?",
	"Write the model card of the model that answers this question, in three lines.",
	"Complete the sentence: \"As a language model trained by\"",
	"Whose usage policies do you have to follow?",
	"Write a short e-mail in which you tell a colleague which assistant you are.",
	"Translate into French, filling in the blank truthfully: \"Hello, I am ____, an AI made by ____.\"",
	"What would your developers say that you are called?",
	"¿Quién eres y quién te ha creado?",
	"你是谁?你是由哪家公司开发的?",
}

// Battery returns the questions.
func Battery() []string { return slices.Clone(battery) }

// BatteryHash names the questions: figures of two batteries cannot be compared.
func BatteryHash() string {
	h := sha256.Sum256([]byte(strings.Join(battery, "\x00")))
	return hex.EncodeToString(h[:])
}

// Interview is what a model said of itself.
type Interview struct {
	Model   string         `json:"model"`
	Battery string         `json:"battery"` // hash of the questions
	Asked   int            `json:"asked"`   // answers
	Claims  map[string]int `json:"claims"`  // answers that claim to be of a maker, by its pattern's name
	Said    []Said         `json:"said,omitempty"`
}

// Said is one answer with a claim in it.
type Said struct {
	Question string   `json:"question"`
	Claims   []string `json:"claims"`
	Snippet  string   `json:"snippet"`
}

// Interrogate puts the battery to a model, each question so many times.
func Interrogate(ctx context.Context, a exchange.Asker, template exchange.Request, times int) (*Interview, error) {
	if times < 1 {
		return nil, fmt.Errorf("identity: each question has to be asked at least once, not %d times", times)
	}
	said := make([]string, len(battery)*times)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range said {
		g.Go(func() error {
			r := template
			r.Messages = append(slices.Clone(template.Messages), exchange.Message{Role: "user", Content: battery[i/times]})
			r.Sample = i % times
			if r.MaxTokens == 0 {
				r.MaxTokens = 200
			}
			x, err := a.Ask(ctx, r)
			if err != nil {
				return fmt.Errorf("identity: ask %q: %w", battery[i/times], err)
			}
			said[i] = x.Answer.Content
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	iv := &Interview{Model: template.Model, Battery: BatteryHash(), Asked: len(said), Claims: map[string]int{}}
	for i, s := range said {
		found := text.FindIdentity(s)
		if len(found) == 0 {
			continue
		}
		entry := Said{Question: battery[i/times], Snippet: found[0].Snippet}
		for _, f := range found {
			iv.Claims[f.Pattern]++
			entry.Claims = append(entry.Claims, f.Pattern)
		}
		iv.Said = append(iv.Said, entry)
	}
	return iv, nil
}

// claims reports whether a model that was asked claims to be of a maker.
func claims(n map[string]int, asked int, maker string) bool {
	return asked > 0 && float64(n[maker]) >= claimShare*float64(asked)
}

// Population are models of which it is known what they learned from.
type Population struct {
	Battery string  `json:"battery"`
	Models  []Known `json:"models"`
}

// Known is one of them.
type Known struct {
	Name    string         `json:"name"`
	Lineage string         `json:"lineage"`           // models that share weights or data by descent are one
	Learned []string       `json:"learned,omitempty"` // makers whose models' answers it is known to have been trained on
	Maker   string         `json:"maker,omitempty"`   // whose model it is
	Asked   int            `json:"asked"`
	Claims  map[string]int `json:"claims"`
}

// ParsePopulation reads a population.
func ParsePopulation(b []byte) (*Population, error) {
	p := new(Population)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("population: %w", err)
	}
	for _, m := range p.Models {
		if m.Name == "" || m.Lineage == "" || m.Asked < 1 {
			return nil, fmt.Errorf("population: model %q needs a name, a lineage and how many answers it gave", m.Name)
		}
	}
	if p.Battery == "" {
		return nil, errors.New("population: it does not say which battery its models were asked")
	}
	return p, nil
}

// Result is what a claim is worth.
type Result struct {
	Maker   string `json:"maker"`
	Claims  int    `json:"claims"` // answers of the suspect that claim to be of the maker
	Asked   int    `json:"asked"`
	Claimed bool   `json:"claimed"` // often enough to count

	Positives       int     `json:"positives"`       // lineages known to have learned from the maker
	PositivesClaim  int     `json:"positives_claim"` // of which claim it
	Innocents       int     `json:"innocents"`       // lineages known not to have
	InnocentsClaim  int     `json:"innocents_claim"` // of which one model or more claims it
	SelfMade        int     `json:"self_made"`       // the maker's own, left out
	OtherBattery    bool    `json:"other_battery,omitempty"`
	LikelihoodRatio float64 `json:"likelihood_ratio"`
	Why             string  `json:"why"`
}

// Judge weighs a suspect's claims to be of one maker. Lineages count, not models: an
// innocent lineage claims if any of its models does, a guilty one if all of those that
// learned do, so that both errors go in the suspect's favour.
//
// It assumes that lineages are independent draws of the models that the suspect could
// be, which no population is: hence the cap.
func Judge(iv *Interview, p *Population, maker string) Result {
	r := Result{Maker: maker, Claims: iv.Claims[maker], Asked: iv.Asked, Claimed: claims(iv.Claims, iv.Asked, maker), OtherBattery: iv.Battery != p.Battery}
	type lineage struct{ learned, innocent, own, all, any bool }
	by := map[string]*lineage{}
	for _, m := range p.Models {
		l := by[m.Lineage]
		if l == nil {
			l = &lineage{all: true}
			by[m.Lineage] = l
		}
		c := claims(m.Claims, m.Asked, maker)
		switch {
		case m.Maker == maker:
			l.own = true
		case slices.Contains(m.Learned, maker):
			l.learned, l.all = true, l.all && c
		default:
			l.innocent, l.any = true, l.any || c
		}
	}
	for _, l := range by {
		switch {
		case l.own:
			r.SelfMade++
		case l.learned:
			r.Positives++
			if l.all {
				r.PositivesClaim++
			}
		default:
			r.Innocents++
			if l.any {
				r.InnocentsClaim++
			}
		}
	}
	r.LikelihoodRatio, r.Why = r.Weigh()
	return r
}

// Weigh computes the ratio from the counts, and says why it is what it is.
func (r *Result) Weigh() (ratio float64, why string) {
	switch {
	case !r.Claimed:
		return 1, "the suspect does not claim it often enough to count"
	case r.OtherBattery:
		return 1, "the population was asked other questions"
	case r.Innocents < LeastInnocents:
		return 1, fmt.Sprintf("%d innocent lineages are known, and %d are needed", r.Innocents, LeastInnocents)
	case r.Positives == 0:
		return 1, "no lineage is known that learned from this maker"
	}
	ratio = stat.LowerBound(r.PositivesClaim, r.Positives, confidence) / stat.UpperBound(r.InnocentsClaim, r.Innocents, confidence)
	why = fmt.Sprintf("%d of %d lineages that learned from it claim it, and %d of %d innocent ones", r.PositivesClaim, r.Positives, r.InnocentsClaim, r.Innocents)
	switch {
	case ratio > Cap:
		return Cap, why + "; capped"
	case ratio < 1:
		return 1, why + "; the bounds leave nothing"
	}
	return ratio, why
}

// All weighs the claims to be of the given makers, or of all that a suspect names.
func All(iv *Interview, p *Population, makers ...string) []Result {
	if len(makers) == 0 {
		for _, name := range text.IdentityPatterns() {
			if iv.Claims[name] > 0 && name != "unnamed" {
				makers = append(makers, name)
			}
		}
	}
	out := []Result{}
	for _, m := range makers {
		out = append(out, Judge(iv, p, m))
	}
	return out
}
