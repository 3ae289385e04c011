package terms

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
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
	return g.first(func(r Row) bool { return r.ID == id })
}

// Row returns the row with an id; the error is ErrUnknownRow.
func (g *Registry) Row(id string) (Row, error) {
	if r, ok := g.byID(id); ok {
		return r, nil
	}
	return Row{}, fmt.Errorf("terms row %q: %w; rows are %s", id, ErrUnknownRow, strings.Join(g.IDs(), ", "))
}

// IDs are the ids of the rows.
func (g *Registry) IDs() []string {
	ids := make([]string, len(g.rows))
	for i, r := range g.rows {
		ids[i] = r.ID
	}
	return ids
}

// Lookup finds the row that governs a source. A row that the recipe states is
// taken, unless the address or the model is governed by another document that
// does not allow everything: a statement cannot set that aside, an override or
// an agreement that names the address or the model can. What is known from
// nothing gets a row whose decision is Review.
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
	if known && found.ID != stated.ID && found.Default != Allow && !onHost(host(s.BaseURL), stated.Hosts) &&
		!(stated.SHA256 != "" && stated.names(modelName(s.Model))) {
		return Row{}, fmt.Errorf("terms row %q does not apply: %s is governed by row %q (%s); an agreement of your own applies if its file names the address under hosts or the model under models",
			stated.ID, s.describe(), found.ID, found.Document)
	}
	return stated, nil
}

// find returns the row that the source itself points to: the provider's by the
// model's name or by the host, whichever is stricter; else that of weights on a
// server of one's own.
func (g *Registry) find(s Source) (Row, bool) {
	name, h, own := modelName(s.Model), host(s.BaseURL), isOwn(s)
	model, byModel := g.first(func(r Row) bool { return r.Anywhere && r.names(name) })
	server, byHost := g.first(func(r Row) bool { return onHost(h, r.Hosts) })
	switch {
	case byModel && byHost && strictness(model.Default) <= strictness(server.Default), byHost && !byModel:
		return server, true
	case byModel:
		return model, true
	}
	for _, match := range []func(Row) bool{
		func(r Row) bool { return s.Provider != "" && s.Provider == r.Provider },
		func(r Row) bool { return own && r.names(name) },
		func(r Row) bool { return own && r.ID == SelfHosted },
	} {
		if r, ok := g.first(match); ok {
			return r, true
		}
	}
	return Row{}, false
}

func (g *Registry) first(match func(Row) bool) (Row, bool) {
	for _, r := range g.rows {
		if match(r) {
			return r, true
		}
	}
	return Row{}, false
}

func (s Source) describe() string {
	return fmt.Sprintf("model %q at %s", s.Model, s.BaseURL)
}

// unknownID is the id of the row of what is known from nothing.
const unknownID = "unknown"

func unknown(s Source) Row {
	return Row{
		ID: unknownID, Provider: s.Provider, Basis: "none", Default: Review,
		Reason: fmt.Sprintf("nothing is known about the terms of %s", s.describe()),
	}
}

// modelName is a model's name in lower case, without an organisation, the way
// to a file, and what Bedrock puts before it; Ollama's colon is a hyphen.
func modelName(s string) string {
	s = strings.ToLower(s)
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	for _, region := range []string{"us.", "eu.", "apac.", "global."} {
		s = strings.TrimPrefix(s, region)
	}
	return strings.ReplaceAll(s, ":", "-")
}

// names reports whether the name begins with one of the row's and goes on, if
// it does, with neither letter nor digit. A further number after a point is
// another version: one that a row which allows has not heard of is not its.
func (r Row) names(name string) bool {
	return slices.ContainsFunc(r.Models, func(p string) bool {
		rest, ok := strings.CutPrefix(name, p)
		switch {
		case !ok:
			return false
		case rest == "":
			return true
		case rest[0] == '.' && len(rest) > 1 && isDigit(rest[1]):
			return r.Default != Allow
		}
		return !(rest[0] >= 'a' && rest[0] <= 'z' || isDigit(rest[0]))
	})
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// onHost reports whether a host is one of those listed or below it. A star in
// a listed name stands for letters, digits and hyphens.
func onHost(h string, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(x string) bool {
		labels, listed := strings.Split(h, "."), strings.Split(x, ".")
		if len(labels) < len(listed) {
			return false
		}
		labels = labels[len(labels)-len(listed):]
		for i, l := range listed {
			before, after, star := strings.Cut(l, "*")
			if !star && l != labels[i] || star && !(len(labels[i]) > len(before)+len(after) && strings.HasPrefix(labels[i], before) && strings.HasSuffix(labels[i], after)) {
				return false
			}
		}
		return true
	})
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
