package main

import (
	"fmt"
	"slices"

	"retort/watch/detect"
	"retort/watch/simulate"
)

// The seeds of what must not share accounts.
const (
	seedTrain     = 1000
	seedCalibrate = 2000
	seedHarvest   = 3000
	seedTest      = 4000
	seedPower     = 5000
)

// perDay is how much an account asks a day, about. Calibration and test accounts are
// of one pace: another is drift, and withholds verdicts.
const perDay = 25

// study is what is measured on.
type study struct {
	world     *simulate.World
	train     int // ordinary accounts that the score learns from
	calibrate int // ordinary accounts whose scores calibrate
	harvest   int // of each family, accounts that the score learns from
	calls     int // of each account
}

// benign are so many ordinary accounts, each an organisation of its own, as many of
// each kind; without the kind that is held out.
func (s *study) benign(seed uint64, n int, out simulate.Kind) (*simulate.Population, error) {
	kinds := simulate.Kinds()
	if out != "" {
		kinds = slices.DeleteFunc(kinds, func(k simulate.Kind) bool { return k == out })
	}
	cfg := simulate.Config{Seed: seed, Size: 1, PerDay: perDay, Organisations: make(map[simulate.Kind]int)}
	for i, k := range kinds {
		cfg.Organisations[k] = (n + i) / len(kinds)
	}
	return simulate.New(s.world, cfg)
}

// harvesters are so many campaigns of one account of each family.
func (s *study) harvesters(seed uint64, n int, families []simulate.Family, dilution float64) (*simulate.Population, error) {
	cfg := simulate.Config{Seed: seed}
	for _, f := range families {
		for range n {
			cfg.Campaigns = append(cfg.Campaigns, simulate.Campaign{Family: f, Accounts: 1, Dilution: dilution, PerDay: perDay})
		}
	}
	return simulate.New(s.world, cfg)
}

// each calls fn with every call of the accounts, one account after another.
func (s *study) each(p *simulate.Population, fn func(*simulate.Account, *detect.Event) error) error {
	for _, a := range p.Accounts {
		for range s.calls {
			c := a.Next()
			ev := c.Event()
			if err := fn(a, &ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// source is what a calibration is made of, without one family and without one kind.
func (s *study) source(out simulate.Family, without simulate.Kind) detect.Source {
	families := slices.DeleteFunc(simulate.Families(), func(f simulate.Family) bool { return f == out })
	return func(want func(detect.Role) bool, fn func(detect.Role, *detect.Event) error) error {
		give := func(role detect.Role, p *simulate.Population, err error) error {
			if err != nil {
				return err
			}
			return s.each(p, func(_ *simulate.Account, ev *detect.Event) error { return fn(role, ev) })
		}
		if want(detect.RoleTrain) {
			p, err := s.benign(seedTrain, s.train, without)
			if err := give(detect.RoleTrain, p, err); err != nil {
				return err
			}
		}
		if want(detect.RoleHarvest) {
			for i, dilution := range []float64{0, 0.5, 0.8} { // also as they hide
				p, err := s.harvesters(seedHarvest+uint64(i), s.harvest/(1+i), families, dilution)
				for _, a := range p.Accounts {
					a.Name = fmt.Sprintf("%s-%d", a.Name, i)
				}
				if err := give(detect.RoleHarvest, p, err); err != nil {
					return err
				}
			}
		}
		if want(detect.RoleCalibrate) {
			p, err := s.benign(seedCalibrate, s.calibrate, without)
			for _, a := range p.Accounts {
				a.Name = "c-" + a.Name
			}
			if err := give(detect.RoleCalibrate, p, err); err != nil {
				return err
			}
		}
		return nil
	}
}

// judged gives the accounts' results.
func (s *study) judged(c *detect.Calibration, p *simulate.Population, level float64) (map[string]detect.Account, error) {
	d, err := detect.NewDetector(c)
	if err != nil {
		return nil, err
	}
	if err := s.each(p, func(_ *simulate.Account, ev *detect.Event) error { d.Add(ev); return nil }); err != nil {
		return nil, err
	}
	r, err := d.Report(detect.Options{Level: level})
	if err != nil {
		return nil, err
	}
	out := make(map[string]detect.Account, len(r.Accounts))
	for _, a := range r.Accounts {
		out[a.Account] = a
	}
	return out, nil
}
