package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/ledger/segment"
	"retort/report"
	"retort/watch/simulate"
	"retort/workspace"
)

func init() { register((*app).simulateCommand) }

// simulateFlags are what is to be simulated.
type simulateFlags struct {
	organisations, size, days int
	seed                      uint64
	perDay                    float64
	campaigns, kinds, prompts []string
	data, truth               string
}

func (a *app) simulateCommand() *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Write a ledger of simulated accounts, ordinary and harvesting",
		Long: "Write a ledger of simulated accounts: ordinary use of ten kinds, grouped into\n" +
			"organisations, and campaigns that harvest a model. It is what detection is\n" +
			"measured on; whatever comes of it is simulated. Prompts and arrivals are real\n" +
			"ones from --data, else excerpts that are part of the program.\n\n" +
			"A campaign is FAMILY[:ACCOUNTS[:DILUTION[:PER-DAY]]]; its families are harvest,\n" +
			"self-instruct, reasoning and sweep.",
		Example: "  retort --workspace sim simulate --campaign sweep:30:0.2 --truth truth.jsonl",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.simulate(c.Context(), f) },
	}
	fl := c.Flags()
	fl.IntVar(&f.organisations, "organisations", 10, "organisations of each kind")
	fl.IntVar(&f.size, "size", 6, "accounts of an organisation, about")
	fl.StringSliceVar(&f.kinds, "kinds", nil, "only these kinds of ordinary use")
	fl.StringSliceVar(&f.campaigns, "campaign", nil, "a campaign, such as harvest:300:0.1:25; may be repeated")
	fl.IntVar(&f.days, "days", 2, "how many days")
	fl.Float64Var(&f.perDay, "per-day", 0, "calls of an ordinary account a day (default: each kind's own)")
	fl.Uint64Var(&f.seed, "seed", 1, "equal seeds make equal ledgers")
	fl.StringVar(&f.data, "data", "", "`DIR` of real prompts and traces (default: RETORT_TESTDATA)")
	fl.StringSliceVar(&f.prompts, "prompts", nil, "`FILE` of prompts of your own, one a line")
	fl.StringVar(&f.truth, "truth", "", "`FILE` to write: who each account is, as JSON lines")
	fl.BoolVar(&a.json, "json", false, "as JSON")
	return c
}

// simulated is what was written.
type simulated struct {
	Simulated bool     `json:"simulated"`
	Accounts  int      `json:"accounts"`
	Exchanges int64    `json:"exchanges"`
	Real      []string `json:"real,omitempty"`
}

func (a *app) simulate(ctx context.Context, f simulateFlags) (err error) {
	if f.days < 1 {
		return usageError{errors.New("--days: it needs at least one")}
	}
	cfg := simulate.Config{Seed: f.seed, Size: f.size, PerDay: f.perDay, Organisations: make(map[simulate.Kind]int), Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)}
	for _, k := range simulate.Kinds() {
		if len(f.kinds) == 0 || slices.Contains(f.kinds, string(k)) {
			cfg.Organisations[k] = f.organisations
		}
	}
	for _, k := range f.kinds {
		if !slices.Contains(simulate.Kinds(), simulate.Kind(k)) {
			return usageError{fmt.Errorf("--kinds: there is no kind %q; there are %v", k, simulate.Kinds())}
		}
	}
	for _, s := range f.campaigns {
		c, err := simulate.ParseCampaign(s)
		if err != nil {
			return usageError{err}
		}
		cfg.Campaigns = append(cfg.Campaigns, c)
	}
	if f.data == "" {
		f.data = a.getenv("RETORT_TESTDATA")
	}
	world, err := simulate.Load(f.data, f.prompts...)
	if err != nil {
		return err
	}
	pop, err := simulate.New(world, cfg)
	if err != nil {
		return usageError{err}
	}
	ws, err := a.open()
	if err != nil {
		return err
	}
	key, err := ws.AccountKey()
	if err != nil {
		return err
	}
	if f.truth != "" {
		if err := writeTruth(f.truth, pop, key); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(ws.Path("ledger"), 0o755); err != nil {
		return err
	}
	store, err := segment.Open(ws.Path("ledger"), segment.Option{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	n, err := pop.Write(ctx, store, simulate.Until{Time: cfg.Start.AddDate(0, 0, f.days)}, key)
	if err != nil {
		return err
	}
	out := simulated{Simulated: true, Accounts: len(pop.Accounts), Exchanges: n, Real: world.Real}
	return a.show(out, func() error {
		_, err := fmt.Fprintf(a.stdout, "simulated: %s exchanges of %s accounts in %s\n", report.FormatCount(n), report.FormatCount(int64(len(pop.Accounts))), ws.Path("ledger"))
		return err
	})
}

// truthRow is who an account is. It has the fields that --organisations of `retort
// detect` reads.
type truthRow struct {
	Hash   string `json:"account"`
	Benign bool   `json:"benign"`
	simulate.Account
}

func writeTruth(path string, pop *simulate.Population, key []byte) error {
	f, err := workspace.CreateAtomic(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	enc := json.NewEncoder(f)
	for _, acc := range pop.Accounts {
		if err := enc.Encode(truthRow{exchange.HashAccount(key, acc.Name), acc.Family == "", *acc}); err != nil {
			return err
		}
	}
	return f.Commit()
}

// organisations reads a file of accounts: JSON lines of account, organisation and
// whether it is known to be innocent; or CSV of the three. An account may also be
// named, and is then looked up by its hash.
func readOrganisations(path string, key []byte) (of map[string]string, benign map[string]bool, err error) {
	b, err := workspace.ReadSmall(path, 1<<30)
	if err != nil {
		return nil, nil, err
	}
	of, benign = make(map[string]string), make(map[string]bool)
	bad := make(map[string]bool)
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || n == 1 && strings.HasPrefix(line, "account,") {
			continue
		}
		var row struct {
			Account      string `json:"account"`
			Organisation string `json:"organisation"`
			Benign       bool   `json:"benign"`
		}
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				return nil, nil, usageError{fmt.Errorf("%s:%d: %w", path, n, err)}
			}
		} else {
			part := strings.Split(line, ",")
			if len(part) != 3 || part[2] != "true" && part[2] != "false" {
				return nil, nil, usageError{fmt.Errorf("%s:%d: %q is not account,organisation,true or false", path, n, line)}
			}
			row.Account, row.Organisation, row.Benign = part[0], part[1], part[2] == "true"
		}
		if row.Account == "" {
			return nil, nil, usageError{fmt.Errorf("%s:%d: it names no account", path, n)}
		}
		if len(row.Account) != 64 || strings.Trim(row.Account, "0123456789abcdef") != "" {
			row.Account = exchange.HashAccount(key, row.Account)
		}
		if row.Organisation == "" {
			row.Organisation = row.Account
		}
		of[row.Account] = row.Organisation
		if !row.Benign {
			bad[row.Organisation] = true
		}
		benign[row.Organisation] = true
	}
	maps.DeleteFunc(benign, func(org string, _ bool) bool { return bad[org] })
	return of, benign, nil
}
