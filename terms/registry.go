package terms

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrUnknownRow says that a recipe names a row that the registry lacks.
var ErrUnknownRow = errors.New("there is no such terms row")

// Source says where answers come from, for finding the row that governs them.
type Source struct {
	Row      string // the row that the recipe states; "" to find it from the rest
	Provider string
	BaseURL  string
	Model    string
}

// Registry is a set of rows. It is immutable.
type Registry struct {
	rows []Row
}

// NewRegistry makes a registry. Rows are looked through in the given order.
func NewRegistry(rows ...Row) (*Registry, error) {
	g := &Registry{}
	for _, r := range rows {
		if err := r.validate(); err != nil {
			return nil, err
		}
		if _, err := time.Parse(time.DateOnly, r.Expires); r.Expires != "" && err != nil {
			return nil, fmt.Errorf("terms row %q: expires %q is not a day such as 2027-01-31", r.ID, r.Expires)
		}
		if _, ok := g.byID(r.ID); ok {
			return nil, fmt.Errorf("terms: two rows are called %q", r.ID)
		}
		g.rows = append(g.rows, r)
	}
	return g, nil
}

// With returns a registry that has further rows, such as a user's own
// agreements.
func (g *Registry) With(rows ...Row) (*Registry, error) {
	return NewRegistry(slices.Concat(g.rows, rows)...)
}

// Rows returns all rows.
func (g *Registry) Rows() []Row { return slices.Clone(g.rows) }

func (g *Registry) byID(id string) (Row, bool) {
	for _, r := range g.rows {
		if r.ID == id {
			return r, true
		}
	}
	return Row{}, false
}

// Lookup finds the row that governs a source. A row that the recipe states is
// taken, unless the address or the model is governed by another provider's
// document: a statement cannot set that aside. What is known from nothing gets
// a row whose decision is Review.
func (g *Registry) Lookup(s Source) (Row, error) {
	found, known := g.find(s)
	if s.Row == "" {
		if !known {
			found = unknown(s)
		}
		return found, nil
	}
	stated, err := g.Row(s.Row)
	if err != nil {
		return Row{}, err
	}
	if known && found.ID != stated.ID && found.Default == Block && !onHost(host(s.BaseURL), stated.Hosts) {
		return Row{}, fmt.Errorf("terms row %q does not apply: %s is governed by row %q (%s)", stated.ID, s.describe(), found.ID, found.Document)
	}
	return stated, nil
}

// Row returns the row with an id; the error is ErrUnknownRow.
func (g *Registry) Row(id string) (Row, error) {
	if r, ok := g.byID(id); ok {
		return r, nil
	}
	ids := make([]string, len(g.rows))
	for i, r := range g.rows {
		ids[i] = r.ID
	}
	return Row{}, fmt.Errorf("terms row %q: %w; rows are %s", id, ErrUnknownRow, strings.Join(ids, ", "))
}

// find returns the row that the source itself points to. Rows that refuse are
// looked at first, and a model's row before its host's.
func (g *Registry) find(s Source) (Row, bool) {
	name := strings.ToLower(s.Model)
	name = name[strings.LastIndexByte(name, '/')+1:]
	h, own := host(s.BaseURL), isOwn(s)
	matches := []func(Row) bool{
		func(r Row) bool { return r.Anywhere && hasPrefix(name, r.Models) },
		func(r Row) bool { return h != "" && onHost(h, r.Hosts) },
		func(r Row) bool { return s.Provider != "" && s.Provider == r.Provider },
		func(r Row) bool { return own && hasPrefix(name, r.Models) },
		func(r Row) bool { return own && r.ID == SelfHosted },
	}
	for _, match := range matches {
		for _, r := range g.rows {
			if match(r) {
				return r, true
			}
		}
	}
	return Row{}, false
}

func (s Source) describe() string {
	return fmt.Sprintf("model %q at %s", s.Model, s.BaseURL)
}

func unknown(s Source) Row {
	return Row{
		ID: "unknown", Provider: s.Provider, Basis: "none", Default: Review,
		Reason: fmt.Sprintf("nothing is known about the terms of %s", s.describe()),
	}
}

// hasPrefix reports whether the name begins with one of the prefixes and goes
// on, if it does, with neither letter nor digit.
func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		rest, ok := strings.CutPrefix(name, p)
		return ok && (rest == "" || !(rest[0] >= 'a' && rest[0] <= 'z' || rest[0] >= '0' && rest[0] <= '9'))
	})
}

func onHost(h string, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(x string) bool { return h == x || strings.HasSuffix(h, "."+x) })
}

// isOwn reports whether the address is one's own machine.
func isOwn(s Source) bool {
	h := host(s.BaseURL)
	if h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(h)
	return err == nil && ip.IsLoopback()
}

func host(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}
