// Command serve asks how many tokens a second many clients get, from our server
// and from llama.cpp's, of the same model. See README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

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
	load := server.Load{Clients: b.clients, Requests: b.requests, Rounds: b.rounds, Vocab: c.VocabSize}
	names, commands := load.LlamaServers(b.llama, file)
	commands["ours"] = func(port string) *exec.Cmd {
		return exec.Command(b.binary, "serve", dir, "--slots", strconv.Itoa(b.clients), "--context", "1024", "--threads", "2", "--listen", "127.0.0.1:"+port)
	}
	found, err := load.Contest(append([]string{"ours"}, names...), commands, b.work, stderr)
	if err != nil {
		return err
	}
	report := trial.NewReport("serve", fmt.Sprintf("%s, %d clients, %d rounds of %d requests", b.student, b.clients, b.rounds, b.requests), b.record)
	found.Report(report, "ours", "tokens_per_s"+b.suffix, "ttft_p99"+b.suffix)
	return report.Print(stdout)
}
