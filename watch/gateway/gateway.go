package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"retort/exchange"
	"retort/ledger"
	"retort/workspace"
)

// LockName is the workspace's lock that a gateway holds: of two on one key table
// neither would see what the other's clients use.
const LockName = "gateway"

// transport is how upstreams are reached.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// Options are what a gateway is made of.
type Options struct {
	Config    *Config
	Workspace *workspace.Workspace
	Ledger    ledger.Submitter
	History   ledger.Reader // what keys used before; nil: nothing
	Coins     Coins         // of the exposure test; nil: no rule can ask for them
	// Erase erases the bodies of which Expired(before) says so, for good; nil: no
	// configuration can ask for a retention.
	Erase  func(ctx context.Context, before time.Time) error
	Tracer trace.Tracer // of spans; nil: none
	Getenv func(string) string
	Log    *slog.Logger
}

// Gateway is a recording proxy. It is safe for concurrent use.
type Gateway struct {
	ledger  ledger.Submitter
	getenv  func(string) string
	log     *slog.Logger
	account []byte // the key under which accounts and end users are hashed
	lock    *workspace.Lock
	ring    *keyring
	metrics *metrics
	client  transport
	coins   Coins
	erase   func(context.Context, time.Time) error
	tracer  trace.Tracer
	room    *semaphore.Weighted // bytes of requests' bodies that are in memory
	pending *semaphore.Weighted // bytes of answers that are not yet durable
	memory  int64
	policy  atomic.Pointer[policy]
	failed  atomic.Pointer[error] // of the ledger

	mu       sync.Mutex
	draining bool
	under    int // requests under way
	idle     *sync.Cond
}

// policy is a configuration in use. A request keeps the one that it began with.
type policy struct {
	cfg       *Config
	upstreams []*upstream
	mux       *http.ServeMux
}

// New makes a gateway and takes the workspace's lock; Close gives it back. It reads
// the ledger once, for what keys with a cap or a daily rate have used.
func New(ctx context.Context, opt Options) (*Gateway, error) {
	account, err := opt.Workspace.AccountKey()
	if err != nil {
		return nil, err
	}
	lock, err := opt.Workspace.Lock(LockName)
	if err != nil {
		return nil, fmt.Errorf("a gateway already serves with this key table: %w", err)
	}
	g := &Gateway{
		ledger: opt.Ledger, getenv: opt.Getenv, log: opt.Log, account: account, lock: lock, coins: opt.Coins, erase: opt.Erase, tracer: opt.Tracer,
		ring: newKeyring(&Keys{ws: opt.Workspace, account: account}), metrics: newMetrics(),
		memory: opt.Config.Limits.memory, room: semaphore.NewWeighted(opt.Config.Limits.bodies()), pending: semaphore.NewWeighted(opt.Config.Limits.memory - opt.Config.Limits.bodies()),
		client: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true,
			MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 256 << 10,
		},
	}
	g.idle = sync.NewCond(&g.mu)
	if err = g.restore(ctx, opt.History); err == nil {
		err = g.Reload(opt.Config)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return g, nil
}

// restore reads what keys have used.
func (g *Gateway) restore(ctx context.Context, history ledger.Reader) error {
	if history != nil {
		err := ledger.Costs(ctx, history, func(e *exchange.Exchange) error {
			if e.Origin == exchange.OriginServed && e.KeyID != "" {
				g.ring.note(e)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what keys have used: %w", err)
		}
	}
	return g.ring.refresh(time.Now())
}

// Close gives the workspace's lock back. It is called when nothing is under way.
func (g *Gateway) Close() error {
	g.client.CloseIdleConnections()
	return g.lock.Unlock()
}

// Reload puts a configuration in place of the present one, for requests to come.
// Where and how the gateway listens, and its memory, stay as they were.
func (g *Gateway) Reload(cfg *Config) error {
	p := &policy{cfg: cfg, mux: http.NewServeMux()}
	if cfg.Limits.memory != g.memory {
		return cfg.src.Errorf("limits.memory", "it cannot change while the gateway runs: restart it")
	}
	if cfg.retention > 0 && g.erase == nil {
		return cfg.src.Errorf("retention", "this gateway's ledger cannot erase bodies")
	}
	if i := slices.IndexFunc(cfg.Rules, func(r Rule) bool { return r.Action == ledger.ActionCoin }); i >= 0 && g.coins == nil {
		return cfg.src.Errorf(fmt.Sprintf("rules[%d].action", i), "this gateway keeps no log of coins")
	}
	for i := range cfg.Upstreams {
		u := &cfg.Upstreams[i]
		base, err := url.Parse(u.BaseURL)
		if err != nil {
			return cfg.src.Errorf(fmt.Sprintf("upstreams[%d].base_url", i), "%v", err)
		}
		up := &upstream{Upstream: u, base: base}
		if u.APIKeyEnv != "" {
			if up.key = g.getenv(u.APIKeyEnv); up.key == "" {
				return cfg.src.Errorf(fmt.Sprintf("upstreams[%d].api_key_env", i), "the environment variable %s is not set; it should hold the upstream's key", u.APIKeyEnv)
			}
		}
		p.upstreams = append(p.upstreams, up)
	}
	all := slices.Clone(routes)
	for _, r := range cfg.Unmetered {
		method, path, _ := strings.Cut(r, " ")
		all = append(all, route{name: unmetered, method: method, path: path, open: true})
	}
	for _, rt := range all {
		p.mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) { g.serve(p, &rt, w, r) })
	}
	p.mux.HandleFunc("GET /health", g.serveHealth)
	p.mux.HandleFunc("GET /metrics", g.serveMetrics)
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, &route{name: "other"}, &refused{http.StatusNotFound, "not_found",
			"the gateway does not pass on " + r.Method + " " + excerpt(r.URL.Path) + ": it could not meter it; its operator can list it as unmetered", 0})
	})
	g.policy.Store(p)
	return nil
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := g.policy.Load()
	// Until the request is there, or longer if it is refused: net/http reads the rest
	// of a body that nobody wants. What cannot set it, such as a request from memory,
	// need not.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(p.cfg.Limits.receive))
	p.mux.ServeHTTP(w, r)
}

// fail notes that the ledger takes nothing more, if err is not nil: from then on
// nothing is served.
func (g *Gateway) fail(err error) {
	if err != nil && g.failed.CompareAndSwap(nil, &err) {
		g.log.Error("the ledger failed: new requests are refused, open ones aborted", "error", err)
		g.metrics.failed.Set(1)
	}
}

// enter counts a request in, unless there are too many, the ledger has failed or
// the gateway is about to end.
func (g *Gateway) enter(p *policy) *refused {
	if g.failed.Load() != nil {
		return &refused{http.StatusServiceUnavailable, "ledger_failed", "the gateway cannot record what it would serve", 0}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		return &refused{http.StatusServiceUnavailable, "shutting_down", "the gateway is shutting down", time.Second}
	case g.under >= p.cfg.Limits.Concurrent:
		return &refused{http.StatusServiceUnavailable, "busy", "too many requests are under way: try again in a moment", time.Second}
	}
	g.under++
	return nil
}

// also counts in what goes on after its request is over.
func (g *Gateway) also() {
	g.mu.Lock()
	g.under++
	g.mu.Unlock()
}

func (g *Gateway) leave() {
	g.mu.Lock()
	g.under--
	g.mu.Unlock()
	g.idle.Broadcast()
}

// Drain refuses new requests and returns when those under way have ended, or with
// ctx.
func (g *Gateway) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, g.idle.Broadcast)
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	for g.under > 0 && ctx.Err() == nil {
		g.idle.Wait()
	}
	return ctx.Err()
}

func (g *Gateway) serveHealth(w http.ResponseWriter, _ *http.Request) {
	status, health := http.StatusOK, "ok"
	g.mu.Lock()
	if g.draining {
		status, health = http.StatusServiceUnavailable, "draining"
	}
	g.mu.Unlock()
	if g.failed.Load() != nil {
		status, health = http.StatusServiceUnavailable, "the ledger failed"
	}
	// A client that has gone does not read it.
	_ = writeHealth(w, status, health)
}
