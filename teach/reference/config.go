package reference

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"retort/price"
)

// Provider is the provider that the teacher's exchanges are recorded under.
const Provider = "reference"

// AttemptHeader is the request header that carries the client's id of the
// attempt; the bill repeats it.
const AttemptHeader = "X-Retort-Attempt"

// Where reasoning is sent.
const (
	ReasoningContent = "reasoning_content" // in a field beside the content
	ReasoningThink   = "think"             // in the content, inside <think>…</think>
)

// Config says what a teacher is like. Its zero value is a teacher without
// faults, limits or keys.
type Config struct {
	Seed      uint64   `yaml:"seed,omitempty" json:"seed,omitempty" jsonschema_description:"the teacher's own seed: another seed is another teacher"`
	Model     string   `yaml:"model,omitempty" json:"model,omitempty" jsonschema_description:"the name it serves itself under; default reference"`
	Reasoning string   `yaml:"reasoning,omitempty" json:"reasoning,omitempty" jsonschema:"enum=reasoning_content,enum=think" jsonschema_description:"where reasoning is sent: reasoning_content (a field; the default) or think (tags in the content)"`
	Keys      []string `yaml:"keys,omitempty" json:"keys,omitempty" jsonschema_description:"API keys that it accepts; none: it asks for no key"`
	RPS       float64  `yaml:"rps,omitempty" json:"rps,omitempty" jsonschema_description:"requests a second that it accepts; 0: no limit"`
	Slowdown  Slowdown `yaml:"slowdown,omitempty" json:"slowdown,omitzero" jsonschema_description:"a stretch of time in which the limit is another"`
	Faults    Faults   `yaml:"faults,omitempty" json:"faults,omitzero" jsonschema_description:"what goes wrong, each with its rate"`

	// BillPath is the file that the bill is appended to; "" writes none.
	BillPath string `yaml:"-" json:"-"`
	// Price is what its tokens cost; the zero value takes Prices' own.
	Price price.Price `yaml:"-" json:"-"`
}

// Slowdown multiplies the request limit by a factor for some time.
type Slowdown struct {
	After  string  `yaml:"after,omitempty" json:"after,omitempty" jsonschema_description:"when it begins, from the start of the server, such as 20s"`
	For    string  `yaml:"for,omitempty" json:"for,omitempty" jsonschema_description:"how long it lasts, such as 10s"`
	Factor float64 `yaml:"factor,omitempty" json:"factor,omitempty" jsonschema_description:"what the limit is multiplied by; default 0.5"`
}

// Faults says how often what goes wrong, as shares of all requests between 0
// and 1. At most one fault befalls a request, so the shares add up to at most
// 1. Which one is drawn from Seed and the client's id of the attempt.
type Faults struct {
	Seed         uint64  `yaml:"seed,omitempty" json:"seed,omitempty" jsonschema_description:"seed of the draw"`
	RateLimit    float64 `yaml:"rate_limit,omitempty" json:"rate_limit,omitempty" jsonschema_description:"a burst of 429 begins; not billed"`
	ServerError  float64 `yaml:"server_error,omitempty" json:"server_error,omitempty" jsonschema_description:"500; not billed"`
	Cut          float64 `yaml:"cut,omitempty" json:"cut,omitempty" jsonschema_description:"the connection is cut in the middle of the answer"`
	SlowStart    float64 `yaml:"slow_start,omitempty" json:"slow_start,omitempty" jsonschema_description:"the first byte comes late"`
	Stall        float64 `yaml:"stall,omitempty" json:"stall,omitempty" jsonschema_description:"the answer stops in the middle for a while"`
	Truncate     float64 `yaml:"truncate,omitempty" json:"truncate,omitempty" jsonschema_description:"the body ends early, in good order as far as HTTP can tell"`
	Malformed    float64 `yaml:"malformed,omitempty" json:"malformed,omitempty" jsonschema_description:"the JSON is broken"`
	MissingUsage float64 `yaml:"missing_usage,omitempty" json:"missing_usage,omitempty" jsonschema_description:"token counts are not sent"`
	EmptyThink   float64 `yaml:"empty_think,omitempty" json:"empty_think,omitempty" jsonschema_description:"the reasoning is empty"`

	Burst    string `yaml:"burst,omitempty" json:"burst,omitempty" jsonschema_description:"how long a burst of 429 lasts; default 250ms"`
	SlowFor  string `yaml:"slow_for,omitempty" json:"slow_for,omitempty" jsonschema_description:"how late a slow first byte is; default 2s"`
	StallFor string `yaml:"stall_for,omitempty" json:"stall_for,omitempty" jsonschema_description:"how long a stalled answer stops; default 20s"`
}

// delays are the durations of a Config, parsed.
type delays struct {
	burst, slow, stall  time.Duration
	slowAfter, slowdown time.Duration
}

// Validate reports the first option that makes no sense.
func (c *Config) Validate() error {
	_, err := c.parse()
	return err
}

func (c *Config) parse() (delays, error) {
	var d delays
	switch c.Reasoning {
	case "", ReasoningContent, ReasoningThink:
	default:
		return d, fmt.Errorf("reasoning is %q, must be %s or %s", c.Reasoning, ReasoningContent, ReasoningThink)
	}
	for i, k := range c.Keys {
		if k == "" {
			return d, fmt.Errorf("keys[%d] is empty", i)
		}
	}
	if math.IsNaN(c.RPS) || c.RPS < 0 || c.RPS > 1e6 {
		return d, fmt.Errorf("rps is %v, must be between 0 (no limit) and 1000000", c.RPS)
	}
	total := 0.0
	for _, f := range c.Faults.rates() {
		if math.IsNaN(f.rate) || f.rate < 0 || f.rate > 1 {
			return d, fmt.Errorf("faults.%s is %v, must be a share between 0 and 1", f.fault, f.rate)
		}
		total += f.rate
	}
	if total > 1+1e-9 {
		return d, fmt.Errorf("the faults' rates add up to %v, which is more than 1", total)
	}
	for _, f := range []struct {
		key, value, def string
		to              *time.Duration
	}{
		{"faults.burst", c.Faults.Burst, "250ms", &d.burst},
		{"faults.slow_for", c.Faults.SlowFor, "2s", &d.slow},
		{"faults.stall_for", c.Faults.StallFor, "20s", &d.stall},
		{"slowdown.after", c.Slowdown.After, "0s", &d.slowAfter},
		{"slowdown.for", c.Slowdown.For, "0s", &d.slowdown},
	} {
		if f.value == "" {
			f.value = f.def
		}
		v, err := time.ParseDuration(f.value)
		if err != nil || v < 0 {
			return d, fmt.Errorf("%s is %q, must be a duration such as 500ms or 10s", f.key, f.value)
		}
		*f.to = v
	}
	return d, c.Slowdown.check(c.RPS)
}

func (s Slowdown) check(rps float64) error {
	if s == (Slowdown{}) {
		return nil
	}
	switch {
	case rps == 0:
		return fmt.Errorf("slowdown needs a limit to slow down: set rps")
	case s.For == "":
		return fmt.Errorf("slowdown.for is missing: how long does it last, such as 10s?")
	case math.IsNaN(s.Factor) || s.Factor < 0 || s.Factor > 100:
		return fmt.Errorf("slowdown.factor is %v, must be between 0 and 100 (0 means the default, 0.5)", s.Factor)
	}
	return nil
}

// wording changes whenever the same problem and draw would get another answer:
// in a prompt key it is another teacher then.
const wording = "1"

// Endpoint names the teacher in prompt keys: by what decides its answers, never
// by an address. Limits, keys and faults do not enter it, since an answer that
// was paid for is as good under others.
func (c Config) Endpoint() string {
	reasoning := c.Reasoning
	if reasoning == "" {
		reasoning = ReasoningContent
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "wording %s\nseed %d\nreasoning %s\n", wording, c.Seed, reasoning))
	return Provider + ":" + hex.EncodeToString(sum[:8])
}

// Prices returns what the teacher's tokens cost.
func (c Config) Prices() price.Price {
	if c.Price != (price.Price{}) {
		return c.Price
	}
	p, err := price.Default().Lookup(price.Reference, c.ModelName(), time.Now())
	if err != nil {
		panic(err) // the book that is compiled in has the compiled-in teacher
	}
	return p
}

// ModelName returns the name that the teacher serves itself under.
func (c Config) ModelName() string {
	if c.Model == "" {
		return "reference"
	}
	return c.Model
}
