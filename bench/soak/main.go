// Command soak asks a server of ours for ten minutes, well and badly, and says
// what it lost or kept. See README.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"retort/bench/gguf"
	"retort/bench/server"
	"retort/bench/trial"
)

func main() {
	var b bench
	flag.StringVar(&b.binary, "binary", "", "the retort binary")
	flag.StringVar(&b.work, "work", "", "an existing directory for the model")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.DurationVar(&b.duration, "duration", 10*time.Minute, "of the soak")
	flag.Parse()
	if err := b.run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/soak:", err)
		os.Exit(1)
	}
}

type bench struct {
	binary, work, record string
	duration             time.Duration

	server                                     *server.Server
	client                                     *http.Client
	whole, refused, cancelled, slow, malformed atomic.Int64

	mu     sync.Mutex
	faults []string
}

// fault notes that the server did what it must not.
func (b *bench) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) < 20 {
		b.faults = append(b.faults, fmt.Sprintf(format, args...))
	}
}

func (b *bench) run(stdout io.Writer) error {
	c, err := gguf.Config("quickstart")
	if err != nil {
		return err
	}
	dir := filepath.Join(b.work, "model")
	if _, _, err := gguf.Write(dir, c, ""); err != nil {
		return err
	}
	b.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	// Little room, so that the queue and the cache are full at times.
	b.server, err = server.Start(func(port string) *exec.Cmd {
		return exec.Command(b.binary, "serve", dir, "--slots", "6", "--context", "600", "--cache-tokens", "1600", "--queue", "10", "--listen", "127.0.0.1:"+port)
	}, filepath.Join(b.work, "server.log"))
	if err != nil {
		return err
	}
	defer b.server.Stop()

	// A first tenth fills pools and caches; what is there after it and a rest is
	// what may be there at the end.
	b.soak(b.duration/10, 1)
	before, err := b.rest(b.server.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	began := time.Now()
	b.soak(b.duration-b.duration/10, 2)
	took := time.Since(began)
	after, err := b.rest(b.server.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	if after.goroutines > before.goroutines+2 {
		b.fault("%d goroutines at rest, %d before", after.goroutines, before.goroutines)
	}
	if grown := after.resident - before.resident; grown > 16<<20 {
		b.fault("%d MB resident at rest, %d before", after.resident>>20, before.resident>>20)
	}
	for name, v := range map[string]int{"sequences running": after.running, "sequences waiting": after.waiting, "tokens of the cache in use": after.used} {
		if v != 0 {
			b.fault("%d %s at rest", v, name)
		}
	}
	drained, err := b.drain()
	if err != nil {
		return err
	}
	report := trial.NewReport("soak", fmt.Sprintf("%.0f s", took.Seconds()), b.record)
	report.Line("%d requests answered whole, %d refused with 429, %d cancelled, %d read slowly, %d malformed", b.whole.Load(), b.refused.Load(), b.cancelled.Load(), b.slow.Load(), b.malformed.Load())
	report.Line("at rest before and after: %d and %d goroutines, %d and %d MB resident, 0 tokens of the cache in use", before.goroutines, after.goroutines, before.resident>>20, after.resident>>20)
	report.Line("SIGTERM: %d answers under way came to their end, exit status 0", drained)
	report.Figure("answered", float64(b.whole.Load()))
	report.Figure("faults", float64(len(b.faults)))
	report.Figure("resident_growth_mb", float64(after.resident-before.resident)/(1<<20))
	for _, f := range b.faults {
		report.Line("FAULT: %s", f)
	}
	if err := report.Print(stdout); err != nil {
		return err
	}
	if len(b.faults) > 0 {
		return fmt.Errorf("%d faults", len(b.faults))
	}
	return nil
}

// soak runs all clients for a while.
func (b *bench) soak(d time.Duration, seed uint64) {
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	each := func(clients int, ask func(*rand.Rand)) {
		for i := range clients {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				for time.Now().Before(end) {
					ask(rng)
				}
			})
		}
	}
	each(10, b.askWell)
	each(6, b.cancel)
	each(4, b.readSlowly)
	each(3, b.malform)
	wg.Wait()
}

// body is a request of one of the two wires.
func body(rng *rand.Rand, stream bool) (path string, data []byte) {
	text := strings.Repeat("abc def ghi ", 1+rng.IntN(12))
	r := map[string]any{"model": "student", "max_tokens": 1 + rng.IntN(60), "temperature": float64(rng.IntN(2)), "stream": stream, "n": 1 + rng.IntN(2)}
	if rng.IntN(2) == 0 {
		r["prompt"] = text
		path = "/v1/completions"
		if rng.IntN(3) == 0 {
			r["echo"], r["logprobs"] = true, 2
		}
	} else {
		r["messages"] = []any{map[string]any{"role": "user", "content": text}}
		path = "/v1/chat/completions"
	}
	if stream {
		r["stream_options"] = map[string]any{"include_usage": true}
	}
	data, _ = json.Marshal(r)
	return path, data
}

func (b *bench) post(ctx context.Context, path string, data []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", b.server.URL+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return b.client.Do(req)
}

// askWell expects a whole answer, or a refusal that says when to come back.
func (b *bench) askWell(rng *rand.Rand) {
	stream := rng.IntN(2) == 0
	path, data := body(rng, stream)
	resp, err := b.post(context.Background(), path, data)
	if err != nil {
		b.fault("%s: %v", path, err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		b.fault("%s: the answer breaks off: %v", path, err)
	case resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "":
		b.refused.Add(1)
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	case resp.StatusCode != http.StatusOK:
		b.fault("%s: %s: %s", path, resp.Status, text)
	case !bytes.Contains(text, []byte(`"finish_reason":"`)) || !bytes.Contains(text, []byte(`"usage":{`)) || stream && !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")):
		b.fault("%s: the answer is not whole: %.300s", path, text)
	default:
		b.whole.Add(1)
	}
}

// cancel goes away at any moment.
func (b *bench) cancel(rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(150_000))*time.Microsecond)
	defer cancel()
	path, data := body(rng, rng.IntN(2) == 0)
	if resp, err := b.post(ctx, path, data); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	b.cancelled.Add(1)
}

// readSlowly takes its answer in small sips, and sometimes leaves in the middle.
func (b *bench) readSlowly(rng *rand.Rand) {
	conn, err := net.Dial("tcp", b.server.Addr)
	if err != nil {
		b.fault("dial: %v", err)
		return
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(2048)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	path, data := body(rng, true)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, len(data))
	for len(data) > 0 { // a slow writer, too
		n := min(len(data), 40)
		if _, err := conn.Write(data[:n]); err != nil {
			b.fault("a slow request is cut off: %v", err)
			return
		}
		data = data[n:]
		time.Sleep(time.Millisecond)
	}
	sip := make([]byte, 700)
	for range 5 + rng.IntN(60) {
		if _, err := conn.Read(sip); err != nil {
			break
		}
		time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
	}
	b.slow.Add(1)
}

var nonsense = []string{
	"GET / HTTP/1.1\r\n\r\n",
	"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{\"model\":",
	"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\"a\":",
	"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"FOO\r\n\r\n",
	"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 100_000) + "\r\n\r\n",
}

var badBodies = []string{
	`{"model":"student"}`, `{"model":"student","messages":[]}`, `{"model":"other","messages":[{"role":"user","content":"a"}]}`,
	`{"model":"student","messages":[{"role":"user","content":"a"}],"temperature":9}`, `[1,2,3]`, `{`, ``, `null`, `"x"`,
	`{"model":"student","messages":[{"role":"robot","content":"a"}]}`, `{"model":"student","messages":"hello"}`,
	`{"model":"student","prompt":[1,2,99999999]}`, `{"model":"student","prompt":"a","max_tokens":-1}`,
	`{"model":"student","prompt":"` + strings.Repeat("long ", 2000) + `"}`, strings.Repeat("[", 100_000),
}

// malform sends what is no request, or a bad one, which must be refused.
func (b *bench) malform(rng *rand.Rand) {
	b.malformed.Add(1)
	if rng.IntN(2) == 0 {
		conn, err := net.Dial("tcp", b.server.Addr)
		if err != nil {
			b.fault("dial: %v", err)
			return
		}
		conn.SetDeadline(time.Now().Add(time.Second))
		conn.Write([]byte(nonsense[rng.IntN(len(nonsense))]))
		if rng.IntN(2) == 0 {
			io.Copy(io.Discard, conn)
		}
		conn.Close()
		return
	}
	text := badBodies[rng.IntN(len(badBodies))]
	resp, err := b.post(context.Background(), []string{"/v1/completions", "/v1/chat/completions"}[rng.IntN(2)], []byte(text))
	if err != nil {
		b.fault("%.60s: %v", text, err)
		return
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode < 400 || resp.StatusCode >= 500 {
		b.fault("%.60s is answered with %s", text, resp.Status)
	}
}

// state is what a server holds.
type state struct{ goroutines, running, waiting, used, resident int }

var metric = regexp.MustCompile(`(?m)^(\w+) (\d+)$`)

func (b *bench) metrics() (map[string]int, error) {
	resp, err := b.client.Get(b.server.URL + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	all := map[string]int{}
	for _, m := range metric.FindAllSubmatch(text, -1) {
		all[string(m[1])], _ = strconv.Atoi(string(m[2]))
	}
	return all, err
}

// rest waits until nothing is under way and returns what the server still holds.
func (b *bench) rest(pid int) (s state, err error) {
	for range 100 {
		b.client.CloseIdleConnections()
		time.Sleep(200 * time.Millisecond)
		m, err := b.metrics()
		if err != nil {
			return s, err
		}
		s = state{goroutines: m["go_goroutines"], running: m["retort_sequences_running"], waiting: m["retort_sequences_waiting"], used: m["retort_cache_tokens_used"]}
		if s.running+s.waiting+s.used == 0 {
			break
		}
	}
	time.Sleep(2 * time.Second)
	m, err := b.metrics()
	if err != nil {
		return s, err
	}
	s.goroutines = m["go_goroutines"]
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(data)
	if found == nil {
		return s, errors.New("/proc does not tell resident memory")
	}
	s.resident, err = strconv.Atoi(string(found[1]))
	s.resident <<= 10
	return s, err
}

// drain tells the server to stop while answers are under way, which must come to
// their end, while new requests are not taken. It returns how many came.
func (b *bench) drain() (int, error) {
	var wg sync.WaitGroup
	var whole, begun atomic.Int64 // begun counts those that failed before too
	for range 6 {
		wg.Go(func() {
			resp, err := b.post(context.Background(), "/v1/completions", []byte(`{"model":"student","prompt":"abc","max_tokens":500,"stream":true}`))
			if err != nil {
				b.fault("before SIGTERM: %v", err)
				begun.Add(1)
				return
			}
			defer resp.Body.Close()
			in := bufio.NewReader(resp.Body)
			_, err = in.ReadString('\n')
			begun.Add(1)
			if err != nil {
				b.fault("before SIGTERM: %v", err)
				return
			}
			text, err := io.ReadAll(in)
			if err != nil || !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) || !bytes.Contains(text, []byte(`"finish_reason":"`)) {
				b.fault("an answer under way at SIGTERM breaks off: %v", err)
				return
			}
			whole.Add(1)
		})
	}
	for begun.Load() < 6 {
		time.Sleep(time.Millisecond)
	}
	if err := b.server.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	wg.Wait()
	if err := b.server.Wait(); err != nil {
		b.fault("after SIGTERM: %v", err)
	}
	return int(whole.Load()), nil
}
