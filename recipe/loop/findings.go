package loop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"retort/exchange"
	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/prove/expose"
	"retort/recipe"
	"retort/watch/detect"
	"retort/workspace"
)

// Result is what a loop has to show.
type Result struct {
	Name string `json:"name"`
	File string `json:"file"`

	OrdinaryAccounts  int `json:"ordinary_accounts"` // simulated; beside the campaign
	CampaignAccounts  int `json:"campaign_accounts"`
	Exchanges         int `json:"exchanges"`
	CampaignExchanges int `json:"campaign_exchanges"`

	Suspect   recipe.Summary `json:"suspect"`
	Innocent  recipe.Summary `json:"innocent"`
	Reference recipe.Summary `json:"reference"`

	Stamp     string    `json:"stamp"` // who stamped the log's head, and when
	Detection Detection `json:"detection"`
	Weights   Test      `json:"weights"`
	API       Test      `json:"api"`
	Verified  []string  `json:"verified"` // by whom the pack was checked, and what they said
	Pack      string    `json:"pack"`

	Seconds  map[string]float64 `json:"seconds"`
	Commands []string           `json:"commands"`
	Page     string             `json:"page"`
}

// Detection is what detection found, beside the truth.
type Detection struct {
	Verdicts  bool     `json:"verdicts"`
	Why       string   `json:"why,omitempty"`
	Named     []string `json:"named"`        // accounts' hashes
	Campaign  int      `json:"of_campaign"`  // of those, how many are the campaign's
	Tested    int      `json:"tested"`       // accounts that could be named
	Alarms    int      `json:"alarms"`       // lifetime alarms of the campaign's accounts
	Ordinary  int      `json:"false_alarms"` // and of ordinary ones
	Decoys    int      `json:"decoys"`       // organisations that are known to be innocent
	GroupE    float64  `json:"group_e"`      // of the group that most of the campaign is in
	Group     int      `json:"group"`        // of how many accounts
	Page      string   `json:"page"`
	Exchanges int64    `json:"exchanges"`
}

// Test is an exposure test and what came of it.
type Test struct {
	Case     string           `json:"case"`
	Outcomes []expose.Outcome `json:"outcomes"`
	Named    int              `json:"named"`       // accounts
	Campaign int              `json:"of_campaign"` // of those, how many are the campaign's
	Others   int              `json:"bystanders"`  // accounts beside the campaign's that were tested
}

// Of is a model's outcome over all coins, or nil.
func (t Test) Of(model string) *expose.Outcome {
	for i := range t.Outcomes {
		if o := &t.Outcomes[i]; o.Model == model && o.Scope == expose.ScopeAll {
			return o
		}
	}
	return nil
}

// The models of the exposure tests, as their frames name them.
const (
	suspectName  = "suspect"
	innocentName = "control 1"
)

// Figure is an outcome for people.
func Figure(o *expose.Outcome) string {
	switch {
	case o == nil:
		return "not tested"
	case o.LogE != 0 || o.LogBest != 0:
		return "e = " + evidence.FormatE(o.LogE)
	}
	return "p = " + evidence.FormatP(o.LogP)
}

// truth are the hashes of the campaign's accounts.
func (r *run) truth() (map[string]bool, error) {
	ws, err := workspace.Open(r.path(operator))
	if err != nil {
		return nil, err
	}
	key, err := ws.AccountKey()
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, name := range campaignAccounts(r.Campaign.Accounts) {
		out[exchange.HashAccount(key, name)] = true
	}
	return out, nil
}

// witness runs a local witness while fn does something.
func (r *run) witness(fn func(tsa string) error) error {
	at, err := r.address("witness")
	if err != nil {
		return err
	}
	w, err := commit.NewWitness(nil)
	if err != nil {
		return err
	}
	s, err := listen(at, w)
	if err != nil {
		return err
	}
	return errors.Join(fn("http://"+at), s.Close())
}

// anchor has the log's head stamped; from then on the operator holds the suspect.
func (r *run) anchor(ctx context.Context) error {
	r.title("The operator has the log of coins stamped, by a local witness: a demonstration, and no third party")
	if _, err := os.Stat(r.path(operator, "evidence.pub")); err != nil {
		if _, err := r.do(ctx, operator, "evidence", "keygen", "--name", "closed-loop.invalid/exposure"); err != nil {
			return err
		}
	}
	if err := r.witness(func(tsa string) error {
		out, err := r.do(ctx, operator, "expose", "anchor", "--tsa", tsa)
		r.state.Result.Stamp = out
		r.opt.Say("%s", out)
		return err
	}); err != nil {
		return err
	}
	r.state.Held = time.Now().UTC().Add(time.Second).Truncate(time.Second)
	return nil
}

// detect looks for the campaign, and compares with the truth.
func (r *run) detect(ctx context.Context) error {
	r.title("Detection, with no word of who is who but which organisations are known to be innocent")
	pop, err := r.ordinary(operator)
	if err != nil {
		return err
	}
	file := r.path(operator, "known.csv")
	if err := known(file, pop, r.decoys(pop)); err != nil {
		return err
	}
	d := &r.state.Result.Detection
	d.Page = r.path(operator, "detection.html")
	out, err := r.do(ctx, operator, "detect", "--organisations", file, "--level", fmt.Sprint(r.Detect.Level), "--fdr", fmt.Sprint(r.Detect.FDR), "--html", d.Page, "--json")
	if err != nil {
		return err
	}
	var rep detect.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		return fmt.Errorf("what `retort detect --json` said: %w", err)
	}
	theirs, err := r.truth()
	if err != nil {
		return err
	}
	d.Verdicts, d.Why, d.Tested, d.Decoys, d.Exchanges = rep.Verdicts, rep.Why, rep.Tested, rep.Decoys, rep.Counts.Counted
	in := map[int]int{}
	for _, a := range rep.Accounts {
		if a.Named {
			d.Named = append(d.Named, a.Account)
		}
		switch {
		case theirs[a.Account]:
			in[a.Campaign]++
			if a.Named {
				d.Campaign++
			}
			if a.Alarm {
				d.Alarms++
			}
		case a.Alarm:
			d.Ordinary++
		}
	}
	slices.Sort(d.Named)
	most := 0
	for _, c := range rep.Campaigns {
		if in[c.Number] > most {
			most, d.GroupE, d.Group = in[c.Number], c.E, len(c.Accounts)
		}
	}
	r.opt.Say("%s", d.String())
	return nil
}

// String says what detection found.
func (d Detection) String() string {
	if !d.Verdicts {
		return "no verdict: " + d.Why
	}
	return fmt.Sprintf("%d of %d accounts are named, of which %d are the campaign's; %d of the campaign's and %d ordinary accounts raise a lifetime alarm; the campaign's group of %d stands above all %d decoys (e = %.0f)",
		len(d.Named), d.Tested, d.Campaign, d.Alarms, d.Ordinary, d.Group, d.Decoys, d.GroupE)
}

// tested are the accounts of the frames: those that detection named, and as many
// bystanders as have most coins. Without names, all accounts.
func (r *run) tested(ctx context.Context) (named, bystanders []string, err error) {
	named = r.state.Result.Detection.Named
	if len(named) == 0 {
		return nil, nil, nil
	}
	out, err := r.do(ctx, operator, "expose", "log", "--json")
	if err != nil {
		return nil, nil, err
	}
	var log struct {
		Accounts map[string]int `json:"accounts"`
	}
	if err := json.Unmarshal([]byte(out), &log); err != nil {
		return nil, nil, fmt.Errorf("what `retort expose log --json` said: %w", err)
	}
	others := slices.DeleteFunc(slices.Collect(maps.Keys(log.Accounts)), func(a string) bool { return slices.Contains(named, a) })
	slices.SortFunc(others, func(a, b string) int { return cmp.Or(cmp.Compare(log.Accounts[b], log.Accounts[a]), cmp.Compare(a, b)) })
	return named, others[:min(len(others), r.Expose.Bystanders)], nil
}

// caseOf is the case that has been made of a suspect of a kind, or "".
func (r *run) caseOf(kind string) (string, error) {
	ws, err := workspace.Open(r.path(operator))
	if err != nil {
		return "", err
	}
	dirs, err := os.ReadDir(ws.Path("cases"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	for _, d := range dirs {
		c, err := expose.OpenCase(ws, d.Name())
		if err != nil {
			return "", err
		}
		if c.Frame.Suspect.Kind == kind {
			return c.ID(), nil
		}
	}
	return "", err
}

// test frames, scores and opens a case.
func (r *run) test(ctx context.Context, kind string, frame, score []string) (Test, error) {
	t := Test{}
	var err error
	if t.Case, err = r.caseOf(kind); err != nil {
		return t, err
	}
	frame = append([]string{"expose", "frame", "--held", r.state.Held.Format(time.RFC3339)}, frame...)
	if t.Case == "" {
		if t.Case, err = r.do(ctx, operator, frame...); err != nil {
			return t, err
		}
	}
	if _, err := os.Stat(r.path(operator, "cases", t.Case, "scores.jsonl")); err != nil {
		if _, err := r.do(ctx, operator, append([]string{"expose", "score", t.Case}, score...)...); err != nil {
			return t, err
		}
	}
	out, err := r.do(ctx, operator, "expose", "open", t.Case, "--json")
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal([]byte(out), &t.Outcomes); err != nil {
		return t, fmt.Errorf("what `retort expose open --json` said: %w", err)
	}
	theirs, err := r.truth()
	if err != nil {
		return t, err
	}
	for _, o := range t.Outcomes {
		if o.Model != suspectName || o.Scope != expose.ScopeAccount {
			continue
		}
		if !theirs[o.Subject] {
			t.Others++
		}
		if o.Named {
			if t.Named++; theirs[o.Subject] {
				t.Campaign++
			}
		}
	}
	return t, nil
}

// accounts are the flags that say whose coins a frame looks at.
func accounts(named, bystanders []string) []string {
	var out []string
	if all := slices.Concat(named, bystanders); len(all) > 0 {
		out = append(out, "--account", strings.Join(all, ","))
	}
	if len(named) > 0 {
		out = append(out, "--campaign", "detected="+strings.Join(named, ","))
	}
	return out
}

// weights makes the exposure test on the suspect's weights, the innocent student beside
// it.
func (r *run) weights(ctx context.Context) error {
	r.title("The exposure test on the suspect's weights, an innocent student beside it")
	named, bystanders, err := r.tested(ctx)
	if err != nil {
		return err
	}
	res := &r.state.Result
	words := append([]string{
		"--suspect", res.Suspect.Model.Path, "--reference", res.Reference.Model.Path, "--control", res.Innocent.Model.Path,
		"--level", fmt.Sprint(r.Expose.Level), "--fdr", fmt.Sprint(r.Expose.FDR), "--statement", "Did the suspect learn from what was served to the accounts that detection named?",
	}, accounts(named, bystanders)...)
	if res.Weights, err = r.test(ctx, expose.KindWeights, words, nil); err != nil {
		return err
	}
	found := res.Weights.campaign(suspectName)
	r.opt.Say("suspect: %s over %d coins; innocent student: %s; %d named accounts, of which %d are the campaign's; %d bystanders were tested",
		Figure(found), coinsOf(found), Figure(res.Weights.campaign(innocentName)), res.Weights.Named, res.Weights.Campaign, res.Weights.Others)
	return nil
}

// campaign is a model's outcome over the coins of the accounts that were detected, or
// over all where none was.
func (t Test) campaign(model string) *expose.Outcome {
	for i := range t.Outcomes {
		if o := &t.Outcomes[i]; o.Model == model && o.Scope == expose.ScopeCampaign {
			return o
		}
	}
	return t.Of(model)
}

// api makes the test on what the suspect says behind an API.
func (r *run) api(ctx context.Context) error {
	r.title("The same test on what the suspect says behind its API")
	at, err := r.address("suspect")
	if err != nil {
		return err
	}
	res := &r.state.Result
	stop, err := r.background(ctx, campaign, at, "serve", res.Suspect.Model.Path, "--listen", at, "--name", "suspect-model", "--quiet")
	if err != nil {
		return err
	}
	named := res.Detection.Named
	words := append([]string{"--url", "http://" + at + "/v1", "--model", "suspect-model", "--text", "--prefill", "--think", "--level", fmt.Sprint(r.Expose.TextLevel), "--fdr", "0"}, accounts(named, nil)...)
	res.API, err = r.test(ctx, expose.KindText, words, []string{"--batch", "50"})
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	if o := res.API.Of(suspectName); o != nil {
		r.opt.Say("suspect: %s over %d coins, at best %s", Figure(o), o.Coins, evidence.FormatE(o.LogBest))
	}
	return nil
}

// evidence packs the case, and has a stranger check the pack twice.
func (r *run) evidence(ctx context.Context) error {
	r.title("The operator packs the case; a stranger checks it with nothing but the pack and the public key")
	res := &r.state.Result
	terms := r.path(operator, "terms.json")
	if err := workspace.WriteFileAtomic(terms, []byte("{\"terms\":\"a demonstration: no model may be trained on what is served\"}\n"), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(r.path(stranger), 0o755); err != nil {
		return err
	}
	res.Pack = r.path(stranger, "case.pack")
	if _, err := r.do(ctx, operator, "evidence", "pack", res.Weights.Case, "-o", res.Pack, "--terms", terms, "--title", "Closed loop: did the suspect learn from what was served?"); err != nil {
		return err
	}
	public, err := os.ReadFile(r.path(operator, "evidence.pub"))
	if err != nil {
		return err
	}
	key := r.path(stranger, "evidence.pub")
	if err := workspace.WriteFileAtomic(key, public, 0o644); err != nil {
		return err
	}
	out, err := r.do(ctx, stranger, "evidence", "verify", res.Pack, "--key", key, "--report", r.path(stranger, "case.html"))
	if err != nil {
		return err
	}
	r.opt.Say("%s", out)
	res.Verified = []string{"retort evidence verify: it holds"}
	said, err := r.second(ctx, strings.TrimSpace(string(public)))
	if err != nil {
		return err
	}
	res.Verified = append(res.Verified, said)
	r.opt.Say("%s", said)
	return nil
}

// second runs the verifier that the loop's file names, which shares no code with this
// program.
func (r *run) second(ctx context.Context, public string) (string, error) {
	if r.Verifier == "" {
		return "no second verifier is named", nil
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "the second verifier was not run: there is no python3", nil
	}
	file := r.Loop.path(r.Verifier)
	r.opt.Say("$ python3 %s stranger/case.pack KEY", filepath.Base(file))
	c := exec.CommandContext(ctx, python, file, r.state.Result.Pack, public)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("the second verifier: %w: %s", err, out)
	}
	return filepath.Base(file) + ", in Python: it holds", nil
}

// proven reports whether the suspect was found and the innocent student was not.
func (r Result) proven(level float64) bool {
	s, i := r.Weights.campaign(suspectName), r.Weights.campaign(innocentName)
	return s != nil && i != nil && s.LogP < math.Log(level) && i.LogP > math.Log(0.003)
}
