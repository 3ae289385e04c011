// Package collect asks a teacher, over one of three wires, and keeps what it
// says: the exchange.Asker through which every paid call of a run goes.
//
// One Ask may take several attempts. Each attempt waits for its turn, reserves
// its worst case, makes its intent durable, is sent, is read, makes what was
// read durable together with its end, and only then is settled, retried or
// returned. Whatever happens at whatever moment, an attempt that may have been
// billed is in the ledger, and in the budget at no less than what it cost.
//
// What is charged:
//   - usage was reported: exactly that;
//   - a 2xx without usable usage, cut, stalled, malformed, or given up: the
//     worst case (the usage recorded is then an estimate, for information);
//   - a status other than 2xx: nothing, unless it reports usage, since
//     providers bill answers and not refusals;
//   - no connection was made, so that nothing was sent: nothing.
//
// The package decides nothing about what an answer is worth (teach/curate
// does), asks no terms gate (its configuration carries the verdict) and keeps
// no file of its own. The API key is sent in one header and is neither
// recorded nor shown; where a server repeats it in a body, it is recorded as
// asterisks.
//
// Errors: *exchange.Error with the class of the last attempt;
// *UnreachableError where there is no teacher to connect to;
// *meter.OverBudgetError where the budget does not hold the next attempt;
// *LedgerError where the record could not be made durable, after which nothing
// more is sent; ErrClosed.
package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/price"
)

// Limits bound how fast the teacher is asked.
type Limits = meter.Limits

// The defaults of a Config.
const (
	DefaultDeadline    = 2 * time.Minute
	DefaultStall       = 30 * time.Second
	DefaultMaxAttempts = 8
)

// Config says whom to ask, and within which bounds.
type Config struct {
	BaseURL  string // up to and with /v1
	APIKey   string // sent as a bearer token; "" sends none
	Provider string // recorded with every exchange
	Model    string
	Endpoint string // names the teacher in prompt keys; Wire.Endpoint(BaseURL) if empty
	Wire     Wire   // how it is asked; WireChat if empty
	// Quirks are where its API departs from the wire; of a Quirks without a
	// Name, those of the provider that BaseURL belongs to.
	Quirks Quirks

	Price  price.Price
	Budget *meter.Budget   // nil only where the price is zero
	Ledger ledger.Appender // where every attempt is recorded
	// Known holds what the ledger already has. Regular answers among it are
	// returned without asking again.
	Known map[exchange.Key]*exchange.Exchange

	Limits      Limits
	Deadline    time.Duration // for one attempt, from sending to the last byte
	Stall       time.Duration // longest silence once a response has begun
	MaxAttempts int           // at one request; refusals for its rate count a quarter
	Stream      bool          // whether answers are streamed
	TokensField string        // of the chat wire: "max_tokens" or "max_completion_tokens"; by Quirks if empty

	TermsID    string // the row that let collection pass
	TermsBasis string // and on what basis

	Seed      uint64            // of the jitter between attempts
	Transport http.RoundTripper // nil: a transport of its own
	Log       *slog.Logger      // nil: silent
	// OnEvent is told what happens, one event at a time, for a progress
	// view. It must be quick and must not ask.
	OnEvent func(Event)
}

// ErrClosed is returned by a Collector that has been closed.
var ErrClosed = errors.New("collector is closed")

// LedgerError says that a record could not be made durable.
type LedgerError struct {
	What string // which record of which exchange
	Err  error
}

// Error implements error.
func (e *LedgerError) Error() string {
	return fmt.Sprintf("record %s in the ledger: %v", e.What, e.Err)
}

// Unwrap returns the cause.
func (e *LedgerError) Unwrap() error { return e.Err }

// UnreachableError says that no connection to the teacher could be made, by
// any request, for as long as all attempts at one took.
type UnreachableError struct {
	What     string // model and address
	Attempts int
	Err      error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	s := fmt.Sprintf("cannot reach %s: %v", e.What, e.Err)
	if e.Attempts > 0 {
		s += fmt.Sprintf(" (%d attempts)", e.Attempts)
	}
	return s + "; is it running, and is base_url right?"
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Collector is an exchange.Asker that asks one teacher. It is safe for
// concurrent use.
type Collector struct {
	cfg     Config
	codec   *codec // of the wire
	url     string // that requests are sent to
	client  *http.Client
	own     *http.Transport // to close; nil where the transport is the caller's
	limiter *meter.Limiter
	log     *slog.Logger

	// going ends, with the reason as its cause, when nothing more is to be
	// sent. Attempts that are under way are read to their end.
	going context.Context
	stop  context.CancelCauseFunc
	asks  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	known  map[exchange.Key]*exchange.Exchange
	calls  map[exchange.Key]*call
	stats  tally

	eventMu sync.Mutex
}

// call is an Ask under way, which others that ask the same wait for.
type call struct {
	done chan struct{}
	e    *exchange.Exchange
	err  error
}

// New checks a configuration and returns a Collector. It opens no connection.
func New(cfg Config) (*Collector, error) {
	if err := cfg.fill(); err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	limiter, err := meter.NewLimiter(cfg.Limits)
	if err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	c := &Collector{
		cfg: cfg, codec: codecs[cfg.Wire], url: strings.TrimSuffix(cfg.BaseURL, "/") + codecs[cfg.Wire].path,
		limiter: limiter, log: cfg.Log,
		known: make(map[exchange.Key]*exchange.Exchange, len(cfg.Known)),
		calls: make(map[exchange.Key]*call),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for key, e := range cfg.Known {
		if e.OK() {
			c.known[key] = e
		}
	}
	c.cfg.Known = nil
	c.going, c.stop = context.WithCancelCause(context.Background())
	transport := cfg.Transport
	if transport == nil {
		c.own = newTransport(cfg.Limits.Concurrent)
		transport = c.own
	}
	c.client = &http.Client{
		Transport: transport,
		// A redirected POST would be sent again, key and all, to wherever.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func (cfg *Config) fill() error {
	u, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("base_url must be an address such as https://host/v1")
	case u.User != nil:
		return fmt.Errorf("base_url holds a user name or password: give the key through the environment instead")
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("base_url must end with its path, such as /v1, and have no query")
	case cfg.Model == "":
		return fmt.Errorf("no model is named")
	case strings.ContainsAny(cfg.APIKey, "\r\n\x00"):
		return fmt.Errorf("the API key holds a line break or zero byte")
	case cfg.Ledger == nil:
		return fmt.Errorf("there is no ledger to record in")
	case cfg.Budget == nil && !cfg.Price.Free():
		return fmt.Errorf("price %s is not zero, and there is no budget", cfg.Price.ID)
	case cfg.TermsID == "" || cfg.TermsBasis == "":
		return fmt.Errorf("the terms gate has not been asked: terms id and basis are missing")
	case cfg.Deadline < 0 || cfg.Stall < 0 || cfg.MaxAttempts < 0:
		return fmt.Errorf("deadline, stall and attempts must not be negative")
	}
	if cfg.Wire, err = ParseWire(string(cfg.Wire)); err != nil {
		return err
	}
	if cfg.Quirks.Name == "" {
		if cfg.Quirks, err = QuirksOf("", cfg.BaseURL); err != nil {
			return err
		}
	}
	cfg.Price = cfg.Quirks.Price(cfg.Price)
	if cfg.Endpoint == "" {
		cfg.Endpoint = cfg.Wire.Endpoint(cfg.BaseURL)
	}
	if cfg.Budget == nil {
		cfg.Budget = meter.NewBudget(0)
	}
	if cfg.Deadline == 0 {
		cfg.Deadline = DefaultDeadline
	}
	if cfg.Stall == 0 {
		cfg.Stall = DefaultStall
	}
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = DefaultMaxAttempts
	}
	return nil
}

// newTransport keeps as many connections open as requests can be under way;
// the default keeps two.
func newTransport(concurrent int) *http.Transport {
	if concurrent <= 0 {
		concurrent = 256
	}
	dialer := net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          concurrent,
		MaxIdleConnsPerHost:   concurrent,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		DisableCompression:    true, // bodies are recorded as they were on the wire
		ExpectContinueTimeout: time.Second,
	}
}

// Close stops sending, waits for the attempts under way and closes the
// connections. It does not close the ledger.
func (c *Collector) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop(ErrClosed)
	c.asks.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// ProviderOf names the provider behind a base URL: "openai" for OpenAI's own,
// "loopback" for one's own machine, otherwise the host without a leading
// "api.".
func ProviderOf(baseURL string) string {
	u, err := url.Parse(baseURL)
	if err != nil {
		return ""
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if ip, err := netip.ParseAddr(host); host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback() {
		return "loopback"
	}
	host = strings.TrimPrefix(host, "api.")
	if host == "openai.com" || strings.HasSuffix(host, ".openai.com") {
		return "openai"
	}
	return host
}

// what names the teacher in errors.
func (c *Collector) what() string {
	return fmt.Sprintf("model %q at %s", c.cfg.Model, c.cfg.BaseURL)
}
