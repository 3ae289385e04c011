package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/prove/expose"
	"retort/student/model"
	"retort/workspace"
)

func init() { register((*app).exposeCommand) }

func (a *app) exposeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "expose",
		Short: "Test whether a model learned from what the gateway served",
		Long: "Test whether a model learned from what the gateway served to its accounts. For a\n" +
			"share of prompts the gateway draws two answers, and a secret coin says which one\n" +
			"is served; a suspect that prefers the served ones did not get there by itself.\n\n" +
			"The order counts: anchor the log before you hold the suspect, state the frame\n" +
			"before you score, and score before coins are opened.",
		Example: "  retort expose plan --answer-usd 0.002\n  retort expose anchor --tsa https://freetsa.org/tsr",
	}
	for _, sub := range []*cobra.Command{a.exposePlanCommand(), a.exposeLogCommand(), a.exposeAnchorCommand(), a.exposeWitnessCommand(), a.exposeFrameCommand(), a.exposeScoreCommand(), a.exposeOpenCommand()} {
		c.AddCommand(sub)
	}
	return c
}

// exposureLog reads the workspace's log.
func (a *app) exposureLog(ctx context.Context) (*workspace.Workspace, commit.Key, *segment.Reader, *commit.View, error) {
	ws, err := a.existing()
	if err != nil {
		return nil, commit.Key{}, nil, nil, err
	}
	key, err := commit.OpenKey(ws)
	if err != nil {
		return nil, key, nil, nil, err
	}
	r, err := a.reader()
	if err != nil {
		return nil, key, nil, nil, err
	}
	view, err := commit.ReadLog(ctx, r, key.Log())
	if err != nil {
		return nil, key, nil, nil, err
	}
	if len(view.Leaves) == 0 {
		return nil, key, nil, nil, errors.New("the ledger holds no coins: let the gateway's policy flip some")
	}
	return ws, key, r, view, nil
}

func (a *app) exposePlanCommand() *cobra.Command {
	var level, effect, usd float64
	var coins []int
	c := &cobra.Command{
		Use:   "plan",
		Short: "Say how many coins buy which power, at what extra spend",
		Long: "Say how many coins buy which power, at what extra spend: one more answer a coin.\n" +
			"Power hangs on the effect, what a coin contributes in standard deviations of its\n" +
			"score. Without --effect two that trials showed are used: students of a million\n" +
			"parameters that saw every answer in 4.7 epochs. Measure yours on a like suspect\n" +
			"of your own; a larger model or fewer epochs make it smaller.",
		Example: "  retort expose plan --answer-usd 0.002 --coins 500,1000,2000",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			price, err := exchange.Dollars(usd)
			switch {
			case err != nil:
				return usageError{fmt.Errorf("--answer-usd: %w", err)}
			case !(level > 0 && level < 1):
				return usageError{fmt.Errorf("--level %v: it lies between 0 and 1", level)}
			case effect < 0 || slices.ContainsFunc(coins, func(n int) bool { return n < 1 }):
				return usageError{errors.New("--effect and --coins have to be positive")}
			}
			effects := []expose.Effect{expose.EffectWordy, expose.EffectTerse}
			if effect > 0 {
				effects = []expose.Effect{{PerCoin: effect, From: "given"}}
			}
			type plan struct {
				Effect expose.Effect    `json:"effect"`
				Half   int              `json:"coins_for_half"`
				Ninety int              `json:"coins_for_90"`
				Rows   []expose.PlanRow `json:"rows"`
			}
			var plans []plan
			for _, e := range effects {
				plans = append(plans, plan{e, e.Need(level, 0.5), e.Need(level, 0.9), expose.Plan(e, level, price, coins...)})
			}
			return a.show(plans, func() error {
				for _, p := range plans {
					fmt.Fprintf(a.stdout, "effect %.3f a coin (%s): p < %g with even odds from %d coins, with 90%% from %d\n", p.Effect.PerCoin, p.Effect.From, level, p.Half, p.Ninety)
					t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
					fmt.Fprintln(t, "coins\tpower\textra spend\t")
					for _, r := range p.Rows {
						fmt.Fprintf(t, "%d\t%.2f\t%s\t\n", r.Coins, r.Power, r.Spend)
					}
					if err := t.Flush(); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().Float64Var(&level, "level", 1e-6, "the p-value to fall below")
	c.Flags().Float64Var(&effect, "effect", 0, "what a coin contributes, in standard deviations (default: what trials showed)")
	c.Flags().Float64Var(&usd, "answer-usd", 0, "what one more answer costs, in US dollars")
	c.Flags().IntSliceVar(&coins, "coins", []int{250, 500, 1000, 2000, 4000}, "numbers of coins")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

func (a *app) exposeLogCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "log",
		Short:   "Show what the log of coins holds",
		Long:    "Show what the log of coins holds. It opens no coin.",
		Example: "  retort expose log",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			_, _, _, view, err := a.exposureLog(c.Context())
			if err != nil {
				return err
			}
			type summary struct {
				Log      string         `json:"log"`
				Leaves   uint64         `json:"leaves"`
				Coins    int            `json:"coins"`
				Void     map[string]int `json:"void"`
				Accounts map[string]int `json:"accounts"` // coins that count
				Heads    int            `json:"heads"`
				Stamped  int            `json:"stamped"`
			}
			s := summary{Log: view.ID, Leaves: view.Tree.Size(), Accounts: map[string]int{}}
			entries, void := (&expose.Frame{}).Select(view.Entries(view.Tree.Size()))
			s.Coins, s.Void = len(entries), void
			for _, e := range entries {
				s.Accounts[e.Coin.Account]++
			}
			for _, h := range view.Heads {
				if h.What == commit.WhatHead {
					s.Heads++
					if len(h.Stamp) > 0 {
						s.Stamped++
					}
				}
			}
			return a.show(s, func() error {
				fmt.Fprintf(a.stdout, "log %s: %d leaves, %d coins that count, %d accounts, void %v; %d heads, %d stamped\n", s.Log, s.Leaves, s.Coins, len(s.Accounts), s.Void, s.Heads, s.Stamped)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

// stamper is who stamps: an authority, or nobody.
func stamper(url string) commit.Stamper {
	if url == "" {
		return nil
	}
	return commit.Authority{URL: url, Client: &http.Client{Timeout: time.Minute}}
}

// state opens what a statement needs, and hands it on.
func (a *app) state(ws *workspace.Workspace, do func(keys *evidence.Keys, to ledger.Appender) error) error {
	keys, err := evidence.OpenKeys(ws)
	if err != nil {
		return err
	}
	return recording(ws, func(store *segment.Store) error { return do(keys, store) })
}

func (a *app) exposeAnchorCommand() *cobra.Command {
	var tsa string
	c := &cobra.Command{
		Use:   "anchor",
		Short: "Sign the log's head and have it stamped by a third party",
		Long: "Sign the log's head as it stands and have a time-stamping authority (RFC 3161)\n" +
			"stamp it. Coins count in a case only if they are under a head that was stamped\n" +
			"before you held the suspect: do it every day. The gateway may be running.",
		Example: "  retort expose anchor --tsa https://freetsa.org/tsr",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if tsa == "" {
				return usageError{errors.New("--tsa: whose stamp? A head without one does not count")}
			}
			ws, _, _, view, err := a.exposureLog(c.Context())
			if err != nil {
				return err
			}
			return a.state(ws, func(keys *evidence.Keys, to ledger.Appender) error {
				h, err := commit.Anchor(c.Context(), view, keys.Signer, stamper(tsa), to)
				if err != nil {
					return err
				}
				s, err := commit.CheckStamp(h.Stamp, commit.NoteDigest(h.Note), nil)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%d leaves of log %s, stamped %s by %s\n", view.Tree.Size(), view.ID, s.Time.UTC().Format(time.RFC3339), s.Authority)
				if s.Demonstration {
					fmt.Fprintln(a.stderr, "this is a demonstration: the witness is no third party")
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&tsa, "tsa", "", "`URL` of a time-stamping authority")
	return c
}

func (a *app) exposeWitnessCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "witness",
		Short: "Run a local witness, for demonstrations alone",
		Long: "Run a witness that stamps as a time-stamping authority does, on this machine,\n" +
			"for demonstrations: whoever runs it can set its clock, so that its stamps show\n" +
			"nothing to a stranger. Its certificate says so, and so does every report.",
		Example: "  retort expose witness --listen 127.0.0.1:3161",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			host, _, err := net.SplitHostPort(listen)
			if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
				return usageError{fmt.Errorf("--listen %q: a demonstration stays on loopback, such as 127.0.0.1:3161", listen)}
			}
			w, err := commit.NewWitness(nil)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "a demonstration and no third party: stamping at http://%s until Ctrl-C\n", l.Addr())
			srv := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
			stop := context.AfterFunc(c.Context(), func() { _ = srv.Close() })
			defer stop()
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:3161", "where it listens")
	return c
}

// frameFlags are what `expose frame` is told.
type frameFlags struct {
	name, suspect, url, model, keyEnv, reference, since, until, held, statement, tsa string
	controls, accounts, campaigns, windows                                           []string
	text, prefill, think                                                             bool
	level, fdr, input, output                                                        float64
}

func (a *app) exposeFrameCommand() *cobra.Command {
	var x frameFlags
	c := &cobra.Command{
		Use:   "frame",
		Short: "State what is to be tested, before anything is scored",
		Long: "State what is tested, signed for good: the suspect (weights, or an API that\n" +
			"gives log-probabilities or text), models beside it, whose coins, of when.",
		Example: "  retort expose frame --suspect ./suspect --reference ./base --held 2026-11-25",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ws, _, _, view, err := a.exposureLog(c.Context())
			if err != nil {
				return err
			}
			f, sources, err := x.frame(a, view)
			if err != nil {
				return err
			}
			if err := f.Validate(); err != nil {
				return usageError{err}
			}
			return a.state(ws, func(keys *evidence.Keys, to ledger.Appender) error {
				// What is stated again after a crash counts once.
				if _, err := commit.State(c.Context(), f.Log, expose.StateFrame, expose.FrameText(f), f.Encode(), keys.Signer, stamper(x.tsa), to); err != nil {
					return err
				}
				made, err := expose.NewCase(ws, f, sources)
				if err != nil {
					return err
				}
				entries, void := f.Select(view.Entries(f.Size))
				if !a.quiet {
					fmt.Fprintf(a.stderr, "%d coins count, void: %v; now: retort expose score %s\n", len(entries), void, made.ID())
				}
				_, err = fmt.Fprintln(a.stdout, made.ID())
				return err
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&x.name, "name", "suspect", "what the suspect is called in the report")
	fl.StringVar(&x.suspect, "suspect", "", "`MODEL`: a directory, a GGUF file, or a run")
	fl.StringVar(&x.url, "url", "", "base `URL` of an API that serves the suspect")
	fl.StringVar(&x.model, "model", "", "the suspect's name there")
	fl.StringVar(&x.keyEnv, "api-key-env", "", "the variable that holds the API's key")
	fl.BoolVar(&x.text, "text", false, "the API gives text alone")
	fl.BoolVar(&x.prefill, "prefill", false, "the API continues a turn of the assistant")
	fl.BoolVar(&x.think, "think", false, "and has its reasoning behind <think> there")
	fl.Float64Var(&x.input, "input-usd", 0, "its price, in USD per million tokens of input")
	fl.Float64Var(&x.output, "output-usd", 0, "and of output")
	fl.StringVar(&x.reference, "reference", "", "`MODEL` that saw neither answer")
	fl.StringSliceVar(&x.controls, "control", nil, "`MODEL`s that are unrelated")
	fl.StringSliceVar(&x.accounts, "account", nil, "accounts' hashes (default: all)")
	fl.StringArrayVar(&x.campaigns, "campaign", nil, "`NAME=HASH,HASH` to be tested as one")
	fl.StringArrayVar(&x.windows, "window", nil, "`NAME=FROM,TO`: a span of time to be tested by itself")
	fl.StringVar(&x.since, "since", "", "coins from this time on")
	fl.StringVar(&x.until, "until", "", "and before this one")
	fl.StringVar(&x.held, "held", "", "when you first held the suspect")
	fl.Float64Var(&x.level, "level", 1e-6, "below which a finding is one")
	fl.Float64Var(&x.fdr, "fdr", 0.05, "at which accounts are named; 0: none is")
	fl.StringVar(&x.statement, "statement", "", "the case in a sentence, for the report")
	fl.StringVar(&x.tsa, "tsa", "", "`URL` of an authority that stamps the statement")
	return c
}

// frame makes a frame of the flags.
func (x *frameFlags) frame(a *app, view *commit.View) (*expose.Frame, []expose.Source, error) {
	f := &expose.Frame{
		Version: expose.FrameVersion, Log: view.ID, Accounts: x.accounts, Level: x.level, FDR: x.fdr, PerOne: x.fdr > 0, Score: expose.DefaultScore(), Statement: x.statement,
	}
	if (x.suspect == "") == (x.url == "") || x.url != "" && x.model == "" || x.held == "" {
		return nil, nil, usageError{errors.New("name the suspect, by --suspect or by --url and --model, and since when you have held it (--held)")}
	}
	var err error
	for _, t := range []struct {
		flag, text string
		to         *int64
	}{{"--since", x.since, &f.From}, {"--until", x.until, &f.To}, {"--held", x.held, &f.Held}} {
		if *t.to, err = parseTime(t.flag, t.text); err != nil {
			return nil, nil, err
		}
	}
	if f.Size, err = stampedBefore(view, f.Held); err != nil {
		return nil, nil, err
	}
	for _, s := range x.campaigns {
		name, list, ok := strings.Cut(s, "=")
		if !ok || name == "" || list == "" {
			return nil, nil, usageError{fmt.Errorf("--campaign %q is not NAME=HASH,HASH", s)}
		}
		if f.Campaigns == nil {
			f.Campaigns = map[string]expose.Group{}
		}
		f.Campaigns[name] = strings.Split(list, ",")
	}
	for _, s := range x.windows {
		name, span, _ := strings.Cut(s, "=")
		from, to, ok := strings.Cut(span, ",")
		w := expose.Window{Name: name}
		if !ok {
			return nil, nil, usageError{fmt.Errorf("--window %q is not NAME=FROM,TO", s)}
		}
		if w.From, err = parseTime("--window", from); err != nil {
			return nil, nil, err
		}
		if w.To, err = parseTime("--window", to); err != nil {
			return nil, nil, err
		}
		f.Windows = append(f.Windows, w)
	}
	var sources []expose.Source
	weights := func(name, word string) (expose.Model, error) {
		path, err := a.modelPath(word)
		if err != nil {
			return expose.Model{}, err
		}
		m, _, done, err := loadModel(path)
		if err != nil {
			return expose.Model{}, err
		}
		defer done()
		hash, err := model.HashOf(m)
		if err != nil {
			return expose.Model{}, err
		}
		sources = append(sources, expose.Source{Name: name, Path: path})
		return expose.Model{Name: name, Kind: expose.KindWeights, Hash: hash}, nil
	}
	if x.url != "" {
		f.Suspect = expose.Model{Name: x.name, Kind: expose.KindLogprobs}
		if x.text {
			f.Suspect.Kind = expose.KindText
		}
		sources = append(sources, expose.Source{Name: x.name, BaseURL: x.url, Model: x.model, KeyEnv: x.keyEnv, Prefill: x.prefill, Think: x.think, Input: x.input, Output: x.output})
	} else if f.Suspect, err = weights(x.name, x.suspect); err != nil {
		return nil, nil, err
	}
	if x.reference != "" {
		m, err := weights("reference", x.reference)
		if err != nil {
			return nil, nil, err
		}
		f.Reference = &m
	}
	for i, word := range x.controls {
		m, err := weights(fmt.Sprintf("control %d", i+1), word)
		if err != nil {
			return nil, nil, err
		}
		f.Controls = append(f.Controls, m)
	}
	return f, sources, nil
}

// stampedBefore is how many leaves are under a head that was stamped before a time.
func stampedBefore(view *commit.View, held int64) (size uint64, err error) {
	for _, h := range view.Heads {
		if h.What != commit.WhatHead || len(h.Stamp) == 0 {
			continue
		}
		s, err := commit.CheckStamp(h.Stamp, commit.NoteDigest(h.Note), nil)
		if err != nil {
			return 0, err
		}
		c, err := commit.ParseCheckpoint(commit.NoteText(h.Note))
		if err != nil {
			return 0, err
		}
		if s.Time.UnixNano() <= held {
			size = max(size, c.Size)
		}
	}
	if size == 0 {
		return 0, errors.New("no head of the log was stamped before the suspect was held: its coins show nothing to a stranger; anchor the log in future (retort expose anchor)")
	}
	return size, nil
}

func (a *app) exposeScoreCommand() *cobra.Command {
	var threads, batch int
	var usd float64
	var tsa string
	c := &cobra.Command{
		Use:   "score CASE",
		Short: "Score a case's models, with the coins sealed",
		Long: "Score a case's models, with the coins sealed, and state the scores: their hash\n" +
			"is signed before any coin is opened. A case is scored once.\n\n" +
			"An API is asked within --budget; every answer is kept in the ledger. One that\n" +
			"gives text alone is asked until the e-value reaches the frame's level, or all\n" +
			"coins are used.",
		Example: "  retort expose score 3f9a81c2d4e5 --budget 5",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			return a.exposeScore(c.Context(), list[0], threads, batch, usd, tsa)
		},
	}
	c.Flags().IntVar(&threads, "threads", 0, "threads (default: all cores)")
	c.Flags().IntVar(&batch, "batch", 64, "text alone: coins between two looks at the e-value")
	c.Flags().Float64Var(&usd, "budget", 0, "most that APIs may cost, in US dollars")
	c.Flags().StringVar(&tsa, "tsa", "", "`URL` of an authority that stamps the statement")
	return c
}

func (a *app) exposeScore(ctx context.Context, id string, threads, batch int, usd float64, tsa string) error {
	ws, key, r, view, err := a.exposureLog(ctx)
	if err != nil {
		return err
	}
	made, err := expose.OpenCase(ws, id)
	if err != nil {
		return err
	}
	if _, err := made.Scores(); err == nil {
		return fmt.Errorf("case %s has been scored: retort expose open %s", made.ID(), made.ID())
	}
	f := made.Frame
	entries, _ := f.Select(view.Entries(f.Size))
	pairs, err := expose.Pairs(ctx, r, key, entries)
	if err != nil {
		return err
	}
	lines := expose.Lines(pairs)
	pool := kernel.NewPool(threads)
	defer pool.Close()
	return a.state(ws, func(keys *evidence.Keys, to ledger.Appender) error {
		for _, m := range f.Models() {
			s, err := made.Source(m.Name)
			if err != nil {
				return err
			}
			if err := a.scoreOne(ctx, f, m, s, lines, pairs, pool, batch, usd, to); err != nil {
				return err
			}
		}
		if _, err := commit.State(ctx, f.Log, expose.StateScores, expose.ScoresText(f, expose.EncodeLines(lines)), nil, keys.Signer, stamper(tsa), to); err != nil {
			return err
		}
		err := made.KeepScores(lines)
		if err == nil && !a.quiet {
			fmt.Fprintf(a.stderr, "%d coins scored; now: retort expose open %s\n", len(lines), made.ID())
		}
		return err
	})
}

// scoreOne scores one model of a frame.
func (a *app) scoreOne(ctx context.Context, f *expose.Frame, m expose.Model, s expose.Source, lines []expose.Line, pairs []expose.Pair, pool *kernel.Pool, batch int, usd float64, to ledger.Appender) error {
	if m.Kind == expose.KindWeights {
		loaded, format, err := readModel(s.Path)
		if err != nil {
			return err
		}
		if got := loaded.Hash(); got != m.Hash {
			return fmt.Errorf("%s at %s has the hash %.16s now, the frame says %.16s: it is another model", m.Name, s.Path, got, m.Hash)
		}
		return expose.Add(ctx, lines, pairs, m, &expose.Weights{Model: loaded, Format: format, Pool: pool, On: func(done, of int) {
			if !a.quiet && done == of {
				fmt.Fprintf(a.stderr, "%s: %d pairs scored\n", m.Name, of)
			}
		}})
	}
	asker, request, done, err := a.asker(s, usd, to)
	if err != nil {
		return err
	}
	defer done()
	if m.Kind == expose.KindLogprobs {
		return expose.Add(ctx, lines, pairs, m, &expose.Endpoint{Asker: asker, Request: request})
	}
	t := &expose.Text{Asker: asker, Request: request, Prefill: s.Prefill, Think: s.Think}
	coins := openedCoins(pairs)
	return t.Ask(ctx, f, m, lines, pairs, batch, func(asked int) bool {
		e, err := expose.LogE(f, lines, coins, m)
		if !a.quiet {
			fmt.Fprintf(a.stderr, "%s: %d of %d coins, %d of which it cannot be asked about, e = %s\n", m.Name, asked, len(lines), t.Refused.Load(), evidence.FormatE(e))
		}
		return err == nil && e < -math.Log(f.Level)
	})
}

// openedCoins opens the coins of pairs.
func openedCoins(pairs []expose.Pair) []expose.Coin {
	coins := make([]expose.Coin, len(pairs))
	for i, p := range pairs {
		coins[i] = expose.Coin{Account: p.Account, Time: p.Time, Live: p.Seed.Live()}
	}
	return coins
}

func (a *app) exposeOpenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "open CASE",
		Short: "Open a case's coins and say what was found",
		Long: "Open a case's coins and say what was found. Pack it so that others can check:\n" +
			"retort evidence pack CASE.",
		Example: "  retort expose open 3f9a81c2d4e5",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			ws, key, r, view, err := a.exposureLog(c.Context())
			if err != nil {
				return err
			}
			made, err := expose.OpenCase(ws, list[0])
			if err != nil {
				return err
			}
			lines, err := made.Scores()
			if err != nil {
				return err
			}
			entries, _ := made.Frame.Select(view.Entries(made.Frame.Size))
			pairs, err := expose.Pairs(c.Context(), r, key, entries)
			if err != nil {
				return err
			}
			grids, err := expose.Grids(made.Frame, lines)
			if err != nil {
				return err
			}
			found, err := expose.Tested(made.Frame, lines, grids, openedCoins(pairs))
			if err != nil {
				return err
			}
			return a.show(found, func() error { return a.printOutcomes(made.Frame, found) })
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

func (a *app) printOutcomes(f *expose.Frame, found []expose.Outcome) error {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "model\tcoins of\tcoins\tfigure\tnamed")
	for _, o := range found {
		figure := "p = " + evidence.FormatP(o.LogP)
		if o.LogE != 0 {
			figure = "e = " + evidence.FormatE(o.LogE)
		}
		if o.Scope == expose.ScopeCampaign || o.Scope == expose.ScopeWindow {
			figure += ", " + evidence.FormatP(o.Adjusted) + " after Holm"
		}
		named := ""
		if o.Named {
			named = fmt.Sprintf("yes, at FDR %g", f.FDR)
		}
		fmt.Fprintf(t, "%s\t%s %.12s\t%d\t%s\t%s\n", o.Model, o.Scope, strings.TrimPrefix(o.Subject, o.Scope), o.Coins, figure, named)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout, "A small p says that the model depends on what was served to these accounts; the route is not shown.")
	return err
}
