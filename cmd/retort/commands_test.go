package main

import (
	"slices"
	"testing"
)

func TestEveryRegisteredCommandHasItsPlaceInTheHelp(t *testing.T) {
	var placed []string
	for _, g := range groups {
		placed = append(placed, g.commands...)
	}
	a := &app{}
	seen := map[string]bool{}
	for _, make := range makers {
		name := make(a).Name()
		if seen[name] {
			t.Errorf("%s is registered twice", name)
		}
		seen[name] = true
		if !slices.Contains(placed, name) {
			t.Errorf("%s is registered, but groups does not name it, so that it is not reachable", name)
		}
	}
}
