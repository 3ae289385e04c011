package commit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"retort/exchange"
	"retort/ledger"
)

// Options say how a log is kept.
type Options struct {
	Key     Key
	Ledger  ledger.Submitter
	History ledger.Reader    // what the log holds so far
	Now     func() time.Time // nil: time.Now
}

// Log is the writer of an exposure log, of which there is one at a time: the
// gateway, which holds its workspace's lock. It is safe for concurrent use.
type Log struct {
	key    Key
	id     string
	ledger ledger.Submitter
	now    func() time.Time

	mu      sync.Mutex
	size    uint64            // leaves
	counter uint64            // coins
	of      map[string]uint64 // coins of an account
	seen    map[string]bool   // tags
	marks   map[uint64]bool   // of answers
	failed  error             // what the ledger did not take
}

// Open reads what a log holds and goes on with it. Coins that a gateway left without
// an end are closed as void.
func Open(ctx context.Context, opt Options) (*Log, error) {
	l := &Log{
		key: opt.Key, id: opt.Key.Log(), ledger: opt.Ledger, now: opt.Now,
		of: map[string]uint64{}, seen: map[string]bool{}, marks: map[uint64]bool{},
	}
	if l.now == nil {
		l.now = time.Now
	}
	view, err := ReadLog(ctx, opt.History, l.id)
	if err != nil {
		return nil, err
	}
	open := map[uint64]ledger.Commitment{}
	for i, c := range view.records {
		leaf := view.Leaves[i]
		switch leaf.Kind {
		case LeafCoin:
			l.counter, l.of[leaf.Account], l.seen[c.Tag] = leaf.Counter, leaf.Of, true
			open[leaf.Counter] = c
		case LeafArms:
			delete(open, leaf.Counter)
			marks, err := decodeMarks(c.Marks)
			if err != nil {
				return nil, fmt.Errorf("exposure log %s, leaf %d: %w", l.id, i, err)
			}
			for _, m := range marks {
				l.marks[m] = true
			}
		}
	}
	l.size = uint64(len(view.Leaves))
	if l.size == 0 {
		if err := l.append(ctx, Leaf{Kind: LeafLog, Key: KeyCommitment(opt.Key.secret)}, ledger.Commitment{}, nil); err != nil {
			return nil, err
		}
	}
	for n := uint64(1); n <= l.counter; n++ {
		if c, ok := open[n]; ok {
			coin := &Coin{log: l, counter: n, exchange: c.Exchange}
			if err := coin.void(ctx, VoidUnfinished, nil); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// ID names the log.
func (l *Log) ID() string { return l.id }

// Size is how many leaves the log has.
func (l *Log) Size() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Request is a request that may carry a coin.
type Request struct {
	Account  string             // keyed hash
	Messages []exchange.Message // as Read gives them
	Share    float64            // of prompts that carry a coin, between 0 and 1
}

// Consider reports whether a request may carry a coin, and has been drawn for one.
// It depends on the request and on earlier ones, and never on a coin. The error says
// why not: it is a *NotEligible.
func (l *Log) Consider(r Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.consider(r, l.key.tag(r.Account, r.Messages))
}

func (l *Log) consider(r Request, tag string) error {
	switch {
	case r.Account == "" || len(r.Messages) == 0:
		return no("no account or no prompt")
	case !l.key.sampled(r.Account, r.Messages, r.Share):
		return no("the prompt is not of the share that carries coins")
	case l.seen[tag]:
		return no("the account has asked this prompt before")
	}
	clean := true
	if len(l.marks) > 0 {
		eachRun(r.Messages, func(h uint64) bool {
			clean = !l.marks[h]
			return clean
		})
	}
	if !clean {
		return no("the prompt holds words of an earlier pair of answers")
	}
	return nil
}

// Flip flips the coin of a request and returns when the log's first leaf about it is
// durable: only then may the first byte of an answer be served. e is the exchange
// that is served. The error is a *NotEligible, or the ledger's.
func (l *Log) Flip(ctx context.Context, r Request, e exchange.ID) (*Coin, error) {
	seed, tag := l.key.seed(r.Account, r.Messages), l.key.tag(r.Account, r.Messages)
	coin := &Coin{log: l, exchange: e, seed: seed, prompt: r.Messages}
	leaf := Leaf{Kind: LeafCoin, Account: r.Account, Prompt: seed.PromptHash(r.Messages)}
	err := l.append(ctx, leaf, ledger.Commitment{Exchange: e, Tag: tag}, func(leaf *Leaf) error {
		if err := l.consider(r, tag); err != nil {
			return err
		}
		l.counter++
		l.of[r.Account]++
		l.seen[tag] = true
		leaf.Counter, leaf.Of = l.counter, l.of[r.Account]
		leaf.Coin = seed.Commitment(l.id, leaf)
		coin.counter = leaf.Counter
		return nil
	})
	if err != nil {
		return nil, err
	}
	return coin, nil
}

// append gives a leaf its place and its time and returns when it is durable. fill
// completes it while nothing else is appended.
func (l *Log) append(ctx context.Context, leaf Leaf, rec ledger.Commitment, fill func(*Leaf) error) error {
	done := make(chan error, 1)
	if err := l.submit(leaf, rec, fill, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		if err != nil {
			err = fmt.Errorf("exposure log %s: %w", l.id, err)
			l.mu.Lock()
			l.failed = errors.Join(l.failed, err)
			l.mu.Unlock()
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Log) submit(leaf Leaf, rec ledger.Commitment, fill func(*Leaf) error, done func(error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if fill != nil {
		if err := fill(&leaf); err != nil {
			return err
		}
	}
	leaf.Time = l.now().UnixNano()
	rec.Time, rec.Log, rec.What, rec.Index, rec.Leaf = leaf.Time, l.id, WhatLeaf, l.size, string(leaf.Encode())
	made, err := ledger.NewCommitment(rec)
	if err != nil {
		l.failed = err // its counter is gone
		return err
	}
	l.size++
	l.ledger.Submit(done, made)
	return nil
}

// Coin is a coin whose answers are under way. It is used by one goroutine at a time.
type Coin struct {
	log      *Log
	exchange exchange.ID
	counter  uint64
	seed     Seed
	prompt   []exchange.Message
	settled  bool
}

// Counter is the coin's number in the log, from 1.
func (c *Coin) Counter() uint64 { return c.counter }

// Live says which of the two answers is to be served, 0 or 1. It is secret: the
// client must not be able to tell that there was another.
func (c *Coin) Live() int { return c.seed.Live() }

// Arm is one of a pair of answers.
type Arm struct {
	Exchange exchange.ID // that brought it
	Answer   exchange.Answer
	OK       bool // it came to a regular end
}

// Settle appends the log's second leaf about the coin, with the hashes of both arms
// or why it is void, and returns when it is durable. It is called once, also where an
// arm failed or the client hung up.
func (c *Coin) Settle(ctx context.Context, arms [2]Arm) error {
	if c.settled {
		return fmt.Errorf("exposure log %s: coin %d is settled already", c.log.id, c.counter)
	}
	a, b := AnswerOf(arms[0].Answer), AnswerOf(arms[1].Answer)
	ids := []exchange.ID{arms[0].Exchange, arms[1].Exchange}
	switch {
	case !arms[0].OK || !arms[1].OK || a == Answer{} || b == Answer{}:
		return c.void(ctx, VoidFailed, ids)
	case a == b:
		return c.void(ctx, VoidEqual, ids)
	}
	c.settled = true
	marks := marksOf(c.prompt, [2]Answer{a, b})
	leaf := Leaf{Kind: LeafArms, Counter: c.counter, Arms: []string{c.seed.ArmHash(0, a), c.seed.ArmHash(1, b)}}
	rec := ledger.Commitment{Exchange: c.exchange, Arms: ids, Marks: encodeMarks(marks)}
	return c.log.append(ctx, leaf, rec, func(*Leaf) error {
		for _, m := range marks {
			c.log.marks[m] = true
		}
		return nil
	})
}

func (c *Coin) void(ctx context.Context, why string, arms []exchange.ID) error {
	c.settled = true
	return c.log.append(ctx, Leaf{Kind: LeafArms, Counter: c.counter, Void: why}, ledger.Commitment{Exchange: c.exchange, Arms: arms}, nil)
}
