package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/ledger"
	"retort/ledger/segment"
)

func TestAGatewaysConfigurationIsChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	for text, want := range map[string]struct {
		code int
		says string
	}{
		"gateway: 1\nupstreams: [{name: a, base_url: \"http://x/v1\"}]\n": {exitDone, "1 upstreams"},
		"gateway: 1\nupstreams: [{name: a, base_uri: \"http://x/v1\"}]\n": {exitUsage, ":2:23: upstreams[0] has no key \"base_uri\"; did you mean \"base_url\"?"},
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := commandLine(t, "gateway", "check", path); r.code != want.code || !strings.Contains(r.stdout+r.stderr, want.says) {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

func TestKeysAndAccountsOfAGateway(t *testing.T) {
	ws := filepath.Join(t.TempDir(), "ws")
	run := func(code int, words ...string) string {
		t.Helper()
		r := commandLine(t, append([]string{"--workspace", ws}, words...)...)
		if r.code != code {
			t.Fatalf("%v: %+v", words, r)
		}
		return strings.TrimSpace(r.stdout + r.stderr)
	}
	secret := strings.Fields(run(exitDone, "keys", "create", "acme", "--rpm", "60", "--spend", "5", "--quiet"))[0]
	table, err := os.ReadFile(filepath.Join(ws, "gateway", "keys.json"))
	if err != nil || strings.Contains(string(table), secret) || strings.Contains(string(table), "acme") {
		t.Fatalf("the key table holds a secret or a name: %s %v", table, err)
	}
	list := run(exitDone, "keys", "list")
	fields := strings.Fields(strings.Split(list, "\n")[1])
	key, account := fields[0], fields[1]
	if !strings.Contains(list, "60 rpm, $5.00 per month") || !strings.Contains(list, "holds") {
		t.Errorf("the list says\n%s", list)
	}
	if again := run(exitDone, "keys", "rotate", key, "--quiet"); again == secret || !strings.HasPrefix(again, "rk_") {
		t.Errorf("rotated to %q", again)
	}
	run(exitDone, "keys", "revoke", key)
	if list := run(exitDone, "keys", "list"); !strings.Contains(list, "revoked") {
		t.Errorf("the list says\n%s", list)
	}
	run(exitFailed, "keys", "revoke", "key_none")
	run(exitFailed, "keys", "create", "acme", "--routes", "chats")

	run(exitUsage, "accounts", "reveal", account)
	if name := run(exitDone, "accounts", "reveal", account, "--reason", "case 4"); name != "acme" {
		t.Errorf("revealed %q", name)
	}
	run(exitDone, "accounts", "mark", "acme", "hold", "--by", "ann")
	run(exitUsage, "accounts", "mark", "acme", "bad")
	basis := filepath.Join(t.TempDir(), "agreement.txt")
	if err := os.WriteFile(basis, []byte("yes"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(exitDone, "accounts", "consent", account, "--basis", basis)
	run(exitUsage, "accounts", "attest", account)
	run(exitUsage, "accounts", "attest", account, "--basis", basis, "--for", "0s")
	run(exitDone, "accounts", "attest", account, "--basis", basis, "--for", "24h")
	if table, err := os.ReadFile(filepath.Join(ws, "gateway", "keys.json")); err != nil || !strings.Contains(string(table), "attested_until") {
		t.Errorf("the key table: %s %v", table, err)
	}
	r, err := segment.OpenReader(filepath.Join(ws, "ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	err = r.Scan(context.Background(), func(rec ledger.Record) error {
		kinds = append(kinds, string(rec.Kind))
		if strings.Contains(string(rec.Head), "acme") {
			t.Errorf("a record names the account: %s", rec.Head)
		}
		return nil
	})
	if want := "audit mark consent attestation"; err != nil || strings.Join(kinds, " ") != want {
		t.Errorf("recorded %v, %v; want %s", kinds, err, want)
	}
}

func TestSpansGoWhereTheEnvironmentSays(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()
	a := &app{getenv: func(name string) string { return map[string]string{envOTLP: collector.URL + "/"}[name] }}
	tracer, last, err := a.tracer(context.Background(), "retort-gateway")
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracer.Start(context.Background(), "chat m")
	span.End()
	if err := last(); err != nil {
		t.Fatal(err)
	}
	if text := <-got; !strings.HasPrefix(text, "/v1/traces ") || !strings.Contains(text, "chat m") || !strings.Contains(text, "retort-gateway") {
		t.Errorf("the collector got %q", text)
	}
	a.getenv = func(string) string { return "" }
	if tracer, last, err := a.tracer(context.Background(), "x"); tracer != nil || err != nil || last() != nil {
		t.Errorf("without a collector: %v %v", tracer, err)
	}
}
