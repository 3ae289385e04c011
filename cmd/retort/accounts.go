package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"retort/ledger"
	"retort/ledger/segment"
	"retort/watch/gateway"
)

func init() { register((*app).accountsCommand) }

func (a *app) accountsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "accounts",
		Short: "What is known and held of the gateway's accounts",
		Long: "What is known and held of the gateway's accounts. An account is named by its\n" +
			"name, or by its hash as `retort keys list` shows it.",
		Example: "  retort accounts mark 3f9a81c2d4e5 hold --reason 'case 4'",
	}
	c.AddCommand(a.accountsRevealCommand(), a.accountsMarkCommand(), a.accountsAttestCommand(), a.accountsConsentCommand())
	return c
}

// account finds an account and appends a record about it, durably, before then is
// called.
func (a *app) account(ctx context.Context, word string, record func(gateway.Account) (ledger.Record, error), then func(*gateway.Keys, gateway.Account) error) error {
	ws, err := a.open()
	if err != nil {
		return err
	}
	k, err := gateway.OpenKeys(ws)
	if err != nil {
		return err
	}
	account, err := k.Find(word)
	if err != nil {
		return err
	}
	rec, err := record(account)
	if err != nil {
		return err
	}
	if err := recording(ws, func(store *segment.Store) error { return store.Append(ctx, rec) }); err != nil {
		return err
	}
	return then(k, account)
}

func (a *app) accountsRevealCommand() *cobra.Command {
	var reason, by string
	c := &cobra.Command{
		Use:     "reveal ACCOUNT",
		Short:   "Print the name of an account; this is recorded",
		Long:    "Print the name of an account, which is sealed. That it was looked at, by whom\nand why, is recorded first and cannot be taken back.",
		Example: "  retort accounts reveal 3f9a81c2d4e5 --reason 'case 4' --by ann",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if reason == "" {
				return usageError{errors.New("--reason: why is the name needed?")}
			}
			return a.account(c.Context(), list[0], func(account gateway.Account) (ledger.Record, error) {
				return ledger.NewAudit(ledger.Audit{What: "reveal", Subject: account.Hash, By: by, Reason: reason})
			}, func(k *gateway.Keys, account gateway.Account) error {
				name, err := k.Reveal(account)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, name)
				return err
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it is recorded")
	c.Flags().StringVar(&by, "by", "", "who asks; it is recorded")
	return c
}

func (a *app) accountsMarkCommand() *cobra.Command {
	var reason, by string
	c := &cobra.Command{
		Use:   "mark ACCOUNT MARK",
		Short: "Mark an account: benign, suppress or hold",
		Long: "Mark an account. benign: it is known to be innocent; suppress: no verdict about\n" +
			"it is to be shown; hold: it is under investigation. Rules of the gateway's\n" +
			"configuration can ask for marks. The last one counts.",
		Example: "  retort accounts mark 3f9a81c2d4e5 hold --reason 'case 4' --by ann",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, list []string) error {
			mark := list[1]
			if !slices.Contains(ledger.Marks, mark) {
				return usageError{fmt.Errorf("there is no mark %q; there are %s", mark, strings.Join(ledger.Marks, ", "))}
			}
			return a.account(c.Context(), list[0], func(account gateway.Account) (ledger.Record, error) {
				return ledger.NewMark(ledger.Mark{Account: account.Hash, Mark: mark, By: by, Reason: reason})
			}, func(k *gateway.Keys, account gateway.Account) error {
				if err := k.SetMark(account.Hash, mark); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.stdout, "account %.12s is marked %s\n", account.Hash, mark)
				return err
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it is recorded")
	c.Flags().StringVar(&by, "by", "", "who says so; it is recorded")
	return c
}

func (a *app) accountsAttestCommand() *cobra.Command {
	var basis, by string
	var long time.Duration
	c := &cobra.Command{
		Use:   "attest ACCOUNT",
		Short: "Record what an account attests that it uses answers for",
		Long: "Record what an account attests that it uses answers for, and where that is\n" +
			"written. Rules of the gateway's configuration with the action attest let an\n" +
			"account pass while its attestation holds.",
		Example: "  retort accounts attest acme --basis statement.pdf --for 8760h --by ann",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			written, err := basisOf(basis, "attests it")
			if err != nil {
				return err
			}
			if long <= 0 {
				return usageError{errors.New("--for: it has to be longer than 0")}
			}
			until := time.Now().Add(long)
			return a.account(c.Context(), list[0], func(account gateway.Account) (ledger.Record, error) {
				return ledger.NewAttestation(ledger.Attestation{Account: account.Hash, Basis: written, Until: until.UnixNano(), By: by})
			}, func(k *gateway.Keys, account gateway.Account) error {
				if err := k.SetAttested(account.Hash, until); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.stdout, "account %.12s has attested until %s\n", account.Hash, until.Format(time.DateTime))
				return err
			})
		},
	}
	c.Flags().StringVar(&basis, "basis", "", "`FILE` in which the account attests it; its name and hash are recorded")
	c.Flags().DurationVar(&long, "for", 365*24*time.Hour, "how long it holds")
	c.Flags().StringVar(&by, "by", "", "who says so; it is recorded")
	return c
}

// basisOf names a file by its hash, for a record that rests on it.
func basisOf(file, does string) (string, error) {
	if file == "" {
		return "", usageError{errors.New("--basis: name the file in which the account " + does)}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, sha256 %x", file, sha256.Sum256(text)), nil
}

func (a *app) accountsConsentCommand() *cobra.Command {
	var basis, people string
	var withdraw bool
	c := &cobra.Command{
		Use:   "consent ACCOUNT",
		Short: "Record that an account agreed to its exchanges being used",
		Long: "Record that an account agreed to its exchanges being used to teach a student,\n" +
			"and where that is written. A recipe with `prompts: [{served: {}}]` learns from\n" +
			"accounts that agreed. --withdraw takes it back: what is made from then on goes\n" +
			"without them. What was recorded last counts.",
		Example: "  retort accounts consent acme --basis agreement.pdf\n  retort accounts consent acme --withdraw",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			said := ledger.Consent{Consent: ledger.ConsentNone, People: people}
			if !withdraw || basis != "" {
				written, err := basisOf(basis, "agrees")
				if err != nil {
					return err
				}
				said.Basis = written
			}
			done := "consent of account %.12s is withdrawn\n"
			if !withdraw {
				said.Consent, done = ledger.ConsentRecorded, "consent of account %.12s is recorded\n"
			}
			return a.account(c.Context(), list[0], func(account gateway.Account) (ledger.Record, error) {
				said.Source = gateway.Source(account.Hash)
				return ledger.NewConsent(said)
			}, func(_ *gateway.Keys, account gateway.Account) error {
				_, err := fmt.Fprintf(a.stdout, done, account.Hash)
				return err
			})
		},
	}
	c.Flags().StringVar(&basis, "basis", "", "`FILE` in which the account agrees; its name and hash are recorded")
	c.Flags().BoolVar(&withdraw, "withdraw", false, "the account does not agree any more; --basis may be left out")
	c.Flags().StringVar(&people, "people", "", "whose words the exchanges hold, such as 'support customers'")
	return c
}
