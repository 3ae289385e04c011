package price

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrUnknown says that the book has no price for a model.
var ErrUnknown = errors.New("price is not known")

// AnyModel in an Entry stands for every model of the provider that has no
// entry of its own.
const AnyModel = "*"

// The providers that the default book knows.
const (
	Reference  = "reference"   // the built-in reference teacher
	SelfHosted = "self-hosted" // a server of one's own; to be looked up only where the recipe says that it is one
)

// Entry is one line of a price book.
type Entry struct {
	Provider string
	Model    string    // or AnyModel
	From     time.Time // the price is valid from then until the next entry of the same model
	Price    Price
}

// Book is an effective-dated price list. It is immutable.
type Book struct {
	entries []Entry // by provider, model, date
}

// NewBook makes a book. Two entries of one model may not start at one time.
func NewBook(entries ...Entry) (*Book, error) {
	b := &Book{entries: slices.Clone(entries)}
	slices.SortFunc(b.entries, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Provider, y.Provider), cmp.Compare(x.Model, y.Model), x.From.Compare(y.From))
	})
	for i, e := range b.entries {
		switch {
		case e.Provider == "" || e.Model == "" || e.Price.ID == "":
			return nil, fmt.Errorf("price book: an entry lacks a provider, a model or an id: %+v", e)
		case e.Price.Input < 0 || e.Price.CachedInput < 0 || e.Price.Output < 0 || e.Price.CacheWrite < 0 || e.Price.CacheWriteLong < 0:
			return nil, fmt.Errorf("price book: %s has a negative price", e.Price.ID)
		}
		if i > 0 {
			if p := b.entries[i-1]; p.Provider == e.Provider && p.Model == e.Model && p.From.Equal(e.From) {
				return nil, fmt.Errorf("price book: %s and %s are both valid from %s", p.Price.ID, e.Price.ID, e.From.Format(time.DateOnly))
			}
		}
	}
	return b, nil
}

// Default is the book that comes with the program. It is short: a price list
// of others that nobody keeps up to date would be worse than none.
func Default() *Book { return defaultBook }

var defaultBook = func() *Book {
	b, err := NewBook(
		// Neither zero nor round, so that an error in our books shows.
		Entry{Provider: Reference, Model: AnyModel, Price: Price{
			ID: "reference", Input: 273_019, CachedInput: 68_255, Output: 1_096_997, CacheWrite: 341_281, CacheWriteLong: 546_041,
		}},
		Entry{Provider: SelfHosted, Model: AnyModel, Price: Price{ID: "self-hosted"}},
	)
	if err != nil {
		panic(err) // the rows above are constants, and tested
	}
	return b
}()

// Lookup returns the price of a model at a time: of the model's own entries,
// else of the provider's for any model, the latest that is valid by then. It
// returns ErrUnknown, and what to write into a recipe, where there is none.
func (b *Book) Lookup(provider, model string, at time.Time) (Price, error) {
	var later *Entry
	for _, m := range []string{model, AnyModel} {
		var found *Entry
		for i := range b.entries {
			e := &b.entries[i]
			switch {
			case e.Provider != provider || e.Model != m:
			case !e.From.After(at):
				found = e
			case later == nil:
				later = e
			}
		}
		if found != nil {
			return found.Price, nil
		}
	}
	hint := "write what its provider charges, in US dollars per million tokens, into the recipe: `teacher: {price: {input: …, output: …}}` " +
		"(`{input: 0, output: 0}` for a server of your own)"
	if later != nil {
		return Price{}, fmt.Errorf("%w for model %q of %s at %s: the first entry starts on %s; %s",
			ErrUnknown, model, provider, at.Format(time.DateOnly), later.From.Format(time.DateOnly), hint)
	}
	return Price{}, fmt.Errorf("%w for model %q of %s: %s", ErrUnknown, model, provider, hint)
}
