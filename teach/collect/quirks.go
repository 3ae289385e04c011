package collect

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"retort/exchange"
	"retort/price"
)

// Quirks say how a provider's API departs from the wire that it speaks, and
// where it is usually found. Their zero value departs in nothing.
type Quirks struct {
	Name    string // as a recipe names it: "openai", "deepseek", "vllm", …
	Title   string // for people
	BaseURL string // where it is usually found; "" where every user has an address of their own
	KeyEnv  string // the variable that usually holds its key; "" where it asks for none
	Wires   []Wire // that it speaks, the usual one first; nil: chat

	// TokensField carries the bound on output tokens on the chat wire:
	// max_tokens if empty.
	TokensField string
	// SeedField carries the seed on the chat wire: seed if empty.
	SeedField string
	// NoSeed and NoStreamOptions say that there is no such field on the chat
	// wire, so that none is sent.
	NoSeed, NoStreamOptions bool
	// ReasoningField carries the reasoning of earlier turns on the chat wire:
	// reasoning_content if empty. NoReasoningBack says that it is not sent.
	ReasoningField  string
	NoReasoningBack bool
	// BearerKey says that the key is a bearer token on the messages wire too.
	BearerKey bool
	// ReasoningApart says that completion_tokens leaves reasoning tokens out,
	// which are billed as output all the same: output is then what total_tokens
	// has beyond prompt_tokens.
	ReasoningApart bool
	// CacheWrite is what input that the provider writes to its cache costs, as a
	// multiple of other input, in hundredths: 125 is a quarter more; 0: the
	// same. CacheWriteLong is that of an hour and longer.
	CacheWrite, CacheWriteLong int
	// Reasoning says where the reasoning of an answer comes, for people: every
	// form is read from every provider.
	Reasoning string
	// Notes say what else to know, for people.
	Notes string
	// Source names the document or source code that says so.
	Source string

	hosts []string // ends of host names by which it is recognised
}

// Providers lists the providers whose quirks are known, in the order in which
// they are offered to choose from.
func Providers() []Quirks {
	out := make([]Quirks, len(providers))
	for i, q := range providers {
		out[i] = q.clone()
	}
	return out
}

// QuirksOf returns the quirks of the provider that a recipe names or, if it
// names none, of the one that the base URL belongs to. An address that nobody
// known has departs in nothing: its Quirks have no Name.
func QuirksOf(name, baseURL string) (Quirks, error) {
	for _, q := range providers {
		if name == q.Name && name != "" || name == "" && q.at(baseURL) {
			return q.clone(), nil
		}
	}
	if name == "" {
		return Quirks{}, nil
	}
	names := make([]string, len(providers))
	for i, q := range providers {
		names[i] = q.Name
	}
	return Quirks{}, fmt.Errorf("provider %q is not known; known are %s; leave it out for another OpenAI-compatible one", name, strings.Join(names, ", "))
}

// Wire returns the wire that is spoken unless another is asked for.
func (q Quirks) Wire() Wire {
	if len(q.Wires) == 0 {
		return WireChat
	}
	return q.Wires[0]
}

// Price returns a price with what the provider charges for input that it writes
// to its cache, where the price does not say.
func (q Quirks) Price(p price.Price) price.Price {
	if p.CacheWrite == 0 && q.CacheWrite != 0 {
		p.CacheWrite = (p.Input*exchange.Pico(q.CacheWrite) + 99) / 100
	}
	if p.CacheWriteLong == 0 && q.CacheWriteLong != 0 {
		p.CacheWriteLong = (p.Input*exchange.Pico(q.CacheWriteLong) + 99) / 100
	}
	return p
}

// usage is a reported usage as it is billed; total is what it has in all.
func (q *Quirks) usage(u exchange.Usage, total int64) exchange.Usage {
	if apart := total - u.Input - u.Output; q.ReasoningApart && u.Source == exchange.UsageReported && apart > 0 {
		u.Output += apart
		u.Reasoning = max(u.Reasoning, apart)
	}
	return u
}

func (q Quirks) clone() Quirks {
	q.Wires, q.hosts = slices.Clone(q.Wires), slices.Clone(q.hosts)
	return q
}

// at reports whether a base URL is the provider's.
func (q Quirks) at(baseURL string) bool {
	u, err := url.Parse(baseURL)
	if err != nil {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	for _, h := range q.hosts {
		if host == h || strings.HasSuffix(host, "."+h) {
			return true
		}
	}
	return false
}

// providers is the table: one row a provider. A row is changed together with
// its test, which asks a stub that behaves as the row says.
var providers = []Quirks{
	{
		Name: "openai", Title: "OpenAI", BaseURL: "https://api.openai.com/v1", KeyEnv: "OPENAI_API_KEY",
		Wires: []Wire{WireChat, WireResponses}, hosts: []string{"openai.com"},
		TokensField: "max_completion_tokens", NoReasoningBack: true, CacheWrite: 125,
		Reasoning: "not shown on the chat wire; a summary on the responses wire, if the request asks for one",
		Notes:     "reasoning models take no max_tokens and only temperature 1; from GPT-5.6 on, input written to the prompt cache costs a quarter more",
		Source:    "API reference, chat completions and responses; guide to prompt caching",
	},
	{
		Name: "anthropic", Title: "Anthropic", BaseURL: "https://api.anthropic.com/v1", KeyEnv: "ANTHROPIC_API_KEY",
		Wires: []Wire{WireMessages}, hosts: []string{"anthropic.com"},
		CacheWrite: 125, CacheWriteLong: 200,
		Reasoning: "thinking blocks, if the request asks for thinking",
		Notes:     "temperature, top_p and top_k are for older models alone, and sent under the API version 2023-06-01; there is no seed; input written to the prompt cache costs a quarter more, for an hour twice as much",
		Source:    "API reference, messages and versions; guides to prompt caching and thinking",
	},
	{
		Name: "deepseek", Title: "DeepSeek", BaseURL: "https://api.deepseek.com/v1", KeyEnv: "DEEPSEEK_API_KEY",
		hosts:     []string{"deepseek.com"},
		Reasoning: "reasoning_content; it has to come back with turns that call tools, and is ignored with others",
		Notes:     "thinks unless `thinking: {type: disabled}` says not to, and then takes no notice of temperature; cached input is prompt_cache_hit_tokens; sends empty lines while a request waits",
		Source:    "API guide to thinking mode; API reference, chat completion and rate limit",
	},
	{
		Name: "gemini", Title: "Gemini", BaseURL: "https://generativelanguage.googleapis.com/v1beta/openai", KeyEnv: "GEMINI_API_KEY",
		hosts: []string{"generativelanguage.googleapis.com"}, NoSeed: true, NoReasoningBack: true, ReasoningApart: true,
		Reasoning: "not shown, but billed: total_tokens counts it, completion_tokens does not",
		Notes:     "refuses fields that it does not know, seed among them; an error is a list of one",
		Source:    "guide to OpenAI compatibility; reports of its users",
	},
	{
		Name: "xai", Title: "xAI", BaseURL: "https://api.x.ai/v1", KeyEnv: "XAI_API_KEY",
		Wires: []Wire{WireChat, WireResponses}, hosts: []string{"x.ai"}, ReasoningApart: true,
		Reasoning: "reasoning_content from some models; billed in all: total_tokens counts it, completion_tokens does not",
		Source:    "documentation, consumption and rate limits",
	},
	{
		Name: "mistral", Title: "Mistral", BaseURL: "https://api.mistral.ai/v1", KeyEnv: "MISTRAL_API_KEY",
		hosts: []string{"mistral.ai"}, SeedField: "random_seed", NoStreamOptions: true, NoReasoningBack: true,
		Reasoning: "not shown, or inside of the content",
		Notes:     "refuses fields that it does not know with 422; the usage comes with a stream's last piece unasked",
		Source:    "API reference, chat completion; reports of its users",
	},
	{
		Name: "vllm", Title: "vLLM", BaseURL: "http://127.0.0.1:8000/v1", Wires: []Wire{WireChat, WireResponses, WireMessages},
		ReasoningField: "reasoning", BearerKey: true,
		Reasoning: "reasoning (reasoning_content before 0.11), if the server runs a reasoning parser; otherwise <think> in the content",
		Notes:     "the key is a bearer token on every wire",
		Source:    "documentation, reasoning outputs; report 51572",
	},
	{
		Name: "llamacpp", Title: "llama.cpp", BaseURL: "http://127.0.0.1:8080/v1", Wires: []Wire{WireChat, WireResponses, WireMessages},
		Reasoning: "reasoning_content, unless reasoning_format is none",
		Notes:     "serves one model and answers to any name; error codes are numbers; a JSON schema is kept to on the chat wire alone",
		Source:    "README of its server; tried with the server of xllamacpp",
	},
	{
		Name: "ollama", Title: "Ollama", BaseURL: "http://127.0.0.1:11434/v1", Wires: []Wire{WireChat, WireResponses, WireMessages},
		ReasoningField: "reasoning",
		Reasoning:      "reasoning",
		Notes:          "takes no notice of max_completion_tokens; a prompt longer than the model's num_ctx is cut without a word; adds :latest to names",
		Source:         "documentation and source of its compatible APIs",
	},
}
