// Command gateway asks what it costs a client that the gateway records everything,
// beside a proxy that records nothing. See README.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"retort/bench/server"
	"retort/bench/trial"
	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/watch/gateway"
)

func main() {
	var b bench
	role := flag.String("role", "", "upstream or proxy: what this process is")
	port := flag.String("port", "", "of a role")
	target := flag.String("target", "", "of a proxy")
	flag.StringVar(&b.binary, "binary", "", "the retort binary")
	flag.StringVar(&b.work, "work", "", "an existing directory")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.StringVar(&b.litellm, "litellm", "", "a virtual environment with LiteLLM's proxy")
	flag.StringVar(&b.recorder, "recorder", "", "recorder.py, which LiteLLM is to call")
	flag.IntVar(&b.rounds, "rounds", 5, "how many rounds are measured")
	flag.IntVar(&b.seconds, "seconds", 10, "of load through each proxy in a round")
	flag.IntVar(&b.kills, "kills", 10, "how often the gateway is killed")
	flag.Parse()
	var err error
	switch *role {
	case "upstream":
		err = http.ListenAndServe("127.0.0.1:"+*port, http.HandlerFunc(upstream))
	case "proxy":
		err = proxy(*port, *target)
	default:
		err = b.run(os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/gateway:", err)
		os.Exit(1)
	}
}

type bench struct {
	binary, work, record   string
	litellm, recorder      string
	rounds, seconds, kills int
}

const (
	clients = 64
	events  = 50
)

var (
	chunk  = fmt.Appendf(nil, "data: {\"id\":\"chatcmpl-123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"logprobs\":null,\"finish_reason\":null}]}\n\n", " some words of it")
	ending = []byte("data: {\"id\":\"chatcmpl-123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" +
		"data: {\"id\":\"chatcmpl-123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":150,\"total_tokens\":350}}\n\n")
	done  = []byte("data: [DONE]\n\n")
	whole = fmt.Appendf(nil, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":1500,"total_tokens":1700}}`, strings.Repeat("some words of it ", 600))
)

// upstream answers chat requests at once; with pauses, if the query says how long
// the last one is to be, in milliseconds.
func upstream(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		return
	case "/v1/models":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"stub"}]}`)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(whole)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	for i := range events {
		if last, err := strconv.Atoi(r.URL.Query().Get("pause")); err == nil {
			pause := time.Millisecond
			if i == events-1 {
				pause = time.Duration(last) * time.Millisecond
			}
			time.Sleep(pause)
		}
		w.Write(chunk)
		if i == events-1 {
			w.Write(ending)
		}
		flush()
	}
	w.Write(done)
}

// proxy is the peer.
func proxy(port, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	p := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	return http.ListenAndServe("127.0.0.1:"+port, p)
}

func (b *bench) run(stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	up, err := server.Start(func(port string) *exec.Cmd { return exec.Command(self, "--role", "upstream", "--port", port) }, filepath.Join(b.work, "upstream.log"))
	if err != nil {
		return err
	}
	defer up.Stop()
	peers, err := b.peers(self, up.URL)
	if err != nil {
		return err
	}
	defer stopAll(peers)
	ws := filepath.Join(b.work, "ws")
	key, err := exec.Command(b.binary, "--workspace", ws, "--quiet", "keys", "create", "bench").Output()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	start := func() (*server.Server, error) {
		return server.Start(func(port string) *exec.Cmd {
			file := filepath.Join(b.work, "gateway.yaml")
			text := fmt.Sprintf("gateway: 1\nlisten: 127.0.0.1:%s\nupstreams: [{name: stub, base_url: %q}]\nprices: [{model: m, input: 1, output: 2}]\n", port, up.URL+"/v1")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				fmt.Fprintln(stderr, err) // the gateway will say so too
			}
			return exec.Command(b.binary, "--workspace", ws, "gateway", file)
		}, filepath.Join(b.work, "gateway.log"))
	}
	ours, err := start()
	if err != nil {
		return err
	}
	defer func() { ours.Stop() }() // whichever runs then
	c := &client{http: &http.Client{Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, DisableCompression: true}}}
	us := &proxied{Server: ours, name: "ours", key: strings.TrimSpace(string(key)), exact: true}
	report := trial.NewReport("gateway", fmt.Sprintf("%d clients, %d rounds of %d s, %d kills", clients, b.rounds, b.seconds, b.kills), b.record)
	if err := b.throughput(c, us, peers, report, stderr); err != nil {
		return fmt.Errorf("%w\n%s", err, ours.Tail())
	}
	if err := b.latency(c, us, peers[0], report, stderr); err != nil {
		return fmt.Errorf("%w\n%s", err, ours.Tail())
	}
	if err := ours.Cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if err := ours.Wait(); err != nil {
		return fmt.Errorf("the gateway ended with %w\n%s", err, ours.Tail())
	}
	if err := b.lostByPeers(c, peers, report); err != nil {
		return err
	}
	for range b.kills {
		next, err := start()
		if err != nil {
			return err
		}
		ours, us.Server = next, next
		time.AfterFunc(time.Second+rand.N(2*time.Second), ours.Stop)
		c.load(us, 10*time.Second)
		ours.Stop()
	}
	lost, err := c.lost(filepath.Join(ws, "ledger"))
	if err != nil {
		return err
	}
	report.Figure("lost", float64(lost))
	report.Line("%d of %d exchanges whose end a client saw are not in the ledger, %d kill -9 among them", lost, len(c.seen), b.kills)
	return report.Print(stdout)
}

// throughput puts load on all in turn.
func (b *bench) throughput(c *client, ours *proxied, peers []*proxied, report *trial.Report, stderr io.Writer) error {
	ratios := map[*proxied][]float64{}
	for round := range b.rounds + 1 { // the first warms up
		rates := map[*proxied]float64{}
		order := append([]*proxied{ours}, peers...)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			n, failed := c.load(s, time.Duration(b.seconds)*time.Second)
			switch {
			case n == 0 || len(failed) > 0 && s == ours:
				return fmt.Errorf("%s: %d of %d requests failed: %w\n%s", s.name, len(failed), n, errors.Join(failed[:min(1, len(failed))]...), s.Tail())
			case len(failed) > 0: // which counts against its rate alone: ReverseProxy cuts a response now and then
				fmt.Fprintf(stderr, "%s failed %d of %d requests, the first with: %v\n", s.name, len(failed), n, failed[0])
			}
			rates[s] = float64(n) / float64(b.seconds)
		}
		fmt.Fprintf(stderr, "round %d:", round)
		for _, s := range order {
			fmt.Fprintf(stderr, " %s %.0f requests/s", s.name, rates[s])
			if round > 0 && s != ours {
				ratios[s] = append(ratios[s], rates[ours]/rates[s])
			}
		}
		fmt.Fprintln(stderr)
	}
	for _, s := range peers {
		report.Median(s.figure, fmt.Sprintf("requests per second of %d clients, ours over %s's", clients, s.name), "%.2f", ratios[s])
	}
	return nil
}

// lostByPeers kills the peers whose records can be counted under load, and counts.
func (b *bench) lostByPeers(c *client, peers []*proxied, report *trial.Report) error {
	for _, s := range peers {
		if s.records == nil {
			continue
		}
		before, err := s.records()
		if err != nil {
			return err
		}
		time.AfterFunc(time.Duration(b.seconds)*time.Second, s.kill)
		n, _ := c.load(s, time.Duration(b.seconds)*time.Second+time.Second)
		after, err := s.records()
		if err != nil {
			return err
		}
		report.Line("%s, killed under load: %d answers of which clients saw the end, %d records", s.name, n, after-before)
	}
	return nil
}

// latency has one client ask through both by turns.
func (b *bench) latency(c *client, ours, peer *proxied, report *trial.Report, stderr io.Writer) error {
	file, err := os.Create(filepath.Join(b.work, "ws", "sync"))
	if err != nil {
		return err
	}
	defer file.Close()
	const asks = 200
	var firsts, ends []float64
	for round := range b.rounds {
		waited, waits, err := c.waited(ours)
		if err != nil {
			return err
		}
		var first, end [2][]float64
		var syncs []float64
		for i := range asks {
			for j := range 2 {
				k := (i + j) % 2
				s := []*proxied{ours, peer}[k]
				// Of all lengths, or the end would always meet the same moment of the recording.
				query := fmt.Sprintf("?pause=%d", 1+i%50)
				f, e, err := c.ask(s, true, query)
				if err != nil && s == peer { // ReverseProxy cuts a response now and then
					fmt.Fprintf(stderr, "%s failed and is asked again: %v\n", s.name, err)
					f, e, err = c.ask(s, true, query)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				first[k], end[k] = append(first[k], f.Seconds()), append(end[k], e.Seconds())
			}
			// The ledger's disk has been idle for as long as an answer takes, too.
			time.Sleep(time.Duration(events+1+i%50) * time.Millisecond)
			began := time.Now()
			if _, err := file.Write(make([]byte, 4<<10)); err != nil {
				return err
			}
			if err := unix.Fdatasync(int(file.Fd())); err != nil {
				return err
			}
			syncs = append(syncs, time.Since(began).Seconds())
		}
		later := 1e6 * (trial.Middle(first[0]) - trial.Middle(first[1]))
		after := make([]float64, asks)
		for i := range after {
			after[i] = end[0][i] - end[1][i]
		}
		tail, sync := trial.Middle(after), trial.Middle(syncs)
		waited2, waits2, err := c.waited(ours)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "round %d: first byte %.0f µs later, end %.0f µs later, a synced write takes %.0f µs (mean %.0f; the ledger's took %.0f in the mean)\n",
			round, later, 1e6*tail, 1e6*sync, 1e6*mean(syncs), 1e6*(waited2-waited)/(waits2-waits))
		firsts, ends = append(firsts, later), append(ends, tail/sync)
	}
	report.Median("first_byte_us", "first streamed byte to one client later by, µs", "%.0f", firsts)
	report.Median("end_syncs", "end of a streamed answer later by, in synced writes of the disk", "%.2f", ends)
	return nil
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// waited is for how long ends of answers have waited for the ledger, in seconds,
// and how many.
func (c *client) waited(s *proxied) (seconds, ends float64, err error) {
	req, err := http.NewRequest("GET", s.URL+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		name, value, _ := strings.Cut(in.Text(), " ")
		for want, into := range map[string]*float64{"retort_gateway_durable_seconds_sum": &seconds, "retort_gateway_durable_seconds_count": &ends} {
			if name != want {
				continue
			}
			if *into, err = strconv.ParseFloat(value, 64); err != nil {
				return 0, 0, err
			}
		}
	}
	return seconds, ends, nil
}

// client asks, and remembers what it saw the end of.
type client struct {
	http *http.Client

	mu   sync.Mutex
	seen []exchange.ID
}

// load has 64 clients ask for a while and returns how many requests came to their
// end and why others did not.
func (c *client) load(s *proxied, long time.Duration) (n int, failed []error) {
	deadline := time.Now().Add(long)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for j := i; time.Now().Before(deadline); j++ {
				_, _, err := c.ask(s, j%2 == 0, "")
				mu.Lock()
				if err == nil {
					n++
				} else {
					failed = append(failed, err)
				}
				mu.Unlock()
				var refused *net.OpError
				if errors.As(err, &refused) { // it was killed
					return
				}
			}
		})
	}
	wg.Wait()
	return n, failed
}

// ask sends one request and returns when its first piece and its end came.
func (c *client) ask(s *proxied, stream bool, query string) (first, end time.Duration, err error) {
	body := fmt.Sprintf(`{"model":"m","max_tokens":2000,"stream_options":{"include_usage":true},"stream":%v,"messages":[{"role":"user","content":%q}]}`, stream, strings.Repeat("a question of words ", 45))
	if !stream {
		body = strings.Replace(body, `"stream_options":{"include_usage":true},`, "", 1)
	}
	req, err := http.NewRequest("POST", s.URL+"/v1/chat/completions"+query, strings.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.key)
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	in := bufio.NewReaderSize(resp.Body, 16<<10)
	if _, err := in.Peek(1); err != nil {
		return 0, 0, err
	}
	first = time.Since(began)
	n, err := io.Copy(io.Discard, in)
	if err != nil {
		return 0, 0, err
	}
	end = time.Since(began)
	want := int64(len(whole))
	if stream {
		want = int64(events*len(chunk) + len(ending) + len(done))
	}
	if resp.StatusCode != http.StatusOK || s.exact && n != want || n < want/4 {
		return 0, 0, fmt.Errorf("status %d and %d bytes, want %d", resp.StatusCode, n, want)
	}
	if text := resp.Header.Get(gateway.ExchangeHeader); text != "" {
		id, err := exchange.ParseID(text)
		if err != nil {
			return 0, 0, err
		}
		c.mu.Lock()
		c.seen = append(c.seen, id)
		c.mu.Unlock()
	}
	return first, end, nil
}

// lost counts what clients saw the end of and the ledger does not have whole.
func (c *client) lost(dir string) (int, error) {
	ctx := context.Background()
	verified, err := segment.Verify(ctx, dir, segment.Option{})
	if err != nil {
		return 0, err
	}
	if !verified.OK() {
		return 0, fmt.Errorf("the ledger is damaged: %v", verified.Damage)
	}
	// What a crash tore off at the end is no damage.
	r, err := segment.OpenReader(dir, segment.Option{OnDamage: func(segment.Damage) {}})
	if err != nil {
		return 0, err
	}
	have := map[exchange.ID]bool{}
	err = ledger.Exchanges(ctx, r, func(e *exchange.Exchange) error {
		have[e.ID] = e.OK() && e.ErrorText == "" && (len(e.ResponseBody) == len(whole) || len(e.ResponseBody) == events*len(chunk)+len(ending)+len(done))
		return nil
	})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, id := range c.seen {
		if !have[id] {
			n++
		}
	}
	return n, nil
}
