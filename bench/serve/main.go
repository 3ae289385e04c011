// Command serve asks how many tokens a second many clients get, from our server
// and from llama.cpp's, of the same model. See README.md.
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
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/stat"

	"retort/bench/gguf"
	"retort/bench/server"
	"retort/bench/trial"
)

func main() {
	var b bench
	flag.StringVar(&b.llama, "llama", "", "the directory of llama.cpp's programs")
	flag.StringVar(&b.binary, "binary", "", "the retort binary")
	flag.StringVar(&b.work, "work", "", "an existing directory for model files")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.StringVar(&b.student, "student", "mla", "mla, moe or quickstart")
	flag.IntVar(&b.rounds, "rounds", 5, "how many rounds are measured")
	flag.IntVar(&b.clients, "clients", 32, "at once")
	flag.IntVar(&b.requests, "requests", 256, "of a round")
	flag.StringVar(&b.suffix, "suffix", "", "of the figures' names")
	flag.Parse()
	if err := b.run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/serve:", err)
		os.Exit(1)
	}
}

type bench struct {
	llama, binary, work, record, student, suffix string
	rounds, clients, requests                    int
}

// request is what one client asks for once.
type request struct {
	prompt []int32
	tokens int
}

// reply is what became of it.
type reply struct {
	text   string
	tokens int
	first  time.Duration // to the first text
}

// requests have prompts of 16 to 512 tokens and answers of 16 to 256, both
// evenly spread over the logarithm; a prompt is asked for once.
func requests(n, vocab int, seed uint64) []request {
	rng := rand.New(rand.NewPCG(seed, 1))
	between := func(lo, hi float64) int { return int(lo * math.Pow(hi/lo, rng.Float64())) }
	all := make([]request, n)
	for i := range all {
		all[i] = request{prompt: make([]int32, between(16, 512)), tokens: between(16, 256)}
		for j := range all[i].prompt {
			all[i].prompt[j] = int32(rng.IntN(vocab-100) + 50) // no special tokens
		}
	}
	return all
}

func (b *bench) run(stdout, stderr io.Writer) error {
	c, err := gguf.Config(b.student)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.work, b.student)
	_, file, err := gguf.Write(dir, c, "")
	if err != nil {
		return err
	}
	slots := strconv.Itoa(b.clients)
	commands := map[string]func(port string) *exec.Cmd{
		"ours": func(port string) *exec.Cmd {
			return exec.Command(b.binary, "serve", dir, "--slots", slots, "--context", "1024", "--threads", "2", "--listen", "127.0.0.1:"+port)
		},
		// A unified cache and one of parts, with flash attention and without: the
		// fastest counts.
		"llama.cpp": func(port string) *exec.Cmd { return b.llamaServer(file, port, "-fa", "off") },
		"llama.cpp, flash attention": func(port string) *exec.Cmd {
			return b.llamaServer(file, port, "-fa", "on")
		},
		"llama.cpp, unified cache": func(port string) *exec.Cmd {
			return b.llamaServer(file, port, "-fa", "off", "--kv-unified")
		},
	}
	names := []string{"ours", "llama.cpp", "llama.cpp, flash attention", "llama.cpp, unified cache"}
	servers := map[string]*server.Server{}
	for _, name := range names {
		s, err := server.Start(commands[name], filepath.Join(b.work, strings.ReplaceAll(name, " ", "-")+".log"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer s.Stop()
		servers[name] = s
	}
	if err := b.sameAlone(servers["ours"], c.VocabSize); err != nil {
		return err
	}
	rates, firsts := map[string][]float64{}, map[string][]float64{}
	for round := range b.rounds + 1 { // the first warms up, and finds the peer's best setting
		all := requests(b.requests, c.VocabSize, uint64(round))
		order := slices.Clone(names)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			replies, took, err := ask(servers[name], all, b.clients)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", name, err, servers[name].Tail())
			}
			tokens, first := 0, make([]float64, 0, len(replies))
			for _, r := range replies {
				tokens += r.tokens
				first = append(first, r.first.Seconds())
			}
			slices.Sort(first)
			rate, p99 := float64(tokens)/took.Seconds(), stat.Quantile(0.99, stat.LinInterp, first, nil)
			fmt.Fprintf(stderr, "round %d, %s: %.0f tokens/s, first token after %.0f ms (median), %.0f ms (p99)\n", round, name, rate,
				1000*stat.Quantile(0.5, stat.LinInterp, first, nil), 1000*p99)
			if round > 0 {
				rates[name], firsts[name] = append(rates[name], rate), append(firsts[name], p99)
			} else {
				rates[name] = []float64{rate}
			}
		}
		if round == 0 {
			best := slices.MaxFunc(names[1:], func(x, y string) int { return int(rates[x][0] - rates[y][0]) })
			for _, name := range names[1:] {
				if name != best {
					servers[name].Stop()
				}
			}
			names = []string{"ours", best}
			rates = map[string][]float64{}
		}
	}
	peer := names[1]
	var faster, sooner []float64
	for i := range b.rounds {
		faster = append(faster, rates["ours"][i]/rates[peer][i])
		sooner = append(sooner, firsts[peer][i]/firsts["ours"][i])
	}
	report := trial.NewReport("serve", fmt.Sprintf("%s, %d clients, %d rounds of %d requests", b.student, b.clients, b.rounds, b.requests), b.record)
	report.Line("ours %.0f tokens/s, first token after %.0f ms (p99); %s %.0f tokens/s, %.0f ms", trial.Middle(rates["ours"]), 1000*trial.Middle(firsts["ours"]), peer, trial.Middle(rates[peer]), 1000*trial.Middle(firsts[peer]))
	report.Median("tokens_per_s"+b.suffix, "output tokens per second, ours over theirs", "%.2f", faster)
	report.Median("ttft_p99"+b.suffix, "99th percentile of the time to the first token, theirs over ours", "%.2f", sooner)
	report.Line("greedy answers are the same one request at a time and all together")
	return report.Print(stdout)
}

// sameAlone asks for the same answers one at a time and all together.
func (b *bench) sameAlone(s *server.Server, vocab int) error {
	all := requests(64, vocab, 99)
	together, _, err := ask(s, all, b.clients)
	if err != nil {
		return err
	}
	alone, _, err := ask(s, all, 1)
	if err != nil {
		return err
	}
	for i := range all {
		if alone[i].text != together[i].text {
			return fmt.Errorf("request %d is answered %q alone and %q among others", i, alone[i].text, together[i].text)
		}
	}
	return nil
}

func (b *bench) llamaServer(file, port string, more ...string) *exec.Cmd {
	args := append([]string{"-m", file, "--host", "127.0.0.1", "--port", port, "-t", "2", "-tb", "2", "-np", strconv.Itoa(b.clients),
		"-c", strconv.Itoa(1024 * b.clients), "--no-webui"}, more...)
	return exec.Command(filepath.Join(b.llama, "llama-server"), args...)
}

// ask sends all requests, so many at once, streamed, and returns the replies and
// how long they took together.
func ask(s *server.Server, all []request, clients int) ([]reply, time.Duration, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// llama.cpp's server closes a connection now and then, which is no error.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	replies := make([]reply, len(all))
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				var err error
				if replies[i], err = complete(ctx, client, s.URL, all[i]); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return replies, time.Since(began), context.Cause(ctx)
}

func complete(ctx context.Context, client *http.Client, url string, r request) (reply, error) {
	body, err := json.Marshal(map[string]any{"model": "student", "prompt": r.prompt, "max_tokens": r.tokens, "temperature": 0, "stream": true,
		"stream_options": map[string]any{"include_usage": true}})
	if err != nil {
		return reply{}, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return reply{}, fmt.Errorf("%s: %s", resp.Status, text)
	}
	var out reply
	var text strings.Builder
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		data, ok := bytes.CutPrefix(in.Bytes(), []byte("data: "))
		if !ok || bytes.Equal(data, []byte("[DONE]")) {
			continue
		}
		var event struct {
			Choices []struct{ Text string }
			Usage   *struct {
				Tokens int `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal(data, &event); err != nil {
			return reply{}, fmt.Errorf("%s: %w", data, err)
		}
		for _, c := range event.Choices {
			if out.first == 0 {
				out.first = time.Since(began)
			}
			text.WriteString(c.Text)
		}
		if event.Usage != nil {
			out.tokens = event.Usage.Tokens
		}
	}
	if err := in.Err(); err != nil {
		return reply{}, err
	}
	if out.tokens == 0 {
		return reply{}, errors.New("an answer tells no usage")
	}
	out.text = text.String()
	return out, nil
}
