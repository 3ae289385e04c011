package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"retort/ledger/segment"
	"retort/watch/gateway"
)

func init() { register((*app).gatewayCommand) }

func (a *app) gatewayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "gateway FILE",
		Short: "Pass requests on to a model's API, and record them",
		Long: "Pass requests on to one or several APIs, and record every exchange in the\n" +
			"ledger. Clients use keys of the gateway's own (retort keys). They see the API's\n" +
			"bytes unchanged as they arrive; the end of an answer waits until the record is\n" +
			"durable. GET /health wants no key, GET /metrics any. Where\n" +
			"OTEL_EXPORTER_OTLP_ENDPOINT names a collector, each exchange is a span there.\n\n" +
			"SIGHUP reads FILE again; a mistake in it leaves the configuration as it was.\n" +
			"Ctrl-C lets answers under way come to their end.",
		Example: "  retort keys create acme --rpm 60 --spend 5\n  retort gateway gateway.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(c *cobra.Command, list []string) error { return a.gateway(c.Context(), list[0]) },
	}
	c.AddCommand(&cobra.Command{
		Use:     "check FILE",
		Short:   "Check a gateway's configuration",
		Example: "  retort gateway check gateway.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			cfg, err := gateway.Load(list[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s: good; %d upstreams, listens on %s\n", list[0], len(cfg.Upstreams), cfg.Listen)
			return nil
		},
	})
	return c
}

// gateway serves until ctx ends.
func (a *app) gateway(ctx context.Context, file string) (err error) {
	cfg, err := gateway.Load(file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // or a command that there is not
		return usageError{err}
	case err != nil:
		return err
	}
	ws, err := a.open()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := segment.Open(ws.Path("ledger"), segment.Option{Raw: true, OnDamage: func(d segment.Damage) {
		log.Warn("the ledger is damaged; see `retort ledger verify`", "place", d.String())
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	erase := func(ctx context.Context, before time.Time) error {
		if _, err := store.Seal(ctx); err != nil {
			return err
		}
		_, err := store.Erase(ctx, gateway.Expired(before))
		return err
	}
	tracer, last, err := a.tracer(ctx, "retort-gateway")
	if err != nil {
		return err
	}
	defer func() {
		if err := last(); err != nil {
			log.Warn(err.Error())
		}
	}()
	coins, err := openCoins(ctx, cfg, ws, store)
	if err != nil {
		return err
	}
	g, err := gateway.New(ctx, gateway.Options{Config: cfg, Workspace: ws, Ledger: store, History: store, Coins: coins, Erase: erase, Tracer: tracer, Getenv: a.getenv, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	// What is alive is small beside the bodies that pass, whose memory is bounded.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; is another server using it? Choose another address as listen in %s", cfg.Listen, err, file)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-hangups:
				a.reload(g, file, log)
			}
		}
	}()
	defer func() { close(done); <-ended }()
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	if !a.quiet {
		fmt.Fprintf(a.stderr, "passing requests on from %s://%s/v1 until Ctrl-C\n", scheme, l.Addr())
	}
	return g.Serve(ctx, l)
}

// reload reads the configuration again.
func (a *app) reload(g *gateway.Gateway, file string, log *slog.Logger) {
	cfg, err := gateway.Load(file)
	if err == nil {
		err = g.Reload(cfg)
	}
	if err != nil {
		log.Error("the configuration stays as it was", "error", err)
		return
	}
	if !a.quiet {
		fmt.Fprintf(a.stderr, "%s is in force\n", file)
	}
}
