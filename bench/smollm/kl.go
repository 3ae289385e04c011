package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os/exec"
	"path/filepath"

	"retort/bench/server"
	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/base"
	"retort/student/eval"
	"retort/student/model"
)

// A text gives positions from first on, and no more than longest: one is read anew for
// each position by llama.cpp's server, which tells what follows the last token alone.
const first, longest = 8, 40

// divergence compares what either makes of the file's blocks with what we compute of the
// same numbers in float32.
func (b *bench) divergence(report *trial.Report, m *base.Base, stderr io.Writer) error {
	var texts [][]int32
	positions := 0
	for _, r := range eval.General() {
		ids := m.Tokenizer.Encode(r.Prompt + "\n\n" + r.Answer)
		if n := min(len(ids), longest); n > first && positions < b.positions {
			texts = append(texts, ids[:n])
			positions += n - first
		}
	}
	whole, err := logits(m, kernel.FormatFP32, texts)
	if err != nil {
		return err
	}
	ours, err := logits(m, kernel.FormatBlocks, texts)
	if err != nil {
		return err
	}
	s, err := server.Start(func(port string) *exec.Cmd {
		return exec.Command(filepath.Join(b.llama, "llama-server"), "-m", b.file, "--host", "127.0.0.1", "--port", port, "-t", "2", "-np", "1", "-c", "1024", "--no-webui")
	}, filepath.Join(b.work, "kl.log"))
	if err != nil {
		return err
	}
	defer s.Stop()
	vocab := m.Config().VocabSize
	their := make([]float64, vocab)
	sums, at := [2]float64{}, 0
	var ratios []float64 // by text
	for i, ids := range texts {
		var text [2]float64
		for n := first; n < len(ids); n++ {
			if err := following(s.URL, ids[:n+1], their); err != nil {
				return fmt.Errorf("%w\n%s", err, s.Tail())
			}
			f := whole[at]
			text[0] += divergenceOf(ours[at], f)
			text[1] += divergenceOf(their, f)
			at++
		}
		sums[0], sums[1] = sums[0]+text[0], sums[1]+text[1]
		ratios = append(ratios, text[0]/text[1])
		fmt.Fprintf(stderr, "text %d of %d: %.2e and %.2e nats a position, ours and llama.cpp's\n", i+1, len(texts), sums[0]/float64(at), sums[1]/float64(at))
	}
	ratio := sums[0] / sums[1]
	report.Line("divergence from float32 over %d positions of %d texts: ours %.2e, llama.cpp's %.2e nats; ratio %.3f (of the middle text %.3f)",
		at, len(texts), sums[0]/float64(at), sums[1]/float64(at), ratio, trial.Middle(ratios))
	report.Figure("kl_ratio"+b.suffix, ratio)
	return nil
}

// logits are what a decoder says at each position that counts, as log-probabilities.
func logits(m *base.Base, f kernel.Format, texts [][]int32) (all [][]float64, err error) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	d, err := model.LoadDecoder(m, pool, model.DecoderOptions{MaxContext: 1024, Format: f})
	if err != nil {
		return nil, err
	}
	vocab := m.Config().VocabSize
	for _, ids := range texts {
		d.Reset(0)
		rows, err := d.Read([]model.Chunk{{Tokens: ids, Prompt: true, Wanted: model.EveryLogits}})
		if err != nil {
			return nil, err
		}
		for n := first; n < len(ids); n++ {
			row := make([]float64, vocab)
			for i, x := range rows[n*vocab : (n+1)*vocab] {
				row[i] = float64(x)
			}
			normalise(row)
			all = append(all, row)
		}
	}
	return all, nil
}

// normalise makes log-probabilities of what differs from them by a constant.
func normalise(row []float64) {
	top, sum := math.Inf(-1), 0.0
	for _, x := range row {
		top = max(top, x)
	}
	for _, x := range row {
		sum += math.Exp(x - top)
	}
	for i := range row {
		row[i] -= top + math.Log(sum)
	}
}

// divergenceOf is KL(q‖p), in nats.
func divergenceOf(q, p []float64) (sum float64) {
	for i, x := range q {
		sum += math.Exp(x) * (x - p[i])
	}
	return sum
}

// following sets to to the log-probabilities of all tokens after a text, by llama.cpp.
func following(url string, ids []int32, to []float64) error {
	body, err := json.Marshal(map[string]any{"prompt": ids, "n_predict": 1, "n_probs": len(to), "temperature": 0, "cache_prompt": true})
	if err != nil {
		return err
	}
	resp, err := http.Post(url+"/completion", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	var got struct {
		Tokens []struct {
			Top []struct {
				ID      int
				Logprob float64
			} `json:"top_logprobs"`
		} `json:"completion_probabilities"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return err
	}
	if len(got.Tokens) != 1 || len(got.Tokens[0].Top) != len(to) {
		return fmt.Errorf("llama.cpp says nothing of all %d tokens", len(to))
	}
	for _, t := range got.Tokens[0].Top {
		to[t.ID] = t.Logprob
	}
	normalise(to)
	return nil
}
