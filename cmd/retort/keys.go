package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/meter"
	"retort/watch/gateway"
)

func init() { register((*app).keysCommand) }

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "The keys with which clients use the gateway",
		Long: "The keys with which clients use the gateway. A key is shown once and stored as a\n" +
			"hash; its account is known by a keyed hash. A gateway that is running sees\n" +
			"changes within a second.",
		Example: "  retort keys create acme --rpm 60 --spend 5\n  retort keys list",
	}
	for _, sub := range []*cobra.Command{a.keysCreateCommand(), a.keysListCommand(), a.keysRotateCommand(), a.keysRevokeCommand()} {
		sub.Flags().BoolVar(&a.json, "json", false, "as JSON")
		c.AddCommand(sub)
	}
	return c
}

// keyTable opens the workspace's key table.
func (a *app) keyTable() (*gateway.Keys, error) {
	ws, err := a.open()
	if err != nil {
		return nil, err
	}
	return gateway.OpenKeys(ws)
}

// shownKey is a key as it is printed.
type shownKey struct {
	gateway.Key
	Secret string `json:"secret,omitempty"`
	State  string `json:"state"`
}

func (a *app) keysCreateCommand() *cobra.Command {
	var key gateway.Key
	var expires time.Duration
	var usd float64
	var per string
	c := &cobra.Command{
		Use:   "create ACCOUNT",
		Short: "Make a key for an account, and print it",
		Long: "Make a key for an account, and print it: this once, it is stored nowhere.\n" +
			"Without flags it holds for ever, for every model and route, without limits.",
		Example: "  retort keys create acme --models 'gpt-*' --rpm 60 --spend 5 --per month",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			now := time.Now()
			switch {
			case expires < 0:
				return usageError{fmt.Errorf("--expires %s: it cannot be past", expires)}
			case expires > 0:
				key.Expires = now.Add(expires).UnixNano()
			}
			if usd != 0 {
				limit, err := exchange.Dollars(usd)
				if err != nil {
					return usageError{fmt.Errorf("--spend: %w", err)}
				}
				key.Spend = &gateway.Spend{Limit: limit, Per: per}
			}
			k, err := a.keyTable()
			if err != nil {
				return err
			}
			made, secret, err := k.Create(list[0], key, now)
			if err != nil {
				return err
			}
			return a.showSecret(made, secret)
		},
	}
	c.Flags().StringSliceVar(&key.Models, "models", nil, "models that it may ask, such as gpt-4.1 or 'gpt-*' (default: all)")
	c.Flags().StringSliceVar(&key.Routes, "routes", nil, "what it may be used for: "+strings.Join(gateway.RouteNames(), ", ")+" (default: all)")
	c.Flags().DurationVar(&expires, "expires", 0, "how long it holds, such as 720h (default: for ever)")
	rates(c, &key.Rates)
	c.Flags().Float64Var(&usd, "spend", 0, "the most that its requests may cost, in US dollars")
	c.Flags().StringVar(&per, "per", "month", "what the spend cap is for: "+strings.Join(gateway.Periods, ", "))
	return c
}

func rates(c *cobra.Command, r *meter.Rates) {
	c.Flags().Int64Var(&r.RequestsPerMinute, "rpm", 0, "requests a minute (default: no limit)")
	c.Flags().Int64Var(&r.TokensPerMinute, "tpm", 0, "tokens a minute")
	c.Flags().Int64Var(&r.RequestsPerDay, "rpd", 0, "requests a day")
	c.Flags().Int64Var(&r.TokensPerDay, "tpd", 0, "tokens a day")
}

func (a *app) showSecret(key gateway.Key, secret string) error {
	return a.show(shownKey{key, secret, keyStateOf(key, time.Now())}, func() error {
		if !a.quiet {
			fmt.Fprintf(a.stderr, "key %s of account %.12s; it is not shown again:\n", key.ID, key.Account)
		}
		_, err := fmt.Fprintln(a.stdout, secret)
		return err
	})
}

func (a *app) keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the keys, without what is secret of them",
		Example: "  retort keys list",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			k, err := a.keyTable()
			if err != nil {
				return err
			}
			list, accounts, err := k.List()
			if err != nil {
				return err
			}
			shown := make([]shownKey, len(list))
			for i, key := range list {
				shown[i] = shownKey{Key: key, State: keyStateOf(key, time.Now())}
			}
			return a.show(shown, func() error { return printKeys(a.stdout, shown, accounts) })
		},
	}
}

func printKeys(w io.Writer, list []shownKey, accounts []gateway.Account) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "key\taccount\tstate\tmodels\troutes\tlimits\tmark")
	for _, k := range list {
		mark := ""
		if i := slices.IndexFunc(accounts, func(a gateway.Account) bool { return a.Hash == k.Account }); i >= 0 {
			mark = accounts[i].Mark
		}
		all := func(s []string) string { return cmp.Or(strings.Join(s, ","), "all") }
		fmt.Fprintf(t, "%s\t%.12s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Account, k.State, all(k.Models), all(k.Routes), limitsOf(k.Key), mark)
	}
	return t.Flush()
}

func limitsOf(k gateway.Key) string {
	var out []string
	for _, r := range []struct {
		n    int64
		name string
	}{{k.Rates.RequestsPerMinute, "rpm"}, {k.Rates.TokensPerMinute, "tpm"}, {k.Rates.RequestsPerDay, "rpd"}, {k.Rates.TokensPerDay, "tpd"}} {
		if r.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", r.n, r.name))
		}
	}
	if k.Spend != nil {
		out = append(out, fmt.Sprintf("%s per %s", k.Spend.Limit, k.Spend.Per))
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

// keyStateOf says in words whether a key holds.
func keyStateOf(k gateway.Key, now time.Time) string {
	date := func(t int64) string { return time.Unix(0, t).Local().Format(time.DateTime) }
	switch {
	case k.Revoked != 0:
		return "revoked " + date(k.Revoked)
	case k.Expires != 0 && now.UnixNano() >= k.Expires:
		return "expired " + date(k.Expires)
	case k.Expires != 0:
		return "until " + date(k.Expires)
	}
	return "holds"
}

func (a *app) keysRotateCommand() *cobra.Command {
	var grace time.Duration
	c := &cobra.Command{
		Use:     "rotate KEY",
		Short:   "Give a key a new secret, and print it",
		Long:    "Give a key a new secret, and print it. What it may do and has used stays.",
		Example: "  retort keys rotate key_4xq2m7abcdef --grace 24h",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			if grace < 0 {
				return usageError{errors.New("--grace cannot be negative")}
			}
			k, err := a.keyTable()
			if err != nil {
				return err
			}
			key, secret, err := k.Rotate(list[0], time.Now(), grace)
			if err != nil {
				return err
			}
			return a.showSecret(key, secret)
		},
	}
	c.Flags().DurationVar(&grace, "grace", 0, "how long the old secret still holds (default: it ends at once)")
	return c
}

func (a *app) keysRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke KEY",
		Short:   "End a key",
		Example: "  retort keys revoke key_4xq2m7abcdef",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			k, err := a.keyTable()
			if err != nil {
				return err
			}
			key, err := k.Revoke(list[0], time.Now())
			if err != nil {
				return err
			}
			return a.show(shownKey{Key: key, State: keyStateOf(key, time.Now())}, func() error {
				_, err := fmt.Fprintf(a.stdout, "%s is revoked\n", key.ID)
				return err
			})
		},
	}
}
