// Command traffic writes the log that recipes/from-traffic.yaml imports: what a
// gateway has kept of requests to a model that reads messages to a shop's support,
// one line each with both bodies, on standard output. The same program writes the
// same bytes.
//
//	go run ./bench/traffic >recipes/traffic/log.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"retort/exchange"
	"retort/openai"
	"retort/teach/task"
)

// entry is one line of the log.
type entry struct {
	Time     time.Time            `json:"time"`
	Request  openai.ChatRequest   `json:"request"`
	Response *openai.ChatResponse `json:"response"`
}

const (
	rows  = 600
	model = "house-model-70b"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

func write() error {
	family, err := task.New("extract", task.Params{})
	if err != nil {
		return err
	}
	split, err := task.NewSplit(family, 2026, rows)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	at := time.Date(2026, time.October, 5, 8, 0, 0, 0, time.UTC)
	zero := 0.0
	for i, p := range split.Heldout {
		at = at.Add(time.Duration(7+i*13%90) * time.Second)
		e := entry{Time: at, Request: openai.ChatRequest{Model: model, Temperature: &zero}, Response: &openai.ChatResponse{
			ID: fmt.Sprintf("chatcmpl-%06d", i+1), Object: "chat.completion", Created: openai.Unix(at.Unix()), Model: model,
			Choices: []openai.Choice{{Message: openai.Message{Role: "assistant", Content: openai.Text(p.Answer)}, FinishReason: "stop"}},
		}}
		for _, m := range p.StudentMessages() {
			e.Request.Messages = append(e.Request.Messages, wire(m))
		}
		if err := out.Encode(e); err != nil {
			return err
		}
	}
	return nil
}

func wire(m exchange.Message) openai.Message {
	return openai.Message{Role: m.Role, Content: openai.Text(m.Content)}
}
