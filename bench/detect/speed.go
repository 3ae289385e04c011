package main

import (
	"fmt"
	"slices"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/watch/detect"
	"retort/watch/simulate"
)

// rounds of a timing.
const rounds = 5

// speed replays exchanges, with their bodies as on the wire, and measures the state
// of accounts.
func (b *bench) speed() error {
	cfg := simulate.Config{Seed: 77, Organisations: make(map[simulate.Kind]int), Campaigns: []simulate.Campaign{{Family: simulate.Harvest, Accounts: 100}, {Family: simulate.Sweep, Accounts: 100}}}
	for _, k := range simulate.Kinds() {
		cfg.Organisations[k] = 40
	}
	p, err := simulate.New(b.world, cfg)
	if err != nil {
		return err
	}
	var recs []ledger.Record
	var list []*exchange.Exchange
	bytes := 0
	done := fmt.Errorf("enough")
	err = p.Stream(simulate.Until{Calls: 1 << 30}, func(c *simulate.Call) error {
		e, err := c.Exchange(nil)
		if err != nil {
			return err
		}
		intent, err := ledger.NewIntent(e)
		if err != nil {
			return err
		}
		end, err := ledger.NewEnd(e)
		if err != nil {
			return err
		}
		recs = append(recs, intent, end)
		list = append(list, e)
		bytes += len(e.RequestBody)
		if len(list) == b.replay {
			return done
		}
		return nil
	})
	if err != nil && err != done {
		return err
	}
	var exchanges, records []float64
	largest := 0
	for range rounds {
		d, err := detect.NewDetector(nil)
		if err != nil {
			return err
		}
		t := time.Now()
		if err := d.Ahead(func() error {
			for _, e := range list {
				d.Exchange(e)
			}
			return nil
		}); err != nil {
			return err
		}
		exchanges = append(exchanges, float64(len(list))/time.Since(t).Seconds())
		if d, err = detect.NewDetector(nil); err != nil {
			return err
		}
		t = time.Now()
		if err := d.Ahead(func() error {
			for i := range recs {
				if err := d.Record(recs[i]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		records = append(records, float64(len(list))/time.Since(t).Seconds())
		for _, a := range p.Accounts {
			n, err := d.StateBytes(a.Name)
			if err != nil {
				return err
			}
			largest = max(largest, n)
		}
	}
	slices.Sort(exchanges)
	slices.Sort(records)
	fmt.Fprintf(b.out, "replay of %d exchanges with bodies of %d bytes on average: %.0f exchanges/s (%.0f to %.0f), as records of a ledger %.0f/s; state of an account at most %d bytes\n",
		len(list), bytes/len(list), exchanges[rounds/2], exchanges[0], exchanges[rounds-1], records[rounds/2], largest)
	b.figures["exchanges_per_s"], b.spread["exchanges_per_s"] = exchanges[rounds/2], [2]float64{exchanges[0], exchanges[rounds-1]}
	b.figures["records_exchanges_per_s"], b.figures["state_bytes"] = records[rounds/2], float64(largest)
	return nil
}
