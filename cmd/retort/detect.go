package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/internal/stat"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/report"
	"retort/watch/detect"
	"retort/watch/simulate"
	"retort/workspace"
)

func init() { register((*app).detectCommand) }

// detectFlags are what detection is asked for.
type detectFlags struct {
	calibration, organisations, html, state string
	level, fdr                              float64
	limit                                   int
	follow                                  bool
	every                                   time.Duration
}

func (a *app) detectCommand() *cobra.Command {
	var f detectFlags
	c := &cobra.Command{
		Use:   "detect [LOG...]",
		Short: "Say which accounts harvest the model, and with which error rate",
		Long: "Say which accounts, and which groups of accounts, harvest the model that the\n" +
			"gateway serves: an e-value each, the strongest reasons, and the innocent\n" +
			"explanations that fit. It reads the ledger, or logs of others: LiteLLM's,\n" +
			"OpenTelemetry's (OTLP JSON), JSON lines. Before `retort detect calibrate` has\n" +
			"seen enough innocent accounts it prints a ranking only.\n\n" +
			"--organisations names innocent organisations, with which groups are compared:\n" +
			"lines of account,organisation,true or false.",
		Example: "  retort detect --organisations known.csv --html report.html\n  retort detect litellm.jsonl --json",
		RunE: func(c *cobra.Command, list []string) error {
			if f.follow && len(list) > 0 {
				return usageError{errors.New("--follow goes with the ledger, and not with logs")}
			}
			return a.detect(c.Context(), list, f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.calibration, "calibration", "", "`FILE` (default: the workspace's, if there is one)")
	fl.StringVar(&f.organisations, "organisations", "", "`FILE` of accounts and their organisations")
	fl.Float64Var(&f.level, "level", 1e-3, "of a lifetime alarm, for one ordinary account")
	fl.Float64Var(&f.fdr, "fdr", 0.05, "false discovery rate of the named accounts")
	fl.IntVar(&f.limit, "limit", 20, "show at most so many accounts (0: all)")
	fl.StringVar(&f.html, "html", "", "`FILE` to write a page to")
	fl.StringVar(&f.state, "state", "", "`FILE` that keeps what was read, so that the next run goes on from there")
	fl.BoolVar(&f.follow, "follow", false, "go on with what is recorded, until Ctrl-C")
	fl.DurationVar(&f.every, "every", time.Minute, "how often --follow reports")
	fl.BoolVar(&a.json, "json", false, "as JSON")
	c.AddCommand(a.calibrateCommand())
	return c
}

// calibration reads a calibration: one that was named, or the workspace's; nil if that
// has none.
func (a *app) calibration(path string) (*detect.Calibration, error) {
	if path != "" {
		return detect.ReadCalibration(path)
	}
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil, err
	}
	c, err := detect.ReadCalibration(filepath.Join(dir, "detection", calibrationName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return c, err
}

const calibrationName = "calibration.json"

func (a *app) detect(ctx context.Context, logs []string, f detectFlags) error {
	cal, err := a.calibration(f.calibration)
	if err != nil {
		return err
	}
	d, err := detect.NewDetector(cal)
	if err != nil {
		return err
	}
	opt := detect.Options{Level: f.level, FDR: f.fdr}
	if !(f.level > 0 && f.level < 1) || !(f.fdr > 0 && f.fdr < 1) {
		return usageError{fmt.Errorf("--level %v and --fdr %v: want numbers between 0 and 1", f.level, f.fdr)}
	}
	ws, err := a.open()
	if err != nil {
		return err
	}
	key, err := ws.AccountKey()
	if err != nil {
		return err
	}
	if f.organisations != "" {
		if opt.Organisations, opt.Decoys, err = readOrganisations(f.organisations, key); err != nil {
			return err
		}
	}
	var notes []string
	if len(logs) > 0 {
		for _, name := range logs {
			note, err := a.readLog(ctx, name, key, d)
			if err != nil {
				return err
			}
			notes = append(notes, note)
		}
		return a.reportDetection(ctx, d, nil, opt, f, notes)
	}
	r, err := a.reader()
	if err != nil {
		return err
	}
	if f.follow {
		return a.follow(ctx, r, d, opt, f)
	}
	cursor, err := restore(f.state, d)
	if err != nil {
		return err
	}
	if err := d.Ahead(func() error { return r.CatchUp(ctx, cursor, d.Record) }); err != nil {
		return err
	}
	if err := save(f.state, d, cursor); err != nil {
		return err
	}
	return a.reportDetection(ctx, d, r, opt, f, notes)
}

// readLog reads another program's log.
func (a *app) readLog(ctx context.Context, name string, key []byte, d *detect.Detector) (string, error) {
	in, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist): // or a command that there is not
		return "", usageError{err}
	case err != nil:
		return "", err
	}
	defer in.Close()
	var list []*exchange.Exchange
	rep, err := detect.ReadLog(ctx, in, filepath.Base(name), key, func(e *exchange.Exchange) error {
		list = append(list, e)
		return nil
	})
	if err != nil {
		return "", err
	}
	// Logs need not be in order.
	slices.SortStableFunc(list, func(x, y *exchange.Exchange) int { return int(min(1, max(-1, x.Times.Sent-y.Times.Sent))) })
	for _, e := range list {
		d.Exchange(e)
	}
	if rep.Read == 0 {
		return "", fmt.Errorf("log %s: none of its %d rows could be read: %d are no conversation, %d name no account, %d no time", name, rep.Rows, rep.Refused, rep.NoAccount, rep.NoTime)
	}
	return fmt.Sprintf("%s: %d of %d rows read, %d are no conversation, %d name no account, %d no time", filepath.Base(name), rep.Read, rep.Rows, rep.Refused, rep.NoAccount, rep.NoTime), nil
}

// stateFile is a detector's state with its place in the ledger.
type stateFile struct {
	Cursor segment.Cursor `json:"cursor"`
}

func restore(path string, d *detect.Detector) (*segment.Cursor, error) {
	cursor := &segment.Cursor{}
	if path == "" {
		return cursor, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cursor, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	var s stateFile
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("%s is no state of detection: %w; remove it, and the ledger is read from its beginning", path, err)
	}
	if _, err := f.Seek(dec.InputOffset()+1, 0); err != nil {
		return nil, err
	}
	if err := d.Restore(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &s.Cursor, nil
}

func save(path string, d *detect.Detector, cursor *segment.Cursor) error {
	if path == "" {
		return nil
	}
	f, err := workspace.CreateAtomic(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := json.NewEncoder(f).Encode(stateFile{*cursor}); err != nil {
		return err
	}
	if err := d.Save(f); err != nil {
		return err
	}
	return f.Commit()
}

// follow reports again and again, until it is interrupted.
func (a *app) follow(ctx context.Context, r *segment.Reader, d *detect.Detector, opt detect.Options, f detectFlags) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	cursor, err := restore(f.state, d)
	if err != nil {
		return err
	}
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		if err := d.Ahead(func() error { return r.CatchUp(ctx, cursor, d.Record) }); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := save(f.state, d, cursor); err != nil {
			return err
		}
		if err := a.reportDetection(ctx, d, r, opt, f, nil); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reportDetection prints, and writes the page.
func (a *app) reportDetection(ctx context.Context, d *detect.Detector, r ledger.Reader, opt detect.Options, f detectFlags, notes []string) error {
	rep, err := d.Report(opt)
	if err != nil {
		return err
	}
	rep.Notes = append(rep.Notes, notes...)
	if r != nil {
		if err := prompts(ctx, r, rep); err != nil {
			return err
		}
	}
	if f.html != "" {
		out, err := workspace.CreateAtomic(f.html)
		if err != nil {
			return err
		}
		defer out.Abort()
		if err := rep.HTML(out); err != nil {
			return err
		}
		if err := out.Commit(); err != nil {
			return err
		}
	}
	return a.show(rep, func() error { return rep.Print(a.stdout, f.limit) })
}

// prompts looks the examples up, and whether any of it is simulated.
func prompts(ctx context.Context, r ledger.Reader, rep *detect.Report) error {
	want := make(map[exchange.ID][]*detect.Reason)
	for i := range rep.Accounts {
		for j := range rep.Accounts[i].Reasons {
			reason := &rep.Accounts[i].Reasons[j]
			for _, id := range reason.Examples {
				want[id] = append(want[id], reason)
			}
		}
	}
	simulated := false
	err := r.Scan(ctx, func(rec ledger.Record) error {
		if rec.Kind != ledger.KindIntent {
			return nil
		}
		for _, reason := range want[rec.Exchange] {
			ev, err := detect.FromExchange(&exchange.Exchange{ID: rec.Exchange, RequestBody: rec.Body})
			if err != nil {
				continue
			}
			last := ""
			for _, m := range ev.Messages {
				if m.Role == "user" {
					last = m.Content
				}
			}
			if list := []rune(last); len(list) > 160 {
				last = string(list[:110]) + " … " + string(list[len(list)-45:])
			}
			reason.Prompts = append(reason.Prompts, last)
		}
		if !simulated && len(want[rec.Exchange]) > 0 {
			var in ledger.Intent
			if err := in.UnmarshalJSON(rec.Head); err != nil {
				return err
			}
			simulated = in.Stage == simulate.Stage
		}
		return nil
	})
	rep.Simulated = rep.Simulated || simulated
	return err
}

func (a *app) calibrateCommand() *cobra.Command {
	var organisations, out, data string
	var level, share float64
	var simulated bool
	c := &cobra.Command{
		Use:   "calibrate",
		Short: "Learn what ordinary accounts look like",
		Long: "Learn what ordinary accounts look like, from accounts of the ledger that are\n" +
			"known to be innocent: those marked benign (`retort accounts mark`) and those of\n" +
			"innocent organisations. A part of them teaches the score, together with\n" +
			"simulated accounts that harvest; with the scores of the others accounts are\n" +
			"compared. The error rate rests on the latter alone.",
		Example: "  retort detect calibrate --organisations known.csv",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if !(level > 0 && level < 1) || !(share > 0 && share < 1) {
				return usageError{fmt.Errorf("--level %v and --teach %v: want numbers between 0 and 1", level, share)}
			}
			return a.calibrate(c.Context(), organisations, out, data, level, share, simulated)
		},
	}
	fl := c.Flags()
	fl.StringVar(&organisations, "organisations", "", "`FILE` of accounts and their organisations, and which are innocent")
	fl.StringVar(&out, "out", "", "`FILE` to write (default: the workspace's)")
	fl.Float64Var(&level, "level", 1e-3, "segments are as fine as this level allows")
	fl.Float64Var(&share, "teach", 0.25, "share of the organisations that the score learns from")
	fl.BoolVar(&simulated, "simulated", false, "the innocent accounts are simulated: every report says so")
	fl.StringVar(&data, "data", "", "`DIR` of real prompts for the simulated accounts (default: RETORT_TESTDATA)")
	fl.BoolVar(&a.json, "json", false, "as JSON")
	return c
}

// calibrated is what a calibration amounts to.
type calibrated struct {
	File     string `json:"file"`
	Accounts int    `json:"accounts"`
	Trained  int    `json:"trained"`
	Needed   int    `json:"needed"`
	Segments []int  `json:"segments"` // accounts of each
}

func (a *app) calibrate(ctx context.Context, organisations, out, data string, level, share float64, simulated bool) error {
	ws, err := a.open()
	if err != nil {
		return err
	}
	key, err := ws.AccountKey()
	if err != nil {
		return err
	}
	of, benign := map[string]string{}, map[string]bool{}
	if organisations != "" {
		if of, benign, err = readOrganisations(organisations, key); err != nil {
			return err
		}
	}
	r, err := a.reader()
	if err != nil {
		return err
	}
	marks := make(map[string]string)
	if err := r.Scan(ctx, func(rec ledger.Record) error {
		switch rec.Kind {
		case ledger.KindMark:
			m, err := ledger.ParseMark(rec)
			marks[m.Account] = m.Mark
			return err
		case ledger.KindIntent:
			if !simulated {
				var in ledger.Intent
				if err := in.UnmarshalJSON(rec.Head); err != nil {
					return err
				}
				simulated = in.Stage == simulate.Stage
			}
		}
		return nil
	}); err != nil {
		return err
	}
	innocent := func(account string) (detect.Role, bool) {
		org, known := of[account]
		if !known {
			org = account
		}
		if m := marks[account]; m != ledger.MarkBenign && (m != "" || !benign[org]) {
			return 0, false
		}
		return detect.RoleOf(org, share), true
	}
	if data == "" {
		data = a.getenv("RETORT_TESTDATA")
	}
	world, err := simulate.Load(data)
	if err != nil {
		return err
	}
	src := func(want func(detect.Role) bool, fn func(detect.Role, *detect.Event) error) error {
		if err := detect.EventsOf(ctx, r, func(ev *detect.Event) error {
			if role, ok := innocent(ev.Account); ok && want(role) {
				return fn(role, ev)
			}
			return nil
		}); err != nil {
			return err
		}
		if !want(detect.RoleHarvest) {
			return nil
		}
		return simulate.Harvests(world, 150, 100, func(ev *detect.Event) error { return fn(detect.RoleHarvest, ev) })
	}
	source := "innocent accounts of the ledger"
	if simulated {
		source = "simulated accounts of the ledger"
	}
	cal, err := detect.Calibrate(src, detect.CalibrateOptions{Source: source, Simulated: simulated, SimulatedHarvests: true, Level: level, Now: time.Now()})
	if err != nil {
		return err
	}
	if out == "" {
		if err := os.MkdirAll(ws.Path("detection"), 0o755); err != nil {
			return err
		}
		out = filepath.Join(ws.Path("detection"), calibrationName)
	}
	if err := cal.WriteFile(out); err != nil {
		return err
	}
	res := calibrated{out, cal.Accounts, cal.Trained, stat.SizeToHold(level, detect.Confidence), cal.Sizes()}
	return a.show(res, func() error {
		fmt.Fprintf(a.stdout, "calibrated on %s accounts in %d segments; %s others taught the score: %s\n",
			report.FormatCount(int64(res.Accounts)), len(res.Segments), report.FormatCount(int64(res.Trained)), out)
		for i, n := range res.Segments {
			state := "can speak"
			if n < res.Needed {
				state = fmt.Sprintf("uncalibrated: %d of %d", n, res.Needed)
			}
			fmt.Fprintf(a.stdout, "segment %d: %d accounts, %s at a level of %g\n", i, n, state, level)
		}
		return nil
	})
}
