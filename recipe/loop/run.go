package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"retort/exchange"
	"retort/recipe"
	"retort/teach/reference"
	"retort/watch/simulate"
	"retort/workspace"
)

// Command is one of the program's own commands, as somebody calls it.
type Command struct {
	Workspace string
	Env       map[string]string // besides what the process has
	Words     []string
}

// Options say where and how a loop runs.
type Options struct {
	Workspace *workspace.Workspace
	Command   func(context.Context, Command) (stdout string, err error)
	Say       func(format string, args ...any) // what is done, a line each
	Getenv    func(string) string
	Threads   int
	Version   string
}

// run is a loop under way.
type run struct {
	*Loop
	opt   Options
	dir   string
	file  string // of the state
	state state
}

// state is what a loop that is interrupted goes on from.
type state struct {
	Seconds   map[string]float64 `json:"seconds"` // of the stages that are done
	Addresses map[string]string  `json:"addresses"`
	Held      time.Time          `json:"held,omitzero"` // when the operator first held the suspect
	Result    Result             `json:"result"`
}

// The parties, and their workspaces' names.
const (
	before    = "before"   // the operator, before the campaign
	operator  = "operator" // and beside it
	campaign  = "campaign"
	innocent  = "innocent"
	elsewhere = "reference"
	stranger  = "stranger"
)

// Run runs a loop from where it stands in the workspace to its end.
func Run(ctx context.Context, l *Loop, opt Options) (*Result, error) {
	name, err := l.RunName()
	if err != nil {
		return nil, err
	}
	lock, err := opt.Workspace.Lock("loops/" + name)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	r := &run{Loop: l, opt: opt, dir: opt.Workspace.Path("loops", name)}
	r.file = filepath.Join(r.dir, "state.json")
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, err
	}
	if err := r.restore(); err != nil {
		return nil, err
	}
	r.state.Result.Name, r.state.Result.File = name, l.file
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"before", r.before}, {"traffic", r.traffic}, {"anchor", r.anchor}, {"detect", r.detect}, {"others", r.others},
		{"weights", r.weights}, {"api", r.api}, {"evidence", r.evidence}, {"report", r.report},
	} {
		if _, done := r.state.Seconds[s.name]; done {
			continue
		}
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r.state.Seconds[s.name] = time.Since(began).Seconds()
		if err := r.save(); err != nil {
			return nil, err
		}
	}
	r.state.Result.Seconds = r.state.Seconds
	return &r.state.Result, nil
}

func (r *run) restore() error {
	r.state = state{Seconds: map[string]float64{}, Addresses: map[string]string{}}
	raw, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &r.state)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; remove the directory to begin again", r.file, err)
	}
	return nil
}

func (r *run) save() error {
	raw, err := json.MarshalIndent(r.state, "", "  ")
	if err != nil {
		return err
	}
	return workspace.WriteFileAtomic(r.file, raw, 0o644)
}

func (r *run) path(parts ...string) string {
	return filepath.Join(append([]string{r.dir}, parts...)...)
}

// title says what comes next.
func (r *run) title(format string, args ...any) { r.opt.Say("\n"+format, args...) }

// do calls a command for a party, and shows it.
func (r *run) do(ctx context.Context, party string, words ...string) (string, error) {
	return r.doWith(ctx, party, nil, words...)
}

func (r *run) doWith(ctx context.Context, party string, env map[string]string, words ...string) (string, error) {
	r.show(party, words)
	return r.call(ctx, party, env, words)
}

// show notes a command, and says that it is called.
func (r *run) show(party string, words []string) {
	shown := make([]string, len(words))
	for i, w := range words {
		if shown[i] = strings.ReplaceAll(w, r.dir+string(filepath.Separator), ""); len(shown[i]) > 100 {
			shown[i] = shown[i][:60] + "…"
		}
	}
	line := "retort --workspace " + party + " " + strings.Join(shown, " ")
	r.opt.Say("$ %s", line)
	r.state.Result.Commands = append(r.state.Result.Commands, line)
}

func (r *run) call(ctx context.Context, party string, env map[string]string, words []string) (string, error) {
	out, err := r.opt.Command(ctx, Command{Workspace: r.path(party), Env: env, Words: words})
	if err != nil {
		return "", fmt.Errorf("retort %s: %w", words[0], err)
	}
	return strings.TrimSpace(out), nil
}

// address is where somebody listens: the same when an interrupted loop goes on, since a
// prompt's key holds its teacher's address.
func (r *run) address(who string) (string, error) {
	if at := r.state.Addresses[who]; at != "" {
		return at, nil
	}
	at, err := free()
	if err != nil {
		return "", err
	}
	r.state.Addresses[who] = at
	return at, r.save()
}

// background runs a server of the program's own until stop is called; it is up when its
// health says so.
func (r *run) background(ctx context.Context, party, at string, words ...string) (stop func() error, err error) {
	r.show(party, words) // here, since the state is this goroutine's
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() {
		_, err := r.call(ctx, party, nil, words)
		over <- err
	}()
	stop = func() error {
		cancel()
		if err := <-over; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	for up := time.Now().Add(time.Minute); ; {
		resp, err := http.Get("http://" + at + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return stop, nil
			}
		}
		select {
		case err := <-over:
			cancel()
			return nil, fmt.Errorf("the server on %s has ended: %w", at, err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(up) {
			return nil, errors.Join(fmt.Errorf("the server on %s does not come up", at), stop())
		}
	}
}

// gateway puts a party's gateway in front of a backend.
func (r *run) gateway(ctx context.Context, party string, b *backend, rules string) (at string, stop func() error, err error) {
	at, err = r.address("gateway")
	if err != nil {
		return "", nil, err
	}
	behind, err := r.address("teacher")
	if err != nil {
		return "", nil, err
	}
	up, err := listen(behind, b)
	if err != nil {
		return "", nil, err
	}
	file := r.path(party, "gateway.yaml")
	text := fmt.Sprintf("gateway: 1\nlisten: %s\nupstreams: [{name: teacher, base_url: \"http://%s/v1\"}]\n%s", at, behind, rules)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", nil, errors.Join(err, up.Close())
	}
	if err := workspace.WriteFileAtomic(file, []byte(text), 0o644); err != nil {
		return "", nil, errors.Join(err, up.Close())
	}
	end, err := r.background(ctx, party, at, "gateway", file, "--quiet")
	if err != nil {
		return "", nil, errors.Join(err, up.Close())
	}
	return at, func() error { return errors.Join(end(), up.Close()) }, nil
}

// ordinary makes the accounts before the campaign, or those beside it.
func (r *run) ordinary(party string) (*simulate.Population, error) {
	world, err := simulate.Load(r.opt.Getenv("RETORT_TESTDATA"))
	if err != nil {
		return nil, err
	}
	if party == before {
		return newPopulation(world, 2*r.Seed, r.Ordinary.Before)
	}
	return newPopulation(world, 2*r.Seed+1, r.Ordinary.Beside)
}

// known writes who of a population is known to be innocent, as detection reads it.
func known(file string, pop *simulate.Population, keep map[string]bool) error {
	var b strings.Builder
	for _, a := range pop.Accounts {
		if keep == nil || keep[a.Name] {
			fmt.Fprintf(&b, "%s,%s,true\n", a.Name, a.Organisation)
		}
	}
	return workspace.WriteFileAtomic(file, []byte(b.String()), 0o644)
}

// before has ordinary accounts ask through the gateway, and detection learn from them.
func (r *run) before(ctx context.Context) (err error) {
	r.title("Before: ordinary accounts, which are known to be innocent, use the model through the gateway")
	if err := os.RemoveAll(r.path(before)); err != nil { // of a run that was interrupted here
		return err
	}
	ws, err := workspace.Open(r.path(before))
	if err != nil {
		return err
	}
	pop, err := r.ordinary(before)
	if err != nil {
		return err
	}
	c, err := newCrowd(ws, r.path(before, "clients", "keys.json"), pop)
	if err != nil {
		return err
	}
	b, err := newBackend(r.Teacher)
	if err != nil {
		return err
	}
	at, stop, err := r.gateway(ctx, before, b, "")
	if err != nil {
		return err
	}
	total := len(pop.Accounts) * r.Ordinary.Before.Calls
	began := time.Now()
	err = c.ask(ctx, b, at, r.Ordinary.Before.Calls, r.Ordinary.AtOnce, nil, nil, r.progress("asked", total))
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	r.opt.Say("%d requests of %d accounts, recorded at %.0f a second", total, len(pop.Accounts), float64(total)/time.Since(began).Seconds())
	file := r.path(before, "known.csv")
	if err := known(file, pop, nil); err != nil {
		return err
	}
	if err := os.MkdirAll(r.path(operator, "detection"), 0o755); err != nil {
		return err
	}
	out, err := r.do(ctx, before, "detect", "calibrate", "--organisations", file, "--level", fmt.Sprint(r.Detect.Level), "--teach", fmt.Sprint(r.Detect.Teach), "--simulated",
		"--out", r.path(operator, "detection", "calibration.json"))
	r.opt.Say("%s", out)
	return err
}

// progress says every few seconds how far something is.
func (r *run) progress(what string, of int) func(int) {
	last := time.Now()
	return func(done int) {
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			r.opt.Say("%d of %d %s", done, of, what)
		}
	}
}

// decoys are the ordinary accounts beside the campaign that are known to be innocent.
func (r *run) decoys(pop *simulate.Population) map[string]bool {
	every := max(1, int(1/r.Ordinary.Unknown+0.5))
	at, out := map[string]int{}, map[string]bool{}
	for _, a := range pop.Accounts {
		i, seen := at[a.Organisation]
		if !seen {
			i = len(at)
			at[a.Organisation] = i
		}
		out[a.Name] = i%every != 0
	}
	return out
}

func campaignAccounts(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("campaign/%d", i+1)
	}
	return out
}

// student writes a party's recipe: the campaign's with another teacher.
func (r *run) student(party string, change func(*recipe.Recipe)) (file string, err error) {
	s := *r.Loop.student
	s.Name = party
	s.Teacher.Reference, s.Teacher.BaseURL, s.Teacher.Model, s.Teacher.APIKeyEnv, s.Teacher.Price = nil, "", "", "", nil
	change(&s)
	raw, err := s.YAML()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(r.path(party), 0o755); err != nil {
		return "", err
	}
	file = r.path(party, party+".yaml")
	return file, workspace.WriteFileAtomic(file, raw, 0o644)
}

// train runs a party's recipe.
func (r *run) train(ctx context.Context, party, file string, env map[string]string) (*recipe.Summary, error) {
	words := []string{"run", file, "--json"}
	if r.opt.Threads > 0 {
		words = append(words, "--threads", fmt.Sprint(r.opt.Threads))
	}
	out, err := r.doWith(ctx, party, env, words...)
	if err != nil {
		return nil, err
	}
	s := &recipe.Summary{}
	if err := json.Unmarshal([]byte(out), s); err != nil {
		return nil, fmt.Errorf("what `retort run --json` said: %w", err)
	}
	return s, nil
}

// campaignKey is the variable that holds the key of the campaign's own front.
const campaignKey = "CAMPAIGN_KEY"

// traffic has ordinary accounts and the campaign ask through the gateway at the same
// time, while the gateway flips coins; the campaign goes on to train its student.
func (r *run) traffic(ctx context.Context) error {
	r.title("Beside: other ordinary accounts, and a campaign of %d that distils a student; the gateway flips coins", r.Campaign.Accounts)
	ws, err := workspace.Open(r.path(operator))
	if err != nil {
		return err
	}
	pop, err := r.ordinary(operator)
	if err != nil {
		return err
	}
	c, err := newCrowd(ws, r.path(operator, "clients", "keys.json"), pop)
	if err != nil {
		return err
	}
	names := campaignAccounts(r.Campaign.Accounts)
	secrets, err := secretsOf(ws, r.path(campaign, "keys.json"), names)
	if err != nil {
		return err
	}
	key, err := ws.AccountKey()
	if err != nil {
		return err
	}
	had, err := recorded(ctx, ws)
	if err != nil {
		return err
	}
	b, err := newBackend(r.Teacher)
	if err != nil {
		return err
	}
	at, stop, err := r.gateway(ctx, operator, b, fmt.Sprintf("rules: [{name: exposure, action: coin, share: %v}]\n", r.Coins))
	if err != nil {
		return err
	}
	end := func(err error) error { return errors.Join(err, stop()) }
	front, err := r.address("campaign")
	if err != nil {
		return end(err)
	}
	through, err := fleet(at, secrets)
	if err != nil {
		return end(err)
	}
	f, err := listen(front, through)
	if err != nil {
		return end(err)
	}
	stop = func(was func() error) func() error { return func() error { return errors.Join(f.Close(), was()) } }(stop)
	file, err := r.student(campaign, func(s *recipe.Recipe) {
		s.Teacher.BaseURL, s.Teacher.Model, s.Teacher.APIKeyEnv = "http://"+front+"/v1", r.Teacher.ModelName(), campaignKey
	})
	if err != nil {
		return end(err)
	}
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asked := make(chan error, 1)
	go func() {
		err := c.ask(both, b, at, r.Ordinary.Beside.Calls, r.Ordinary.AtOnce, had, key, nil)
		if err != nil {
			cancel(err)
		}
		asked <- err
	}()
	made, err := r.train(both, campaign, file, map[string]string{campaignKey: "the front puts the campaign's keys in its place"})
	if err != nil {
		cancel(err)
	}
	if err := end(errors.Join(err, <-asked)); err != nil {
		return err
	}
	res := &r.state.Result
	res.Suspect = *made
	res.OrdinaryAccounts, res.CampaignAccounts = len(pop.Accounts), len(names)
	had, err = recorded(ctx, ws)
	if err != nil {
		return err
	}
	for _, name := range names {
		res.CampaignExchanges += had[exchange.HashAccount(key, name)]
	}
	for _, n := range had {
		res.Exchanges += n
	}
	r.opt.Say("recorded: %d exchanges, %d of them the campaign's", res.Exchanges, res.CampaignExchanges)
	return nil
}

// others teaches the students that saw nothing of what the gateway served: the innocent
// one, and the score's reference, which the operator teaches other answers of their own
// teacher, so that it likes the same wordings.
func (r *run) others(ctx context.Context) error {
	r.title("An innocent student, of another teacher that was asked the same prompts; and the operator's reference, taught other answers of the same teacher")
	for _, x := range []struct {
		who     string
		teacher reference.Config
		seed    uint64 // added to the recipe's: another one has other prompts
		to      *recipe.Summary
	}{
		{innocent, reference.Config{Seed: r.Innocent.Seed}, 0, &r.state.Result.Innocent},
		{elsewhere, r.Teacher, 1000, &r.state.Result.Reference},
	} {
		file, err := r.student(x.who, func(s *recipe.Recipe) {
			s.Teacher.Reference, s.Teacher.Model = &x.teacher, x.teacher.ModelName()
			s.Seed += x.seed
		})
		if err != nil {
			return err
		}
		made, err := r.train(ctx, x.who, file, nil)
		if err != nil {
			return err
		}
		*x.to = *made
	}
	return nil
}
