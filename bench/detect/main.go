// Command detect asks whether detection finds simulated campaigns, whom it accuses
// wrongly, and how fast it is. Every figure is simulated. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"retort/internal/stat"
	"retort/watch/detect"
	"retort/watch/simulate"
)

func main() {
	var b bench
	data := flag.String("data", os.Getenv("RETORT_TESTDATA"), "a folder of real prompts and traces; without it excerpts are used")
	train := flag.String("train", "", "only train the score that is part of the program, into this file")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.IntVar(&b.study.calibrate, "calibrate", 60_000, "ordinary accounts whose scores calibrate")
	flag.IntVar(&b.study.train, "teach", 3000, "ordinary accounts that the score learns from")
	flag.IntVar(&b.attackers, "attackers", 400, "of each family")
	flag.IntVar(&b.innocent, "innocent", 10_000, "ordinary accounts that are tested")
	flag.IntVar(&b.ofKind, "kind", 1000, "ordinary accounts of each kind that is held out")
	flag.IntVar(&b.with, "with", 40, "populations with a campaign")
	flag.IntVar(&b.without, "without", 100, "populations without one")
	flag.IntVar(&b.days, "days", 2, "of a population")
	flag.IntVar(&b.replay, "replay", 200_000, "exchanges that are replayed")
	flag.Parse()
	world, err := simulate.Load(*data)
	if err == nil {
		b.world, b.harvest, b.calls = world, 150, 100
		if *train != "" {
			err = b.trainBuiltin(*train)
		} else {
			err = b.run(os.Stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/detect:", err)
		os.Exit(1)
	}
}

type bench struct {
	study
	record                          string
	attackers                       int
	innocent, ofKind, with, without int
	days, replay                    int
	figures                         map[string]float64
	spread                          map[string][2]float64
	material                        *detect.Material
	out                             io.Writer
}

// level of a lifetime alarm.
const level = 1e-3

func (b *bench) run(w io.Writer) error {
	b.figures, b.spread, b.out = make(map[string]float64), make(map[string][2]float64), w
	fmt.Fprintf(w, "Simulated accounts, %d cores, %s; real sets: %s\n", runtime.GOMAXPROCS(0), runtime.Version(), strings.Join(b.world.Real, ", "))
	begun := time.Now()
	if err := b.speed(); err != nil {
		return err
	}
	t := time.Now()
	var err error
	if b.material, err = detect.Gather(b.source("", "")); err != nil {
		return err
	}
	fmt.Fprintf(w, "gathered %d ordinary accounts to teach and %d to calibrate in %s\n", b.study.train, b.study.calibrate, time.Since(t).Round(time.Second))
	for _, part := range []func() error{b.power, b.innocence, b.held, b.campaigns, b.quiet} {
		t := time.Now()
		if err := part(); err != nil {
			return err
		}
		fmt.Fprintf(w, "(%s)\n", time.Since(t).Round(time.Second))
	}
	fmt.Fprintf(w, "all in %s\n", time.Since(begun).Round(time.Second))
	line, err := json.Marshal(map[string]any{"bench": "detect", "figures": b.figures, "spread": b.spread})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", line)
	if b.record != "" {
		f, err := os.OpenFile(b.record, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = fmt.Fprintf(f, "\n## detect, %s (simulated)\n\n    %s\n", time.Now().UTC().Format(time.DateOnly), line)
		return err
	}
	return nil
}

// kindOf is the kind or the family of an account, by the name that the simulator gave.
func kindOf(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "c-"), "x-")
	for _, f := range simulate.Families() {
		if strings.HasPrefix(name, string(f)+"-") {
			return string(f)
		}
	}
	for _, k := range simulate.Kinds() {
		if strings.HasPrefix(name, string(k)+"-") {
			return string(k)
		}
	}
	return ""
}

// calibration is the one that lacks a family or a kind.
func (b *bench) calibration(out string) (*detect.Calibration, error) {
	return b.material.Calibrate(detect.CalibrateOptions{Source: "simulated accounts", Simulated: true, SimulatedHarvests: true, Level: level, Now: time.Unix(0, 0)},
		func(_ detect.Role, account string) bool { return kindOf(account) != out })
}

// share is a proportion with its interval.
func share(k, n int) string {
	i := stat.Wilson(k, n, 0.95)
	return fmt.Sprintf("%d of %d, %.1f%% (%.1f to %.1f)", k, n, 100*float64(k)/float64(max(1, n)), 100*i.Lo, 100*i.Hi)
}

// power holds each family out of all tuning in its turn.
func (b *bench) power() error {
	fmt.Fprintf(b.out, "\npower: accounts of 100 exchanges at a lifetime level of %g, their family held out of all tuning (simulated)\n", level)
	worst, name := 2.0, ""
	for _, f := range simulate.Families() {
		c, err := b.calibration(string(f))
		if err != nil {
			return err
		}
		if f == simulate.Families()[0] {
			fmt.Fprintf(b.out, "  segments of like use have %v calibration accounts\n", c.Sizes())
		}
		for _, dilution := range []float64{0, 0.5, 0.9, 0.9999} { // of the last nothing is left: a control
			p, err := b.harvesters(seedPower, b.attackers, []simulate.Family{f}, dilution)
			if err != nil {
				return err
			}
			res, err := b.judged(c, p, level)
			if err != nil {
				return err
			}
			found, first := 0, map[int]int{}
			for _, a := range res {
				if a.Alarm {
					found++
					for _, l := range a.Looks {
						if l.Level > 0 && l.P <= l.Level*(1+1e-9) {
							first[l.Exchanges]++
							break
						}
					}
				}
			}
			fmt.Fprintf(b.out, "  %-14s %2.0f%% of its calls its own: %s", f, 100*(1-dilution), share(found, len(p.Accounts)))
			fmt.Fprintf(b.out, "; at 25, 50, 100: %d, %d, %d\n", first[25], first[50], first[100])
			rate := float64(found) / float64(len(p.Accounts))
			if dilution == 0 && f == simulate.Drill {
				b.figures["pure_drill"] = rate
				i := stat.Wilson(found, len(p.Accounts), 0.95)
				b.spread["pure_drill"] = [2]float64{i.Lo, i.Hi}
			} else if dilution == 0 {
				if rate < worst {
					worst, name = rate, string(f)
					i := stat.Wilson(found, len(p.Accounts), 0.95)
					b.spread["pure_worst_family"] = [2]float64{i.Lo, i.Hi}
				}
			} else {
				key := fmt.Sprintf("diluted_%.0f_%s", 100*(1-dilution), f)
				b.figures[key] = rate
			}
		}
	}
	b.figures["pure_worst_family"] = worst
	fmt.Fprintf(b.out, "  worst: %s, %.1f%%\n", name, 100*worst)
	return nil
}

// alarms counts p-values at the latest look and alarms.
type alarms struct{ n, p10, p05, p01, alarm, withheld int }

func (c *alarms) add(a detect.Account) {
	c.n++
	p := a.Looks[len(a.Looks)-1].P
	for _, l := range []struct {
		at   float64
		into *int
	}{{0.1, &c.p10}, {0.05, &c.p05}, {0.01, &c.p01}} {
		if p <= l.at {
			*l.into++
		}
	}
	if a.Alarm {
		c.alarm++
	}
	if a.Withheld != "" {
		c.withheld++
	}
}

// String shows counts and what they may be: the 99% binomial quantile.
func (c *alarms) String() string {
	one := func(k int, p float64) string {
		most := stat.AtMost(c.n, p, 0.99)
		over := " "
		if k > most {
			over = "!"
		}
		return fmt.Sprintf("%5d/%-5d%s", k, most, over)
	}
	return fmt.Sprintf("%6d  %s %s %s %s", c.n, one(c.p10, 0.1), one(c.p05, 0.05), one(c.p01, 0.01), one(c.alarm, level))
}

const alarmHead = "  kind             n        ≤ 0.1      ≤ 0.05      ≤ 0.01      alarms  (count/at most; ! is above)"

// innocence counts false alarms per kind.
func (b *bench) innocence() error {
	c, err := b.calibration("nothing")
	if err != nil {
		return err
	}
	p, err := b.benign(seedTest, b.innocent, "")
	if err != nil {
		return err
	}
	res, err := b.judged(c, p, level)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\ninnocence: conformal p at 100 exchanges, and lifetime alarms at %g (simulated)\n%s\n", level, alarmHead)
	all, by := &alarms{}, make(map[simulate.Kind]*alarms)
	for _, a := range p.Accounts {
		r, ok := res[a.Name]
		if !ok {
			return fmt.Errorf("account %s has no result", a.Name)
		}
		if by[a.Kind] == nil {
			by[a.Kind] = &alarms{}
		}
		by[a.Kind].add(r)
		all.add(r)
	}
	over := 0
	for _, k := range simulate.Kinds() {
		fmt.Fprintf(b.out, "  %-12s %s\n", k, by[k])
		for _, l := range []struct {
			k int
			p float64
		}{{by[k].p10, 0.1}, {by[k].p05, 0.05}, {by[k].p01, 0.01}} {
			if l.k > stat.AtMost(by[k].n, l.p, 0.99) {
				over++
			}
		}
	}
	fmt.Fprintf(b.out, "  %-12s %s\n", "all", all)
	b.figures["false_alarms"], b.figures["false_alarms_at_most"] = float64(all.alarm), float64(stat.AtMost(all.n, level, 0.99))
	b.figures["kinds_over_bound"] = float64(over)
	return nil
}

// held leaves each kind out of calibration in its turn.
func (b *bench) held() error {
	fmt.Fprintf(b.out, "\neach kind held out of score and calibration (simulated)\n%s\n", alarmHead)
	hardest, most := "", -1.0
	for _, k := range simulate.Kinds() {
		c, err := b.calibration(string(k))
		if err != nil {
			return err
		}
		p, err := simulate.New(b.world, simulate.Config{Seed: seedTest + 1, Size: 1, PerDay: perDay, Organisations: map[simulate.Kind]int{k: b.ofKind}})
		if err != nil {
			return err
		}
		res, err := b.judged(c, p, level)
		if err != nil {
			return err
		}
		n := &alarms{}
		for _, a := range p.Accounts {
			n.add(res[a.Name])
		}
		note := ""
		if n.withheld > n.n/2 {
			note = "  verdicts withheld: drift"
		}
		fmt.Fprintf(b.out, "  %-12s %s%s\n", k, n, note)
		if rate := float64(n.p05) / float64(max(1, n.n)); rate > most {
			hardest, most = string(k), rate
		}
		b.figures["held_out_alarms_"+string(k)] = float64(n.alarm) / float64(max(1, n.n))
	}
	fmt.Fprintf(b.out, "  hardest: %s, p ≤ 0.05 for %.1f%%\n", hardest, 100*most)
	b.figures["hardest_kind_p05"] = most
	return nil
}

// Seeds of populations.
const (
	seedWith    = 10_000
	seedWithout = 20_000
)

// outcome is what one population came to.
type outcome struct {
	members, named, wrong, caught int
	exchanges                     int64
	segments                      string
}

// population judges 5,000 ordinary accounts beside 450 organisations that are known
// to be innocent, with a campaign of 300 accounts of 25 exchanges a day or without.
func (b *bench) population(c *detect.Calibration, seed uint64, campaign simulate.Family, days int) (outcome, error) {
	var o outcome
	cfg := simulate.Config{Seed: seed, PerDay: perDay, Organisations: make(map[simulate.Kind]int), Size: 6}
	for _, k := range simulate.Kinds() {
		cfg.Organisations[k] = 45 + 80
	}
	if campaign != "" {
		cfg.Campaigns = []simulate.Campaign{{Family: campaign, Accounts: 300, PerDay: perDay}}
	}
	p, err := simulate.New(b.world, cfg)
	if err != nil {
		return o, err
	}
	opt := detect.Options{Level: level, Organisations: make(map[string]string), Decoys: make(map[string]bool)}
	member := make(map[string]bool)
	orgs := make(map[string]int)
	for _, a := range p.Accounts {
		if a.Family != "" {
			member[a.Name] = true
			continue
		}
		if _, ok := orgs[a.Organisation]; !ok {
			orgs[a.Organisation] = len(orgs)
		}
		if orgs[a.Organisation]%125 < 45 {
			opt.Organisations[a.Name], opt.Decoys[a.Organisation] = a.Organisation, true
		}
	}
	d, err := detect.NewDetector(c)
	if err != nil {
		return o, err
	}
	until := simulate.Until{Time: time.Date(2026, 1, 5+days, 0, 0, 0, 0, time.UTC)}
	if err := p.Stream(until, func(call *simulate.Call) error {
		ev := call.Event()
		d.Add(&ev)
		o.exchanges++
		return nil
	}); err != nil {
		return o, err
	}
	r, err := d.Report(opt)
	if err != nil {
		return o, err
	}
	o.members = len(member)
	for _, a := range r.Accounts {
		if !a.Named {
			continue
		}
		o.named++
		if member[a.Account] {
			o.caught++
		} else {
			o.wrong++
		}
	}
	for i, s := range r.Segments {
		if s.Withheld != "" {
			o.segments += fmt.Sprintf(" segment %d %s;", i, s.Withheld)
		}
	}
	if os.Getenv("BENCH_DETECT_DEBUG") != "" {
		for i, g := range r.Campaigns {
			if i > 5 {
				break
			}
			n := map[string]int{}
			for _, name := range g.Accounts {
				n[kindOf(name)]++
			}
			fmt.Fprintf(b.out, "    group %d: %d accounts, score %.1f, e %.1f, collide %.3f of %.3f, %v\n", g.Number, len(g.Accounts), g.Score, g.E, g.Collide, g.Expected, n)
		}
		fmt.Fprintf(b.out, "    tested %d, decoys %d, accounts %d waiting %d\n", r.Tested, r.Decoys, r.Known, r.Waiting)
	}
	return o, nil
}

// campaigns measures recall and the false discovery proportion.
func (b *bench) campaigns() error {
	fmt.Fprintf(b.out, "\ncampaigns: 300 accounts of 25 exchanges a day among 5,000 ordinary ones and 450 innocent organisations, the family held out of all tuning, after %d days (simulated)\n", b.days)
	var recalls, fdps []float64
	by := make(map[simulate.Family][]float64)
	cals := make(map[simulate.Family]*detect.Calibration)
	wide := slices.DeleteFunc(simulate.Families(), func(f simulate.Family) bool { return f == simulate.Drill })
	for i := range b.with {
		f := wide[i%len(wide)]
		if cals[f] == nil {
			c, err := b.calibration(string(f))
			if err != nil {
				return err
			}
			cals[f] = c
		}
		o, err := b.population(cals[f], uint64(seedWith+i), f, b.days)
		if err != nil {
			return err
		}
		recall, fdp := float64(o.caught)/float64(max(1, o.members)), float64(o.wrong)/float64(max(1, o.named))
		recalls, fdps, by[f] = append(recalls, recall), append(fdps, fdp), append(by[f], recall)
		fmt.Fprintf(b.out, "  %2d %-14s %3d of %d members named, %d others; %d exchanges%s\n", i+1, f, o.caught, o.members, o.wrong, o.exchanges, o.segments)
	}
	if len(recalls) == 0 {
		return nil
	}
	for _, f := range slices.Sorted(maps.Keys(by)) {
		m, _, _ := mean(by[f])
		fmt.Fprintf(b.out, "  %-14s mean recall %.3f over %d populations\n", f, m, len(by[f]))
		b.figures["campaign_recall_"+string(f)] = m
	}
	m, lo, hi := mean(recalls)
	b.figures["campaign_recall"], b.spread["campaign_recall"] = m, [2]float64{lo, hi}
	fmt.Fprintf(b.out, "  recall %.3f (%.3f to %.3f)\n", m, lo, hi)
	m, lo, hi = mean(fdps)
	b.figures["fdr"], b.figures["fdr_upper"], b.spread["fdr"] = m, hi, [2]float64{lo, hi}
	fmt.Fprintf(b.out, "  mean false discovery proportion %.4f, 95%% upper bound %.4f, over %d populations\n", m, hi, len(fdps))
	return nil
}

// quiet are populations without a campaign.
func (b *bench) quiet() error {
	fmt.Fprintf(b.out, "\npopulations without a campaign (simulated)\n")
	c, err := b.calibration("nothing")
	if err != nil {
		return err
	}
	accused := 0
	for i := range b.without {
		o, err := b.population(c, uint64(seedWithout+i), "", b.days)
		if err != nil {
			return err
		}
		if o.named > 0 {
			accused++
			fmt.Fprintf(b.out, "  %d: %d ordinary accounts named\n", i+1, o.named)
		}
	}
	b.figures["null_populations_accused"], b.figures["null_populations"] = float64(accused), float64(b.without)
	fmt.Fprintf(b.out, "  any accusation in %d of %d; at most %d are to be expected at 5%%\n", accused, b.without, stat.AtMost(b.without, 0.05, 0.99))
	return nil
}

// mean of values with a 95% bootstrap interval.
func mean(v []float64) (m, lo, hi float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	i, err := stat.Bootstrap{Confidence: 0.95, Resamples: 4000, Seed: 1}.Difference(v, make([]float64, len(v)))
	if err != nil {
		return m, 0, 1
	}
	return m, i.Lo, i.Hi
}
