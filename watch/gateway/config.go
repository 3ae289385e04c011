package gateway

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"retort/exchange"
	"retort/internal/strict"
	"retort/ledger"
	"retort/price"
)

// Version is the configuration format that this program reads.
const Version = 1

// Config is a gateway.yaml with every default filled in.
type Config struct {
	Version   int        `yaml:"gateway"`
	Listen    string     `yaml:"listen"`
	TLS       *TLS       `yaml:"tls"`
	Upstreams []Upstream `yaml:"upstreams"`
	Prices    []Price    `yaml:"prices"`
	Store     Store      `yaml:"store"`
	Retention string     `yaml:"retention"`       // how long bodies are kept, such as 720h; "": for ever. Records stay
	EndUser   string     `yaml:"end_user_header"` // of requests; names on whose behalf an account asks
	Unmetered []string   `yaml:"unmetered"`       // "METHOD /path" that are passed on although their use cannot be counted
	Rules     []Rule     `yaml:"rules"`
	Limits    Limits     `yaml:"limits"`

	retention time.Duration
	src       *strict.Source
}

// TLS names the files of a certificate and its key.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Upstream is an API that requests are passed on to.
type Upstream struct {
	Name      string   `yaml:"name"`
	BaseURL   string   `yaml:"base_url"`    // up to and with /v1
	APIKeyEnv string   `yaml:"api_key_env"` // the environment variable that holds its key
	BearerKey bool     `yaml:"bearer"`      // the key is a bearer token on the messages wire too
	Models    []string `yaml:"models"`      // that it serves, such as "gpt-*"; none: all
	Weight    int      `yaml:"weight"`      // its share of requests among those that serve a model
}

// Price says what a model's tokens cost, in USD per million.
type Price struct {
	Model       string   `yaml:"model"` // or a pattern, such as "gpt-*"; the first that fits counts
	Input       float64  `yaml:"input"`
	CachedInput *float64 `yaml:"cached_input"`
	Output      float64  `yaml:"output"`
	MaxInput    int64    `yaml:"max_input"`  // most tokens of a prompt: the bound where a request's bytes are none
	MaxOutput   int64    `yaml:"max_output"` // most tokens of an answer: the bound where a request says none

	price price.Price
}

// Store says what the ledger keeps of bodies.
type Store string

// What the ledger keeps of bodies.
const (
	StoreFull    Store = "full"         // the bytes
	StoreHashed  Store = "hashed"       // salted hashes
	StoreSignals Store = "signals-only" // nothing: lengths, times, tokens
)

// Rule is what is done about requests of some accounts, keys or models.
type Rule struct {
	Name     string   `yaml:"name"`
	Accounts []string `yaml:"accounts"` // keyed hashes, or beginnings of at least 8 digits
	Marks    []string `yaml:"marks"`    // accounts that the operator has marked so
	Models   []string `yaml:"models"`
	Action   string   `yaml:"action"` // one of ledger.Actions; the first rule that fits counts
	Delay    string   `yaml:"delay"`  // of slow
	RPM      int64    `yaml:"rpm"`    // of cap
	TPM      int64    `yaml:"tpm"`
	Share    float64  `yaml:"share"` // of coin: the share of prompts that carry one

	delay time.Duration
}

// Limits bound what the gateway holds and waits for.
type Limits struct {
	Body       string `yaml:"body"`       // longest request
	Memory     string `yaml:"memory"`     // bodies of requests, and of answers that are not yet durable, together
	Concurrent int    `yaml:"concurrent"` // requests under way
	Receive    string `yaml:"receive"`    // longest time for a request to arrive
	FirstByte  string `yaml:"first_byte"` // longest wait for an upstream's response to begin
	Stall      string `yaml:"stall"`      // longest silence of an upstream, or of a client that is sent something

	body, memory              int64
	receive, firstByte, stall time.Duration
}

// Load reads a configuration and checks every value.
func Load(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return Parse(file, data)
}

// Parse reads a configuration from memory. Its errors are *strict.Error.
func Parse(file string, data []byte) (*Config, error) {
	c := &Config{
		Listen: "127.0.0.1:8080", Store: StoreFull,
		Limits: Limits{Body: "64MiB", Memory: "256MiB", Concurrent: 1024, Receive: "5m", FirstByte: "10m", Stall: "5m"},
	}
	src, err := strict.Decode(file, "a gateway", data, c)
	if err != nil {
		return nil, err
	}
	c.src = src
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) validate() error {
	bad := c.src.Errorf
	switch {
	case c.Version != Version:
		return bad("gateway", "format %d is not known to this program; it reads format %d (write `gateway: %d`)", c.Version, Version, Version)
	case len(c.Upstreams) == 0:
		return bad("upstreams", "there is none: name at least one API, such as `upstreams: [{name: main, base_url: https://…/v1}]`")
	case !slices.Contains([]Store{StoreFull, StoreHashed, StoreSignals}, c.Store):
		return bad("store", "%q is none of %s, %s and %s", c.Store, StoreFull, StoreHashed, StoreSignals)
	case c.TLS != nil && (c.TLS.Cert == "" || c.TLS.Key == ""):
		return bad("tls", "it needs the files cert and key")
	case c.EndUser != "" && !isToken(c.EndUser):
		return bad("end_user_header", "%q cannot be the name of a header", c.EndUser)
	}
	for _, check := range []func() error{c.validateUpstreams, c.validatePrices, c.validateRules, c.validateLimits} {
		if err := check(); err != nil {
			return err
		}
	}
	var err error
	if c.retention, err = c.duration("retention", c.Retention, 100*365*24*time.Hour); err != nil {
		return err
	}
	if c.Retention != "" && c.retention < time.Hour {
		return bad("retention", "%s: at least 1h", c.Retention)
	}
	for i, r := range c.Unmetered {
		if !isOpenRoute(r) {
			return bad(fmt.Sprintf("unmetered[%d]", i), "%q is not a method and a path below /v1/ that the gateway does not meter itself, such as \"POST /v1/audio/speech\"", r)
		}
	}
	return nil
}

func (c *Config) validateUpstreams() error {
	bad := c.src.Errorf
	seen := map[string]bool{}
	for i := range c.Upstreams {
		u, at := &c.Upstreams[i], fmt.Sprintf("upstreams[%d]", i)
		base, err := url.Parse(u.BaseURL)
		switch {
		case u.Name == "" || seen[u.Name]:
			return bad(at+".name", "%q: every upstream needs a name of its own", u.Name)
		case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil:
			return bad(at+".base_url", "%q is not an address such as https://api.example.com/v1", u.BaseURL)
		case u.Weight < 0:
			return bad(at+".weight", "%d: a share cannot be negative", u.Weight)
		}
		if u.Weight == 0 {
			u.Weight = 1
		}
		seen[u.Name] = true
		if err := c.patterns(at+".models", u.Models); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validatePrices() error {
	for i := range c.Prices {
		p, at := &c.Prices[i], fmt.Sprintf("prices[%d]", i)
		if err := c.patterns(at+".model", []string{p.Model}); err != nil {
			return err
		}
		cached := -1.0
		if p.CachedInput != nil {
			cached = *p.CachedInput
		}
		var err error
		if p.price, err = price.PerMillion("gateway:"+p.Model, p.Input, cached, p.Output); err != nil {
			return c.src.Errorf(at, "%v", err)
		}
		if p.MaxInput < 0 || p.MaxOutput < 0 {
			return c.src.Errorf(at, "max_input and max_output cannot be negative")
		}
	}
	return nil
}

func (c *Config) validateRules() error {
	bad := c.src.Errorf
	seen := map[string]bool{}
	for i := range c.Rules {
		r, at := &c.Rules[i], fmt.Sprintf("rules[%d]", i)
		switch {
		case r.Name == "" || seen[r.Name]:
			return bad(at+".name", "%q: every rule needs a name of its own, by which records refer to it", r.Name)
		case !slices.Contains(ledger.Actions, r.Action):
			return bad(at+".action", "%q is none of %s", r.Action, strings.Join(ledger.Actions, ", "))
		case (r.Action == ledger.ActionSlow) != (r.Delay != ""):
			return bad(at+".delay", "it belongs to the action slow, which needs it")
		case (r.Action == ledger.ActionCap) != (r.RPM > 0 || r.TPM > 0) || r.RPM < 0 || r.TPM < 0:
			return bad(at, "rpm and tpm belong to the action cap, which needs one of them")
		case (r.Action == ledger.ActionCoin) != (r.Share != 0) || !(r.Share >= 0 && r.Share <= 1):
			return bad(at+".share", "it belongs to the action coin, which needs it: above 0 and up to 1")
		}
		seen[r.Name] = true
		var err error
		if r.delay, err = c.duration(at+".delay", r.Delay, time.Minute); err != nil {
			return err
		}
		for j, a := range r.Accounts {
			if len(a) < 8 || len(a) > 64 || strings.Trim(a, "0123456789abcdef") != "" {
				return bad(fmt.Sprintf("%s.accounts[%d]", at, j), "%q is not an account as `retort keys list` shows it: at least 8 digits of its hash", a)
			}
		}
		for j, m := range r.Marks {
			if !slices.Contains(ledger.Marks, m) {
				return bad(fmt.Sprintf("%s.marks[%d]", at, j), "%q is none of %s", m, strings.Join(ledger.Marks, ", "))
			}
		}
		if err := c.patterns(at+".models", r.Models); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validateLimits() error {
	l := &c.Limits
	var err error
	for _, f := range []struct {
		path, text string
		to         *int64
	}{{"limits.body", l.Body, &l.body}, {"limits.memory", l.Memory, &l.memory}} {
		if *f.to, err = parseSize(f.text); err != nil {
			return c.src.Errorf(f.path, "%v", err)
		}
	}
	for _, f := range []struct {
		path, text string
		to         *time.Duration
	}{{"limits.receive", l.Receive, &l.receive}, {"limits.first_byte", l.FirstByte, &l.firstByte}, {"limits.stall", l.Stall, &l.stall}} {
		if *f.to, err = c.duration(f.path, f.text, 24*time.Hour); err != nil {
			return err
		}
		if *f.to == 0 {
			return c.src.Errorf(f.path, "it has to be longer than 0")
		}
	}
	switch {
	case l.Concurrent < 1:
		return c.src.Errorf("limits.concurrent", "%d: at least 1", l.Concurrent)
	case l.bodies() < l.body || l.memory < 8*ledger.MaxFragment:
		return c.src.Errorf("limits.memory", "%s does not hold one request of %s and its answer", l.Memory, l.Body)
	}
	return nil
}

// bodies is the share of memory that requests have. Answers have their own, or
// requests that wait for each other's would wait for ever.
func (l *Limits) bodies() int64 { return l.memory / 4 * 3 }

// duration reads a time such as 30s; "" is 0.
func (c *Config) duration(path, text string, most time.Duration) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, c.src.Errorf(path, "%q is not a time between 0 and %s, such as 30s", text, most)
	}
	return d, nil
}

func (c *Config) patterns(at string, list []string) error {
	for _, p := range list {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return c.src.Errorf(at, "%q is not the name of a model, or a pattern such as \"gpt-*\"", p)
		}
	}
	return nil
}

// fits reports whether one of the patterns, which have been checked, is name's. A
// * stands for anything, slashes too: names of models have them.
func fits(patterns []string, name string) bool {
	flat := strings.ReplaceAll(name, "/", "\x00")
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(strings.ReplaceAll(p, "/", "\x00"), flat)
		return err == nil && ok
	})
}

// priceOf returns the price of a model, nil if there is none.
func (c *Config) priceOf(model string) *Price {
	for i := range c.Prices {
		if fits([]string{c.Prices[i].Model}, model) {
			return &c.Prices[i]
		}
	}
	return nil
}

// worst is the most that a request of so many bytes can cost. It says why nothing
// bounds the cost, where that is so.
func (p *Price) worst(q *question) (exchange.Pico, error) {
	input, output := price.InputBound(exchange.Request{Params: q.body}), q.maxTokens*q.answers
	if q.refers {
		if input = p.MaxInput; input == 0 {
			return 0, fmt.Errorf("it refers to what is not in it (an image, a file, an earlier response), and nothing bounds what that costs")
		}
	}
	if q.maxTokens == 0 && q.generates {
		if output = p.MaxOutput * q.answers; output == 0 {
			return 0, fmt.Errorf("it does not say how long the answer may be: set max_tokens")
		}
	}
	return p.price.Worst(input, output), nil
}

// parseSize reads a number of bytes such as 64MiB.
func parseSize(text string) (int64, error) {
	number, shift := text, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	var n int64
	if _, err := fmt.Sscanf(number+"\n", "%d\n", &n); err != nil || n < 1 || n > 1<<20 && shift > 0 || n > 1<<40 {
		return 0, fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	return n << shift, nil
}

// isToken reports whether s can be the name of a header.
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}
