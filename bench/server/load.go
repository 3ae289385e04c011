package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/stat"

	"retort/bench/trial"
)

// Load is what clients ask servers for.
type Load struct {
	Clients  int // at once
	Requests int // of a round
	Rounds   int
	Vocab    int     // of the model
	End      []int32 // tokens that end an answer, which are not to be said: lengths are given
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

// Found is what a contest found, round by round.
type Found struct {
	Peer           string               // the fastest of the others
	Tokens, First  map[string][]float64 // tokens per second, and the 99th percentile of the seconds to the first text
	Faster, Sooner []float64            // ours over the peer's rate, the peer's time over ours
}

// Contest starts the first of the named commands, ours, and those of a peer with different
// settings, asks all of them for the same in a first round, and then ours and the fastest
// peer in turn. Ours must answer the same one request at a time and all together.
func (l Load) Contest(names []string, commands map[string]func(port string) *exec.Cmd, work string, stderr io.Writer) (Found, error) {
	found := Found{Tokens: map[string][]float64{}, First: map[string][]float64{}}
	servers, ours := map[string]*Server{}, names[0]
	for _, name := range names {
		s, err := Start(commands[name], filepath.Join(work, strings.ReplaceAll(name, " ", "-")+".log"))
		if err != nil {
			return found, fmt.Errorf("%s: %w", name, err)
		}
		defer s.Stop()
		servers[name] = s
	}
	if err := l.sameAlone(servers[ours]); err != nil {
		return found, err
	}
	for round := range l.Rounds + 1 { // the first warms up, and finds the peer's best setting
		all := requests(l.Requests, l.Vocab, uint64(round))
		order := slices.Clone(names)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			replies, took, err := l.ask(servers[name], all, l.Clients)
			if err != nil {
				return found, fmt.Errorf("%s: %w\n%s", name, err, servers[name].Tail())
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
			found.Tokens[name], found.First[name] = append(found.Tokens[name], rate), append(found.First[name], p99)
		}
		if round > 0 {
			continue
		}
		best := slices.MaxFunc(names[1:], func(x, y string) int { return int(found.Tokens[x][0] - found.Tokens[y][0]) })
		for _, name := range names[1:] {
			if name != best {
				servers[name].Stop()
			}
		}
		names, found.Peer = []string{ours, best}, best
		clear(found.Tokens)
		clear(found.First)
	}
	for i := range l.Rounds {
		found.Faster = append(found.Faster, found.Tokens[ours][i]/found.Tokens[found.Peer][i])
		found.Sooner = append(found.Sooner, found.First[found.Peer][i]/found.First[ours][i])
	}
	return found, nil
}

// Report adds what was found to a report, under names with a suffix.
func (f *Found) Report(r *trial.Report, ours, rate, first string) {
	r.Line("ours %.0f tokens/s, first token after %.0f ms (p99); %s %.0f tokens/s, %.0f ms", trial.Middle(f.Tokens[ours]), 1000*trial.Middle(f.First[ours]),
		f.Peer, trial.Middle(f.Tokens[f.Peer]), 1000*trial.Middle(f.First[f.Peer]))
	r.Median(rate, "output tokens per second, ours over theirs", "%.2f", f.Faster)
	r.Median(first, "99th percentile of the time to the first token, theirs over ours", "%.2f", f.Sooner)
	r.Line("greedy answers are the same one request at a time and all together")
}

// LlamaServers are the commands of llama.cpp's server with the settings that matter, and
// their names: flash attention on and off, and a cache of parts or a unified one.
func (l Load) LlamaServers(llama, file string) (names []string, commands map[string]func(port string) *exec.Cmd) {
	commands = map[string]func(port string) *exec.Cmd{}
	for _, s := range []struct {
		name  string
		flags []string
	}{
		{"llama.cpp", []string{"-fa", "off"}}, {"llama.cpp, flash attention", []string{"-fa", "on"}}, {"llama.cpp, unified cache", []string{"-fa", "off", "--kv-unified"}},
	} {
		names = append(names, s.name)
		commands[s.name] = func(port string) *exec.Cmd {
			return exec.Command(filepath.Join(llama, "llama-server"), append([]string{"-m", file, "--host", "127.0.0.1", "--port", port, "-t", "2", "-tb", "2", "-np", strconv.Itoa(l.Clients),
				"-c", strconv.Itoa(1024 * l.Clients), "--no-webui"}, s.flags...)...)
		}
	}
	return names, commands
}

// sameAlone asks for the same answers one at a time and all together.
func (l Load) sameAlone(s *Server) error {
	all := requests(min(64, l.Requests), l.Vocab, 99)
	together, _, err := l.ask(s, all, l.Clients)
	if err != nil {
		return err
	}
	alone, _, err := l.ask(s, all, 1)
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

// ask sends all requests, so many at once, streamed, and returns the replies and
// how long they took together.
func (l Load) ask(s *Server, all []request, clients int) ([]reply, time.Duration, error) {
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
				if replies[i], err = l.complete(ctx, client, s.URL, all[i]); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return replies, time.Since(began), context.Cause(ctx)
}

func (l Load) complete(ctx context.Context, client *http.Client, url string, r request) (reply, error) {
	fields := map[string]any{"model": "student", "prompt": r.prompt, "max_tokens": r.tokens, "temperature": 0, "stream": true,
		"stream_options": map[string]any{"include_usage": true}}
	if len(l.End) > 0 {
		bias := map[string]int{}
		for _, id := range l.End {
			bias[strconv.Itoa(int(id))] = -100
		}
		fields["logit_bias"] = bias
	}
	body, err := json.Marshal(fields)
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
