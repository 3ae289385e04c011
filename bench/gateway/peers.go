package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"retort/bench/server"
)

// proxied is a proxy under load.
type proxied struct {
	*server.Server
	name   string
	figure string // ours over its; "" for ours
	key    string
	exact  bool // it passes the upstream's bytes on as they are

	group   bool                // it is a process group of its own
	records func() (int, error) // that it has written; nil where they are not counted
}

// kill kills the proxy with its workers.
func (p *proxied) kill() {
	if p.group {
		_ = unix.Kill(-p.Cmd.Process.Pid, unix.SIGKILL) // it may have ended
	}
	p.Stop()
}

// peers starts the proxies that ours is measured beside.
func (b *bench) peers(self, upstream string) (all []*proxied, err error) {
	defer func() {
		if err != nil {
			stopAll(all)
		}
	}()
	reverse, err := server.Start(func(port string) *exec.Cmd {
		return exec.Command(self, "--role", "proxy", "--port", port, "--target", upstream)
	}, filepath.Join(b.work, "proxy.log"))
	if err != nil {
		return nil, err
	}
	all = append(all, &proxied{Server: reverse, name: "ReverseProxy", figure: "vs_reverseproxy", key: "none", exact: true})
	if b.litellm != "" {
		p, err := b.startLiteLLM(upstream)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	if bin := os.Getenv("GOMODEL_BIN"); bin != "" {
		p, err := b.startGoModel(bin, upstream)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

func stopAll(all []*proxied) {
	for _, p := range all {
		p.kill()
	}
}

// startLiteLLM starts LiteLLM's proxy under gunicorn with a worker a core, each
// of which writes a line for each answer.
func (b *bench) startLiteLLM(upstream string) (*proxied, error) {
	dir := filepath.Join(b.work, "litellm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("model_list: [{model_name: m, litellm_params: {model: openai/m, api_base: %q, api_key: none}}]\n"+
		"litellm_settings: {callbacks: [recorder.recorder], num_retries: 0}\ngeneral_settings: {master_key: sk-bench}\n", upstream+"/v1")
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	recorder, err := os.ReadFile(b.recorder)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "recorder.py"), recorder, 0o600); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "records.jsonl")
	s, err := server.StartAt(func(port string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(b.litellm, "bin", "litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", port, "--run_gunicorn", "--num_workers", strconv.Itoa(runtime.NumCPU()))
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Env = append(os.Environ(), "RECORDER_FILE="+file, "LITELLM_TELEMETRY=False", "LITELLM_LOG=ERROR", "LITELLM_LOCAL_MODEL_COST_MAP=True", "PATH="+filepath.Join(b.litellm, "bin")+":"+os.Getenv("PATH"))
		return cmd
	}, filepath.Join(b.work, "litellm.log"), "/health/liveliness")
	if err != nil {
		return nil, err
	}
	return &proxied{Server: s, name: "LiteLLM", figure: "vs_litellm", key: "sk-bench", group: true, records: func() (int, error) {
		for last := -1; ; time.Sleep(time.Second) { // it writes behind its answers
			data, err := os.ReadFile(file)
			if n := bytes.Count(data, []byte("\n")); err != nil || n == last {
				return n, err
			} else {
				last = n
			}
		}
	}}, nil
}

// startGoModel starts GoModel with its audit log, bodies included, in SQLite.
func (b *bench) startGoModel(bin, upstream string) (*proxied, error) {
	dir := filepath.Join(b.work, "gomodel")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return nil, err
	}
	s, err := server.Start(func(port string) *exec.Cmd {
		cmd := exec.Command(bin)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PORT="+port, "GOMODEL_MASTER_KEY=sk-bench", "GOMODEL_OFFLINE=true", "MODEL_LIST_URL=off", "PID_FILE="+filepath.Join(dir, "pid"), "LOG_LEVEL=error",
			"OPENAI_API_KEY=none", "OPENAI_BASE_URL="+upstream+"/v1", "OPENAI_MODELS=m", "LOGGING_ENABLED=true", "LOGGING_LOG_BODIES=true", "STORAGE_TYPE=sqlite", "SQLITE_PATH="+filepath.Join(dir, "data", "gomodel.db"))
		return cmd
	}, filepath.Join(b.work, "gomodel.log"))
	if err != nil {
		return nil, err
	}
	return &proxied{Server: s, name: "GoModel", figure: "vs_gomodel", key: "sk-bench"}, nil
}
