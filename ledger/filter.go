package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"retort/exchange"
)

// Filter selects exchanges. Its zero value selects all; fields that are set
// must all hold.
type Filter struct {
	ID     exchange.ID // this exchange alone
	Run    string
	Stage  string
	Family string
	Model  string // the model asked or the model that answered
	// Status is "ok", "failed", an error class such as "rate_limited" or
	// "unended", an HTTP status such as "429", or a class of them such as
	// "5xx".
	Status  string
	MinCost exchange.Pico // at least
	MaxCost exchange.Pico // at most; 0 for no bound
	Since   int64         // queued at or after, UTC nanoseconds; 0 for no bound
	Until   int64         // queued before; 0 for no bound
}

var classes = []exchange.ErrorClass{
	exchange.ClassRateLimited, exchange.ClassServer, exchange.ClassNetwork, exchange.ClassTimeout,
	exchange.ClassMalformed, exchange.ClassAuth, exchange.ClassNotFound, exchange.ClassInvalid,
	exchange.ClassQuota, exchange.ClassCancelled, exchange.ClassUnended,
}

// Validate refuses what can match nothing.
func (f *Filter) Validate() error {
	if f.MaxCost < 0 || f.MinCost < 0 || f.MaxCost > 0 && f.MinCost > f.MaxCost {
		return fmt.Errorf("filter by cost from %s to %s matches nothing", f.MinCost, f.MaxCost)
	}
	if f.Until > 0 && f.Since >= f.Until {
		return fmt.Errorf("filter by time ends before it begins")
	}
	switch {
	case f.Status == "", f.Status == "ok", f.Status == "failed", slices.Contains(classes, exchange.ErrorClass(f.Status)):
		return nil
	case len(f.Status) == 3 && f.Status[0] >= '1' && f.Status[0] <= '5' && f.Status[1:] == "xx":
		return nil
	}
	if n, err := strconv.Atoi(f.Status); err == nil && n >= 100 && n <= 599 {
		return nil
	}
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = string(c)
	}
	return fmt.Errorf("filter by status %q: want ok, failed, an HTTP status such as 429 or 5xx, or one of %s", f.Status, strings.Join(names, ", "))
}

// Match reports whether the filter selects e.
func (f *Filter) Match(e *exchange.Exchange) bool {
	switch {
	case !f.ID.IsZero() && e.ID != f.ID,
		f.Run != "" && e.Run != f.Run,
		f.Stage != "" && e.Stage != f.Stage,
		f.Family != "" && e.Family != f.Family,
		f.Model != "" && e.ModelAsked != f.Model && e.ModelAnswered != f.Model,
		e.Cost < f.MinCost,
		f.MaxCost > 0 && e.Cost > f.MaxCost,
		f.Since > 0 && e.Times.Queued < f.Since,
		f.Until > 0 && e.Times.Queued >= f.Until:
		return false
	}
	switch {
	case f.Status == "":
		return true
	case f.Status == "ok":
		return e.OK()
	case f.Status == "failed":
		return !e.OK()
	case f.Status[1:] == "xx":
		return e.Status/100 == int(f.Status[0]-'0')
	case f.Status[0] >= '0' && f.Status[0] <= '9':
		return strconv.Itoa(e.Status) == f.Status
	}
	return string(e.ErrorClass) == f.Status
}

// Status is the word by which an exchange's outcome is shown and filtered: "ok",
// its error class, or its HTTP status.
func Status(e *exchange.Exchange) string {
	switch {
	case e.OK():
		return "ok"
	case e.ErrorClass != "":
		return string(e.ErrorClass)
	}
	return strconv.Itoa(e.Status)
}
