package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"retort/importer"
	"retort/price"
	"retort/recipe"
	"retort/teach/collect"
	"retort/teach/reference"
	"retort/teach/task"
	"retort/terms"
	"retort/workspace"
)

func init() { register((*app).initCommand) }

// Choices of a teacher beside those that are known by name.
const (
	otherTeacher = "other"  // an address that no provider's row knows
	noTeacher    = "nobody" // the answers are there already, in a file of conversations
)

// initFlags are the answers that the command line gives.
type initFlags struct {
	draft
	teacher, prices, prompts, budget, output string
	yes, force                               bool
}

func (a *app) initCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init",
		Short: "Ask a few questions and write a recipe",
		Long: "Ask a few questions, what the model is for first, and write a commented recipe\n" +
			"that `retort run` takes. Flags answer questions beforehand; answers may come\n" +
			"from a pipe, a line each; --yes takes the default of every other question.",
		Example: "  retort init --yes --prompts tickets.csv --field body",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			q := &interview{lines: newLines(a.stdin), out: a.stderr, given: c.Flags().Changed, yes: f.yes, person: a.isTerminal(a.stdin)}
			if err := f.interview(c.Context(), q); err != nil {
				return err
			}
			return a.writeDraft(&f)
		},
	}
	fl := c.Flags()
	fl.SortFlags = false // the order of the questions
	fl.StringVar(&f.purpose, "purpose", "", "what the model is for, in a `WORD`: extract, …")
	fl.BoolVar(&f.distributed, "distributed", false, "the model will leave your organisation")
	fl.StringVar(&f.teacher, "teacher", "", "reference, a provider's `NAME`, other, or nobody")
	fl.StringVar(&f.baseURL, "base-url", "", "the teacher's address, up to and with /v1")
	fl.StringVar(&f.model, "model", "", "the model's `NAME` there")
	fl.StringVar(&f.keyEnv, "api-key-env", "", "the `VARIABLE` that holds the key, or none")
	fl.StringVar(&f.row, "terms", "", "the terms `ROW` that applies: self-hosted, …")
	fl.StringVar(&f.agreement, "agreement", "", "`FILE` with an agreement of your own")
	fl.StringVar(&f.basis, "basis", "", "`TEXT`: on what a person let the terms pass")
	fl.StringVar(&f.by, "by", "", "`WHO` decided that")
	fl.StringVar(&f.prices, "price", "", "USD per million tokens: `IN,OUT`")
	fl.StringVar(&f.prompts, "prompts", "", "`FILE` of prompts, or families: multiply,list")
	fl.StringVar(&f.field, "field", "", "the prompts' `FIELD`, or a template: \"Q: {{q}}\"")
	fl.StringVar(&f.gold, "gold", "", "the `FIELD` with right answers, or none")
	fl.StringVar(&f.system, "system", "", "`FILE` with a system prompt, or none")
	fl.IntVar(&f.examples, "examples", 0, "examples to learn from (0: all of a file)")
	fl.IntVar(&f.heldout, "heldout", 0, "problems kept for the examination")
	fl.StringVar(&f.budget, "budget", "", "most that the teacher may cost, in `USD`")
	fl.StringVar(&f.name, "name", "", "names the run")
	fl.StringVar(&f.base, "base", "", "`MODEL` to teach (directory, GGUF), or none")
	fl.StringVar(&f.baseRow, "base-terms", "", "the terms `ROW` of its licence")
	fl.StringVarP(&f.output, "output", "o", "", "`FILE` to write (default: the name and .yaml)")
	fl.BoolVar(&f.yes, "yes", false, "ask nothing: take defaults")
	fl.BoolVar(&f.force, "force", false, "write over a file that is there")
	return c
}

// interview goes through the questions.
func (f *initFlags) interview(ctx context.Context, q *interview) error {
	for _, part := range []func(context.Context, *interview) error{f.askUse, f.askTeacher, f.askPrice, f.askPrompts, f.askBudget, f.askName, f.askBase} {
		if err := part(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

var purposeForm = regexp.MustCompile(`^[a-z][a-z0-9 _-]{0,40}$`)

func (f *initFlags) askUse(ctx context.Context, q *interview) error {
	err := q.ask(ctx, question{
		flag: "purpose", text: "What will the model be for, in a word (extract, classify, summarize, assistant, …)", def: "assistant",
		check: func(s string) error {
			if !purposeForm.MatchString(strings.ToLower(s)) {
				return errors.New("a word or two, such as extract")
			}
			f.purpose = strings.ToLower(s)
			return nil
		},
	}, f.purpose)
	if err != nil {
		return err
	}
	return q.ask(ctx, question{
		flag: "distributed", text: "Will it leave your organisation, given or sold to others (yes, no)", def: "no",
		check: func(s string) (err error) {
			f.distributed, err = yesOrNo(s)
			return err
		},
	}, strconv.FormatBool(f.distributed))
}

func yesOrNo(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "y", "yes", "true":
		return true, nil
	case "n", "no", "false":
		return false, nil
	}
	return false, errors.New("yes or no")
}

// askTeacher asks until the terms gate lets a teacher pass.
func (f *initFlags) askTeacher(ctx context.Context, q *interview) error {
	for {
		err := f.askOneTeacher(ctx, q)
		var refused *terms.RefusedError
		if !errors.As(err, &refused) || !q.person || q.given("teacher") {
			return err
		}
		q.say("%v\nChoose another teacher, or end this with Ctrl-C and start again with --agreement FILE.", err)
		f.row = ""
	}
}

func (f *initFlags) askOneTeacher(ctx context.Context, q *interview) error {
	known := collect.Providers()
	names := []string{reference.Provider}
	menu := fmt.Sprintf("\n  %2d  %-10s the built-in teacher: offline, for families of problems", 1, names[0])
	for _, p := range known {
		names = append(names, p.Name)
		menu += fmt.Sprintf("\n  %2d  %-10s %s", len(names), p.Name, p.Title)
	}
	names = append(names, otherTeacher, noTeacher)
	menu += fmt.Sprintf("\n  %2d  %-10s any other OpenAI-compatible address", len(names)-1, otherTeacher)
	menu += fmt.Sprintf("\n  %2d  %-10s learn from conversations that are in a file already\nits number or name", len(names), noTeacher)
	if err := q.ask(ctx, question{
		flag: "teacher", text: "Who is the teacher?" + menu, def: names[0],
		check: func(s string) error {
			if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= len(names) {
				s = names[n-1]
			}
			if !slices.Contains(names, s) {
				return fmt.Errorf("one of %s", strings.Join(names, ", "))
			}
			f.teacher = s
			return nil
		},
	}, f.teacher); err != nil {
		return err
	}
	f.reference, f.imported = f.teacher == reference.Provider, f.teacher == noTeacher
	if f.imported {
		return f.askConversations(ctx, q)
	}
	if f.reference {
		f.model = (reference.Config{}).ModelName()
		return f.gate()
	}
	var of collect.Quirks
	if i := slices.IndexFunc(known, func(p collect.Quirks) bool { return p.Name == f.teacher }); i >= 0 {
		of = known[i]
	}
	if err := f.askAddress(ctx, q, of); err != nil {
		return err
	}
	return f.askTerms(ctx, q)
}

// askConversations asks for the file, and for the terms that its answers were
// obtained under: nothing in it tells.
func (f *initFlags) askConversations(ctx context.Context, q *interview) error {
	if err := q.ask(ctx, question{
		flag: "prompts", text: "Which file (ShareGPT, Alpaca, messages, preference pairs, batch output, logs)",
		check: func(s string) error { return f.tryConversations(ctx, s) },
	}, f.prompts); err != nil {
		return err
	}
	if f.agreement != "" {
		return f.gate()
	}
	err := q.ask(ctx, question{
		flag: "terms", text: "Under which terms row were its answers obtained: " + strings.Join(terms.IDs(), ", "),
		check: func(s string) error {
			f.row = s
			err := f.gate()
			var refused *terms.RefusedError
			if errors.As(err, &refused) && refused.Verdict.Decision == terms.Review && q.person {
				return nil // asked about below
			}
			return err
		},
	}, f.row)
	if err != nil {
		return err
	}
	if err := f.gate(); err != nil {
		return f.askBasis(ctx, q, err)
	}
	return nil
}

// enoughConversations are as many as init reads, to see what a file holds.
const enoughConversations = 2000

var errEnough = errors.New("enough was read")

// tryConversations reads the first conversations of a file.
func (f *initFlags) tryConversations(ctx context.Context, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	n := 0
	report, err := importer.Read(ctx, file, importer.Options{Name: filepath.Base(name)}, func(*importer.Item) error {
		if n++; n == enoughConversations {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if n < 2 {
		return fmt.Errorf("%s has %d conversations to learn from; refused: %s", name, n, refusals(report.Refused))
	}
	if f.file = name; f.heldout == 0 {
		f.heldout = min(200, max(1, n/6))
	}
	return nil
}

func refusals(counts map[string]int64) string {
	var list []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%s %d", reason, counts[reason]))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// askAddress asks where the teacher is, which model is asked, and which
// variable holds the key.
func (f *initFlags) askAddress(ctx context.Context, q *interview, of collect.Quirks) error {
	address := question{
		flag: "base-url", text: "At which address, up to and with /v1", def: of.BaseURL,
		check: func(s string) error {
			u, err := url.Parse(s)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
				return errors.New("an address such as https://api.example.com/v1, without a key in it")
			}
			f.baseURL = strings.TrimSuffix(s, "/")
			return nil
		},
	}
	quiet := *q
	if of.KeyEnv != "" { // a service has one address
		quiet.yes = true
	}
	if err := quiet.ask(ctx, address, f.baseURL); err != nil {
		return err
	}
	if err := q.ask(ctx, question{
		flag: "model", text: "Which model, as the API calls it",
		check: func(s string) error { f.model = s; return nil },
	}, f.model); err != nil {
		return err
	}
	f.provider = ""
	if found, err := collect.QuirksOf("", f.baseURL); err == nil && of.Name != "" && found.Name != of.Name {
		f.provider = of.Name // its address does not tell
	}
	key := question{
		flag: "api-key-env", text: "Which environment variable holds its key (none: it needs no key)", def: of.KeyEnv,
		check: func(s string) error {
			if s == none {
				f.keyEnv = ""
				return nil
			}
			if !variableForm.MatchString(s) {
				return errors.New("the name of a variable such as TEACHER_KEY; the key itself is never written down")
			}
			f.keyEnv = s
			return nil
		},
	}
	if key.def == "" {
		key.def = "TEACHER_KEY"
		if of.Name != "" || local(f.baseURL) {
			key.def = none
		}
	}
	quiet = *q
	quiet.yes = q.yes || of.Name != ""
	return quiet.ask(ctx, key, f.keyEnv)
}

// none is the answer that there is no such thing.
const none = "none"

var variableForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// local reports whether an address is on this machine.
func local(base string) bool { return collect.ProviderOf(base) == "loopback" }

// askTerms asks which terms row applies where neither address nor model tell.
func (f *initFlags) askTerms(ctx context.Context, q *interview) error {
	err := f.gate()
	var refused *terms.RefusedError
	if !errors.As(err, &refused) || refused.Verdict.Decision != terms.Review {
		return err
	}
	if slices.Contains(terms.IDs(), refused.Row.ID) {
		return f.askBasis(ctx, q, err)
	}
	return q.ask(ctx, question{
		flag: "terms", text: "Nothing is known about its terms. Which terms row applies: " + strings.Join(terms.IDs(), ", ") + "\n(self-hosted: a model on your own server, under a licence that you have accepted)",
		check: func(s string) error {
			f.row = s
			err := f.gate()
			if err != nil {
				f.row = ""
			}
			return err
		},
	}, f.row)
}

// askBasis asks a person for the decision that the terms leave to one.
func (f *initFlags) askBasis(ctx context.Context, q *interview, refused error) error {
	if !q.person || q.given("basis") {
		return refused
	}
	q.say("%v", refused)
	if err := q.ask(ctx, question{
		flag: "basis", text: "If that has been decided: on which basis, agreement and section (none: it has not)", def: none,
		check: func(s string) error { f.basis = s; return nil },
	}, f.basis); err != nil {
		return err
	}
	if f.basis == none {
		f.basis = ""
		return refused
	}
	if err := q.ask(ctx, question{
		flag: "by", text: "By whom", check: func(s string) error { f.by = s; return nil },
	}, f.by); err != nil {
		return err
	}
	return f.gate()
}

// gate asks the terms gate as a run will.
func (f *initFlags) gate() error {
	g := terms.Default()
	if f.agreement != "" {
		row, _, err := terms.LoadAgreement(f.agreement)
		if err != nil {
			return usageError{err}
		}
		if g, err = g.With(row); err != nil {
			return usageError{fmt.Errorf("%s: %w", f.agreement, err)}
		}
		f.row = row.ID
	}
	row, err := g.Lookup(f.source())
	if err != nil {
		return usageError{err}
	}
	f.governs = row.ID
	_, err = g.Decide(row, terms.Use{Purpose: f.purpose, Distributed: f.distributed}, terms.Collect, f.overrides())
	return err
}

func (f *initFlags) source() terms.Source {
	s := terms.Source{Row: f.row, Provider: reference.Provider, Model: f.model}
	switch {
	case f.imported:
		s.Provider = ""
	case !f.reference:
		s.Provider, s.BaseURL = collect.ProviderOf(f.baseURL), f.baseURL
		if f.provider != "" {
			s.Provider = f.provider
		}
	}
	return s
}

// askPrice asks for the price where the price book does not know it.
func (f *initFlags) askPrice(ctx context.Context, q *interview) error {
	if f.imported {
		return nil
	}
	if f.reference {
		f.paid = true
		return nil
	}
	provider := f.source().Provider
	if f.governs == terms.SelfHosted {
		provider = price.SelfHosted
	}
	known, err := price.Default().Lookup(provider, f.model, time.Now())
	if err == nil && !q.given("price") {
		f.paid = !known.Free()
		return nil
	}
	return q.ask(ctx, question{
		flag: "price", text: "What do a million tokens cost, in and out, in US dollars, such as 0.15,0.60 (0,0: a server of your own)",
		check: func(s string) error {
			in, out, ok := strings.Cut(s, ",")
			a, err1 := strconv.ParseFloat(strings.TrimSpace(in), 64)
			b, err2 := strconv.ParseFloat(strings.TrimSpace(out), 64)
			if !ok || err1 != nil || err2 != nil {
				return errors.New("two numbers such as 0.15,0.60")
			}
			p, err := price.PerMillion("init", a, -1, b)
			if err != nil {
				return err
			}
			f.price, f.paid = &[2]float64{a, b}, !p.Free()
			return nil
		},
	}, f.prices)
}

func (f *initFlags) askPrompts(ctx context.Context, q *interview) error {
	if f.imported {
		return nil
	}
	def := ""
	if f.reference {
		def = "multiply,chain,list"
	}
	if err := q.ask(ctx, question{
		flag: "prompts", text: "What is it asked? A file of your own (.jsonl, .csv, .parquet), or families of problems:\n" + strings.Join(task.Names(), ", "), def: def,
		check: f.takePrompts,
	}, f.prompts); err != nil {
		return err
	}
	if f.file != "" {
		return f.askFile(ctx, q)
	}
	return q.ask(ctx, question{
		flag: "examples", text: "How many examples should it learn from", def: "12000",
		check: func(s string) error {
			n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
			if err != nil || n < len(f.families) {
				return errors.New("a number such as 12000")
			}
			f.examples = n
			return nil
		},
	}, strconv.Itoa(f.examples))
}

// takePrompts reads the answer as a list of families, or as a file's name.
func (f *initFlags) takePrompts(s string) error {
	f.families, f.file = nil, ""
	names := strings.Split(s, ",")
	for _, name := range names {
		if name = strings.TrimSpace(name); slices.Contains(task.Names(), name) {
			f.families = append(f.families, name)
		}
	}
	if len(f.families) == len(names) {
		return nil
	}
	if _, err := os.Stat(s); err != nil {
		return fmt.Errorf("there is neither a file nor a family %q; families are %s", s, strings.Join(task.Names(), ", "))
	}
	f.families, f.file = nil, s
	return nil
}

// askFile asks what is where in the file, and tries it.
func (f *initFlags) askFile(ctx context.Context, q *interview) error {
	if err := q.ask(ctx, question{
		flag: "field", text: "Which of its fields is the prompt? A field, or a template such as \"Ticket: {{body}}\"", def: "prompt",
		check: func(s string) error {
			f.field = s
			_, err := f.read("")
			return err
		},
	}, f.field); err != nil {
		return err
	}
	if err := q.ask(ctx, question{
		flag: "gold", text: "Which field holds the right answer (none: nothing is known to be right)", def: none,
		check: func(s string) error {
			if f.gold = s; s == none {
				f.gold = ""
				return nil
			}
			_, err := f.read(s)
			return err
		},
	}, f.gold); err != nil {
		return err
	}
	rows, err := f.read(f.gold)
	if err != nil {
		return err
	}
	if f.heldout == 0 {
		f.heldout = min(200, max(1, rows/6))
	}
	return q.ask(ctx, question{
		flag: "system", text: "A file with a system prompt (none: there is none)", def: none,
		check: func(s string) error {
			if f.system = s; s == none {
				f.system = ""
				return nil
			}
			_, err := os.Stat(s)
			return err
		},
	}, f.system)
}

// read tries the file as the recipe will, and counts its problems.
func (f *initFlags) read(gold string) (int, error) {
	opt := task.FileOptions{Field: f.field, Gold: gold}
	if strings.Contains(f.field, "{{") {
		opt.Field, opt.Template = "", f.field
	}
	corpus, err := task.File(f.file, opt)
	if err != nil {
		return 0, err
	}
	return len(corpus.Problems()), nil
}

func (f *initFlags) askBudget(ctx context.Context, q *interview) error {
	if !f.paid {
		return nil
	}
	ask := question{
		flag: "budget", text: "How many US dollars may the teacher cost at most",
		check: func(s string) error {
			usd, err := strconv.ParseFloat(strings.TrimPrefix(s, "$"), 64)
			if err != nil || usd <= 0 || usd > 1e6 {
				return errors.New("an amount such as 2")
			}
			f.usd = usd
			return nil
		},
	}
	if f.reference {
		ask.text, ask.def = "The built-in teacher bills as others do, without a cent paid. What budget", "5"
	}
	return q.ask(ctx, ask, f.budget)
}

var recipeName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func (f *initFlags) askName(ctx context.Context, q *interview) error {
	def := "first"
	if f.file != "" {
		base := strings.ToLower(strings.TrimSuffix(filepath.Base(f.file), filepath.Ext(f.file)))
		if recipeName.MatchString(base) {
			def = base
		}
	}
	err := q.ask(ctx, question{
		flag: "name", text: "What is it called", def: def,
		check: func(s string) error {
			if !recipeName.MatchString(s) {
				return errors.New("1 to 64 of a-z, 0-9, '.', '_' and '-'")
			}
			f.name = s
			return nil
		},
	}, f.name)
	if f.output == "" {
		f.output = f.name + ".yaml"
	}
	return err
}

// writeDraft checks the recipe as `recipe check` does, writes it, and says what
// to do with it.
func (a *app) writeDraft(f *initFlags) error {
	text, err := f.text(f.output)
	if err != nil {
		return usageError{err}
	}
	if _, err := recipe.Parse(f.output, text); err != nil {
		return err
	}
	if old, err := os.ReadFile(f.output); err == nil && !f.force && !bytes.Equal(old, text) {
		return usageError{fmt.Errorf("%s is there already: give another --output, or --force to write over it", f.output)}
	}
	if err := workspace.WriteFileAtomic(f.output, text, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, f.output)
	if a.quiet {
		return nil
	}
	fmt.Fprintf(a.stderr, "\nNext:\n")
	if f.keyEnv != "" && a.getenv(f.keyEnv) == "" {
		fmt.Fprintf(a.stderr, "  put the key into the environment variable %s\n", f.keyEnv)
	}
	type step struct{ line, why string }
	steps := []step{
		{"retort doctor", "check the machine, and the teacher's terms, price and key"},
		{"retort run --plan", "see what it would ask and can cost, for nothing"},
		{"retort run --sample 20", "see twenty answers first, and pay for no more"},
		{"retort run", "collect, train, evaluate, export"},
	}
	if f.imported {
		steps = []step{{"retort recipe preview", "see the first conversations as they are taken"}, {"retort run", "import, train, evaluate, export"}}
	}
	for _, step := range steps {
		fmt.Fprintf(a.stderr, "  %-*s  %s\n", len("retort run --sample 20 ")+len(f.output), step.line+" "+f.output, step.why)
	}
	return nil
}
