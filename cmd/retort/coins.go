package main

import (
	"context"
	"errors"
	"slices"

	"retort/ledger"
	"retort/ledger/segment"
	"retort/prove/commit"
	"retort/watch/gateway"
	"retort/workspace"
)

// coinLog is an exposure log as a gateway flips coins from it.
type coinLog struct{ log *commit.Log }

// openCoins opens the workspace's exposure log if a rule of the configuration asks for
// coins; nil if none does.
func openCoins(ctx context.Context, cfg *gateway.Config, ws *workspace.Workspace, store *segment.Store) (gateway.Coins, error) {
	if !slices.ContainsFunc(cfg.Rules, func(r gateway.Rule) bool { return r.Action == ledger.ActionCoin }) {
		return nil, nil
	}
	key, err := commit.OpenKey(ws)
	if err != nil {
		return nil, err
	}
	log, err := commit.Open(ctx, commit.Options{Key: key, Ledger: store, History: store})
	if err != nil {
		return nil, err
	}
	return coinLog{log}, nil
}

// request reads what a request asks, or why it carries no coin.
func (coinLog) request(r gateway.CoinRequest) (commit.Request, error) {
	messages, err := commit.Read(commit.Wire(r.Wire), r.Body)
	return commit.Request{Account: r.Account, Messages: messages, Share: r.Share}, err
}

// Consider implements gateway.Coins.
func (c coinLog) Consider(r gateway.CoinRequest) bool {
	req, err := c.request(r)
	return err == nil && c.log.Consider(req) == nil
}

// Flip implements gateway.Coins.
func (c coinLog) Flip(ctx context.Context, r gateway.CoinRequest) (gateway.Coin, error) {
	req, err := c.request(r)
	var flipped *commit.Coin
	if err == nil {
		flipped, err = c.log.Flip(ctx, req, r.Exchange)
	}
	var not *commit.NotEligible
	switch {
	case errors.As(err, &not): // another request of the account's was quicker
		return nil, nil
	case err != nil:
		return nil, err
	}
	return flippedCoin{flipped}, nil
}

type flippedCoin struct{ *commit.Coin }

// Settle implements gateway.Coin.
func (c flippedCoin) Settle(ctx context.Context, arms [2]gateway.Arm) error {
	return c.Coin.Settle(ctx, [2]commit.Arm{commit.Arm(arms[0]), commit.Arm(arms[1])})
}
