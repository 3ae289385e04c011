package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
)

// pastExchanges are as many as a run of the quickstart leaves.
const pastExchanges = 13_500

// fill gives a workspace the ledger of runs gone by, sealed as a run leaves it:
// answers of another teacher, so that none is one of ours.
func fill(ctx context.Context, workspace string) (err error) {
	dir := filepath.Join(workspace, "ledger")
	for _, step := range []func(*segment.Store) error{
		func(s *segment.Store) error { return appendPast(ctx, s) },
		func(s *segment.Store) error { _, err := s.Seal(ctx); return err },
	} {
		s, err := segment.Open(dir, segment.Option{})
		if err != nil {
			return err
		}
		if err := errors.Join(step(s), s.Close()); err != nil {
			return fmt.Errorf("fill the ledger: %w", err)
		}
	}
	return nil
}

func appendPast(ctx context.Context, s *segment.Store) error {
	const together = 500
	var batch []ledger.Record
	for i := range pastExchanges {
		recs, err := past(i)
		if err != nil {
			return err
		}
		batch = append(batch, recs...)
		if (i+1)%together == 0 {
			if err := s.Append(ctx, batch...); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return s.Append(ctx, batch...)
}

// past makes the records of one exchange: a short question, a written-out
// answer of some 1,500 bytes, streamed.
func past(i int) ([]ledger.Record, error) {
	now := time.Now()
	q := exchange.Request{
		Endpoint: "https://past.example/v1", Model: "past", MaxTokens: 512,
		Messages: []exchange.Message{{Role: "user", Content: fmt.Sprintf("What is %d times %d?", i, i+7)}},
	}
	key, err := q.Key()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"model": q.Model, "messages": q.Messages, "max_tokens": q.MaxTokens})
	if err != nil {
		return nil, err
	}
	e := &exchange.Exchange{
		ID: exchange.NewID(now), Key: key, Run: "past-0123456789ab", Stage: "collect", Origin: exchange.OriginAPI, Provider: "past", Endpoint: q.Endpoint,
		ModelAsked: q.Model, Family: "multiply", Problem: fmt.Sprint(i), TermsID: "self-hosted", Attempt: 1, RequestBody: body, Worst: 1e9, Cost: 1e8,
		Times: exchange.Times{Queued: now.UnixNano(), Sent: now.UnixNano()},
	}
	intent, err := ledger.NewIntent(e)
	if err != nil {
		return nil, err
	}
	reasoning := ""
	for j := range 25 {
		reasoning += fmt.Sprintf("Step %d: %d times %d makes %d.\n", j, i, j, i*j)
	}
	e.Answer = exchange.Answer{Reasoning: reasoning, Content: fmt.Sprint(i * (i + 7)), FinishReason: "stop"}
	e.Status, e.ModelAnswered, e.Usage = 200, q.Model, exchange.Usage{Source: exchange.UsageReported, Input: 20, Output: 300}
	e.Times.FirstByte, e.Times.LastByte = now.UnixNano(), now.UnixNano()
	end, err := ledger.NewEnd(e)
	if err != nil {
		return nil, err
	}
	return []ledger.Record{intent, ledger.NewFragment(e.ID, 0, []byte("data: "+reasoning+"\n\ndata: [DONE]\n\n"), now.UnixNano()), end}, nil
}
