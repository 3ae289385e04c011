package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"retort/prove/evidence"
	"retort/prove/expose"
	"retort/prove/identity"
	"retort/workspace"
)

func init() { register((*app).evidenceCommand) }

func (a *app) evidenceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "evidence",
		Short: "Packs that a stranger can check",
		Long: "Packs that a stranger can check: one file with the log, its stamps, the opened\n" +
			"coins, the exchanges or their salted hashes, the scores, and every figure. Only\n" +
			"the file and your public key are needed to compute them anew.",
		Example: "  retort evidence keygen\n  retort evidence pack 3f9a81c2d4e5 -o case.pack\n  retort evidence verify case.pack --key evidence.pub",
	}
	c.AddCommand(a.evidenceKeygenCommand(), a.evidenceRotateCommand(), a.evidencePackCommand(), a.evidenceVerifyCommand())
	return c
}

func (a *app) evidenceKeygenCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make the key that signs heads and packs",
		Long: "Make the key that signs heads of the log and packs, and print its public half.\n" +
			"Publish that where people will look for it: a pack is worth no more than the\n" +
			"reader's trust in it.",
		Example: "  retort evidence keygen --name api.example.com/exposure",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if name == "" || strings.ContainsAny(name, " \t\r\n+") {
				return usageError{fmt.Errorf("--name %q: a name has no spaces and no +", name)}
			}
			dir, err := workspace.Find(a.workspace)
			if err != nil {
				return err
			}
			ws, err := workspace.Open(dir)
			if err != nil {
				return err
			}
			keys, err := evidence.Keygen(ws, name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, keys.Public)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "retort.invalid/exposure", "whose key it is: your domain, say")
	return c
}

func (a *app) evidenceRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rotate",
		Short:   "Put a new key in place of the one in use",
		Long:    "Put a new key in place of the one in use, and print its public half. Both keys\nsign that, and packs carry it: who trusts one can go on to the other.",
		Example: "  retort evidence rotate",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ws, err := a.existing()
			if err != nil {
				return err
			}
			keys, err := evidence.Rotate(ws)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, keys.Public)
			return err
		},
	}
}

func (a *app) evidencePackCommand() *cobra.Command {
	var out, title, terms, said string
	var hashed bool
	c := &cobra.Command{
		Use:   "pack CASE",
		Short: "Pack a case that has been scored",
		Long: "Pack a case that has been scored, with its coins opened. It discloses prompts\n" +
			"and answers of the case's coins, unless you say --hashed: then a reader can\n" +
			"check every figure, and not that the scores belong to the answers.",
		Example: "  retort evidence pack 3f9a81c2d4e5 -o case.pack --terms terms.json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if out == "" {
				return usageError{errors.New("-o: where should the pack go?")}
			}
			ws, key, r, view, err := a.exposureLog(c.Context())
			if err != nil {
				return err
			}
			made, err := expose.OpenCase(ws, list[0])
			if err != nil {
				return err
			}
			x := evidence.Case{Title: title, Code: "retort " + buildVersion().Version, Disclosure: evidence.DiscloseFull, Made: time.Now(), View: view, Frame: made.Frame, Terms: []byte("{}")}
			if x.Title == "" {
				x.Title = "Exposure test of " + made.Frame.Suspect.Name
			}
			if hashed {
				x.Disclosure = evidence.DiscloseHashed
			}
			if x.Lines, err = made.Scores(); err != nil {
				return err
			}
			if terms != "" {
				if x.Terms, err = os.ReadFile(terms); err != nil {
					return err
				}
			}
			if x.Said, err = readWeighed(said); err != nil {
				return err
			}
			if x.Keys, err = evidence.OpenKeys(ws); err != nil {
				return err
			}
			entries, _ := made.Frame.Select(view.Entries(made.Frame.Size))
			if x.Pairs, err = expose.Pairs(c.Context(), r, key, entries); err != nil {
				return err
			}
			if x.Subject, err = subjectFiles(made); err != nil {
				return err
			}
			file, err := evidence.Build(x)
			if err != nil {
				return err
			}
			if err := workspace.WriteFileAtomic(out, file, 0o600); err != nil {
				return err
			}
			if !a.quiet {
				fmt.Fprintf(a.stderr, "%s: %d bytes; anyone can check it: retort evidence verify %s --key %s\n", out, len(file), out, x.Keys.Public)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` of the pack")
	c.Flags().StringVar(&title, "title", "", "of the report")
	c.Flags().StringVar(&terms, "terms", "", "JSON `FILE` with the terms that were in force")
	c.Flags().StringVar(&said, "identity", "", "`FILE` of retort identity weigh --json")
	c.Flags().BoolVar(&hashed, "hashed", false, "salted hashes instead of prompts and answers")
	return c
}

func readWeighed(file string) ([]identity.Result, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []identity.Result
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("%s is not what `retort identity weigh --json` prints: %w", file, err)
	}
	return out, nil
}

// subjectFiles are the hashes of the suspect's files, where it is there as weights.
func subjectFiles(made *expose.Case) ([]evidence.File, error) {
	if made.Frame.Suspect.Kind != expose.KindWeights {
		return nil, nil
	}
	s, err := made.Source(made.Frame.Suspect.Name)
	if err != nil {
		return nil, err
	}
	return evidence.Files(s.Path)
}

func (a *app) evidenceVerifyCommand() *cobra.Command {
	var key, roots, report string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a pack, and compute every figure anew",
		Long: "Check a pack, and compute every figure anew, without a network. The key is the\n" +
			"operator's public one, from another source than the pack, or a file that holds\n" +
			"it. Exit code 7 says that it does not hold, and why names the part.\n\n" +
			"Stamps are checked for what they are about and who signed them; with --roots\n" +
			"that must lead to an authority of yours. A witness of the operator's own is\n" +
			"named a demonstration.",
		Example: "  retort evidence verify case.pack --key evidence.pub --report case.html",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			file, err := os.ReadFile(list[0])
			if err != nil {
				return err
			}
			if key == "" {
				return usageError{errors.New("--key: the public key that you trust, or a file that holds it")}
			}
			if raw, err := os.ReadFile(key); err == nil {
				key = strings.TrimSpace(string(raw))
			}
			var pool *x509.CertPool
			if roots != "" {
				pem, err := os.ReadFile(roots)
				if err != nil {
					return err
				}
				if pool = x509.NewCertPool(); !pool.AppendCertsFromPEM(pem) {
					return fmt.Errorf("%s holds no certificate in PEM", roots)
				}
			}
			got, err := evidence.Verify(file, key, pool)
			if err != nil {
				return fmt.Errorf("%s does not hold: %w", list[0], err)
			}
			if report != "" {
				page, err := got.Report()
				if err != nil {
					return err
				}
				if err := workspace.WriteFileAtomic(report, page, 0o644); err != nil {
					return err
				}
			}
			return a.show(got.Results, func() error { return a.printChecked(got) })
		},
	}
	c.Flags().StringVar(&key, "key", "", "the public `KEY`, or a file with it")
	c.Flags().StringVar(&roots, "roots", "", "PEM `FILE` of time-stamping authorities' roots")
	c.Flags().StringVar(&report, "report", "", "write the report to `FILE`, rendered anew")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

func (a *app) printChecked(got *evidence.Checked) error {
	r := got.Results
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(a.stdout, "%s: it holds. %d coins count, void %v; stamped %s by %s\n", got.Manifest.Title, r.Coins, r.Void, time.Unix(0, r.Stamp.Time).UTC().Format(time.RFC3339), r.Stamp.Authority)
	if r.Stamp.Demonstration {
		fmt.Fprintln(a.stdout, "Its stamps are a demonstration: they show nothing to a stranger.")
	}
	fmt.Fprintln(t, "#\tfinding\tof\tfigure\tfound")
	for i, f := range r.Findings {
		below := map[bool]string{true: "yes", false: "no"}[f.Found]
		if f.Ratio > 0 {
			below = "-"
		}
		fmt.Fprintf(t, "%d\t%s\t%.12s\t%s\t%s\n", i+1, f.What, f.Subject, f.Figure(), below)
	}
	for _, o := range r.Controls(got.Frame) {
		figure := "p = " + evidence.FormatP(o.LogP)
		if o.LogE != 0 {
			figure = "e = " + evidence.FormatE(o.LogE)
		}
		fmt.Fprintf(t, "\t%s, unrelated, through the same test\t\t%s\t\n", o.Model, figure)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Findings) > 0 {
		fmt.Fprintf(a.stdout, "Innocent explanation of the first: %s.\n", r.Findings[0].Innocent)
	}
	return nil
}
