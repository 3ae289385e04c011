package loop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/openai"
	"retort/teach/reference"
	"retort/watch/gateway"
	"retort/watch/simulate"
	"retort/workspace"
)

// server is something that listens on loopback.
type server struct {
	srv  *http.Server
	over chan error
	once sync.Once
	err  error
}

// listen serves a handler on an address.
func listen(addr string, h http.Handler) (*server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s, where this loop listened before: %w; end what uses it", addr, err)
	}
	s := &server{srv: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}, over: make(chan error, 1)}
	go func() { s.over <- s.srv.Serve(l) }()
	return s, nil
}

// Close ends the server.
func (s *server) Close() error {
	s.once.Do(func() {
		s.err = s.srv.Close()
		if err := <-s.over; !errors.Is(err, http.ErrServerClosed) {
			s.err = errors.Join(s.err, err)
		}
	})
	return s.err
}

// free is an address on loopback that nobody listens on.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// backend is what stands behind the gateway: the built-in teacher, and a stand-in that
// answers what simulated accounts ask as the simulation says.
type backend struct {
	teacher http.Handler

	mu      sync.Mutex
	replies map[[sha256.Size]byte]*reply // by the request
}

type reply struct {
	call  simulate.Call
	draws int
}

func newBackend(cfg reference.Config) (*backend, error) {
	t, err := reference.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("reference teacher: %w", err)
	}
	return &backend{teacher: t.Handler(), replies: map[[sha256.Size]byte]*reply{}}, nil
}

// expect says what the answer to a request is going to be.
func (b *backend) expect(body []byte, c *simulate.Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sum := sha256.Sum256(body); b.replies[sum] == nil {
		b.replies[sum] = &reply{call: *c}
	}
}

// ServeHTTP implements http.Handler.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the gateway has gone
	}
	b.mu.Lock()
	known := b.replies[sha256.Sum256(body)]
	var call simulate.Call
	draw := 0
	if known != nil {
		call, draw = known.call, known.draws
		known.draws++
	}
	b.mu.Unlock()
	if known == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		b.teacher.ServeHTTP(w, r)
		return
	}
	// Another draw says the same in another order, as far as it has parts.
	if parts := strings.SplitAfter(call.Answer.Content, ". "); draw > 0 && len(parts) > 1 {
		at := draw % len(parts)
		call.Answer.Content = strings.Join(slices.Concat(parts[at:], parts[:at]), "")
	}
	out, err := call.Response()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}

// fleet is the campaign's way to the gateway: its requests are spread over its
// accounts, the same request always to the same one.
func fleet(to string, secrets []string) (http.Handler, error) {
	target, err := url.Parse("http://" + to)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			body, err := io.ReadAll(r.In.Body)
			if err == nil {
				sum := sha256.Sum256(body)
				r.Out.Body = io.NopCloser(bytes.NewReader(body))
				r.Out.Header.Set("Authorization", "Bearer "+secrets[binary.BigEndian.Uint64(sum[:])%uint64(len(secrets))])
			}
		},
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway) // the collector tries again
		},
	}
	return proxy, nil
}

// secretsOf makes a key for each of some accounts, or reads those that were made
// before. Whose they are keeps them in a file of their own.
func secretsOf(ws *workspace.Workspace, file string, accounts []string) ([]string, error) {
	var secrets []string
	raw, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(raw, &secrets); err != nil || len(secrets) != len(accounts) {
			return nil, fmt.Errorf("%s does not hold the keys of %d accounts: remove the loop's directory to begin again", file, len(accounts))
		}
		return secrets, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	keys, err := gateway.OpenKeys(ws)
	if err != nil {
		return nil, err
	}
	if _, secrets, err = keys.CreateAll(accounts, gateway.Key{}, time.Now()); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(secrets); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return secrets, workspace.WriteFileAtomic(file, raw, 0o600)
}

// crowd is a population with its keys.
type crowd struct {
	pop     *simulate.Population
	secrets map[string]string // by name
}

func newPopulation(world *simulate.World, seed uint64, c Crowd) (*simulate.Population, error) {
	cfg := simulate.Config{Seed: seed, Size: c.Size, PerDay: 25, Organisations: map[simulate.Kind]int{}}
	for _, k := range simulate.Kinds() {
		cfg.Organisations[k] = c.Organisations
	}
	return simulate.New(world, cfg)
}

func newCrowd(ws *workspace.Workspace, file string, pop *simulate.Population) (*crowd, error) {
	var names []string
	for _, a := range pop.Accounts {
		names = append(names, a.Name)
	}
	list, err := secretsOf(ws, file, names)
	if err != nil {
		return nil, err
	}
	c := &crowd{pop: pop, secrets: make(map[string]string, len(names))}
	for i, name := range names {
		c.secrets[name] = list[i]
	}
	return c, nil
}

// ask puts the crowd's calls to the gateway, in the order of the simulation's time and
// as fast as they are answered; those that are recorded are passed over.
func (c *crowd) ask(ctx context.Context, b *backend, gatewayAt string, calls, atOnce int, recorded map[string]int, key []byte, on func(done int)) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	defer client.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	lanes := make([]chan simulate.Call, atOnce) // an account's calls go one after another
	for i := range lanes {
		lane := make(chan simulate.Call, 4)
		lanes[i] = lane
		g.Go(func() error {
			for call := range lane {
				if err := c.put(ctx, client, b, gatewayAt, &call); err != nil {
					return err
				}
			}
			return nil
		})
	}
	lane, skip := map[string]int{}, map[string]int{}
	for i, a := range c.pop.Accounts {
		lane[a.Name], skip[a.Name] = i%atOnce, recorded[exchange.HashAccount(key, a.Name)]
	}
	n := 0
	err := c.pop.Stream(simulate.Until{Calls: calls}, func(call *simulate.Call) error {
		if n++; on != nil && n%1000 == 0 {
			on(n)
		}
		if name := call.Account.Name; skip[name] > 0 {
			skip[name]--
			return nil
		}
		select {
		case lanes[lane[call.Account.Name]] <- *call:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	for _, lane := range lanes {
		close(lane)
	}
	if failed := g.Wait(); failed != nil {
		return failed
	}
	return err
}

// put asks one call.
func (c *crowd) put(ctx context.Context, client *http.Client, b *backend, at string, call *simulate.Call) error {
	body, err := call.Request()
	if err != nil {
		return err
	}
	b.expect(body, call)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.secrets[call.Account.Name])
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("%s asks the gateway: %w", call.Account.Name, err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s asks the gateway: %w", call.Account.Name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s asks the gateway: %s: %.200s", call.Account.Name, resp.Status, said)
	}
	if _, _, _, err := openai.ParseResponse(said); err != nil {
		return fmt.Errorf("%s asks the gateway: %w", call.Account.Name, err)
	}
	return nil
}

// recorded counts, by account, the exchanges that a ledger holds.
func recorded(ctx context.Context, ws *workspace.Workspace) (map[string]int, error) {
	n := map[string]int{}
	if _, err := os.Stat(ws.Path("ledger")); errors.Is(err, os.ErrNotExist) {
		return n, nil
	}
	r, err := segment.OpenReader(ws.Path("ledger"), segment.Option{})
	if err != nil {
		return nil, err
	}
	err = ledger.Costs(ctx, r, func(e *exchange.Exchange) error {
		if e.Account != "" {
			n[e.Account]++
		}
		return nil
	})
	return n, err
}
