package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"retort/internal/kernel"
	"retort/openai"
	"retort/student/chat"
	"retort/student/model"
)

// grouped is a base of random weights, with adapters that change what it says.
func grouped(t testing.TB) (*model.Model, []Adapter) {
	t.Helper()
	m, err := model.New(model.Config{VocabSize: vocabulary().VocabSize(), Hidden: 32, Layers: 2, Heads: 4, KVHeads: 2, RopeDim: 8, VDim: 8,
		Intermediate: 48, DenseLayers: 2, RopeTheta: 200, NormEps: 1e-6, MaxPositions: 200, RoutedScale: 1}, 3)
	if err != nil {
		t.Fatal(err)
	}
	var all []Adapter
	for i, name := range []string{"tickets", "orders"} {
		a, err := model.NewAdapter(m.Config(), model.LoRA{Rank: 2, Alpha: 4}, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Parameters() {
			for j := range p.Data {
				p.Data[j] += 0.3 * float32((j*7+i*3)%11-5) / 5
			}
		}
		all = append(all, Adapter{name, a})
	}
	return m, all
}

func TestAnAdapterIsServedByItsName(t *testing.T) {
	m, adapters := grouped(t)
	pool := kernel.NewPool(2)
	defer pool.Close()
	start := func(m *model.Model, opt Options) *Engine {
		e, err := NewEngine(m, chat.Own(vocabulary()), pool, opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		return e
	}
	ask := func(e *Engine, name string) string {
		_, srv := dial(t, e, "")
		status, body := post(t, srv, "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"What is 3+4?"}],"temperature":0,"max_tokens":40}`, name))
		var r openai.ChatResponse
		if err := json.Unmarshal(body, &r); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s (%v)", status, body, err)
		}
		if r.Model != name {
			t.Errorf("asked for %s, %s answered", name, r.Model)
		}
		return r.Choices[0].Message.Content.String()
	}
	all := start(m, Options{Adapters: adapters})
	said := map[string]bool{ask(all, "student"): true}
	for _, a := range adapters {
		merged := m.Clone()
		if err := a.Weights.Merge(merged); err != nil {
			t.Fatal(err)
		}
		got, want := ask(all, a.Name), ask(start(merged, Options{}), "student")
		if got != want {
			t.Errorf("%s says %q, merged it says %q", a.Name, got, want)
		}
		said[got] = true
	}
	if len(said) != 3 {
		t.Errorf("the adapters change nothing: %v", said)
	}
	_, srv := dial(t, all, "")
	status, body := get(t, srv, "/v1/models")
	for _, name := range []string{"student", "tickets", "orders"} {
		if status != http.StatusOK || !strings.Contains(body, `"id":"`+name+`"`) {
			t.Errorf("the list of models lacks %s: %s", name, body)
		}
	}
	if status, body := get(t, srv, "/v1/models/orders"); status != http.StatusOK || !strings.Contains(body, `"orders"`) {
		t.Errorf("orders: %d %s", status, body)
	}
	if status, body := get(t, srv, "/v1/models/other"); status != http.StatusNotFound || !strings.Contains(body, "tickets") {
		t.Errorf("another model: %d %s", status, body)
	}
}

func get(t testing.TB, srv *httptest.Server, path string) (int, string) {
	t.Helper()
	resp, err := srv.Client().Get(srv.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdaptersThatCannotBeServedAreRefused(t *testing.T) {
	m, adapters := grouped(t)
	pool := kernel.NewPool(1)
	defer pool.Close()
	refused := func(m *model.Model, want string, all ...Adapter) {
		t.Helper()
		if _, err := NewEngine(m, chat.Own(vocabulary()), pool, Options{Adapters: all}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v, want %q in it", err, want)
		}
	}
	refused(m, "taken", Adapter{"student", adapters[0].Weights})
	refused(m, "taken", adapters[0], adapters[0])
	refused(m, "empty", Adapter{"", adapters[0].Weights})
	refused(untrained(t), "latent attention", adapters[0])
	c := m.Config()
	c.Layers, c.DenseLayers = 1, 1
	other, err := model.New(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	refused(other, "another configuration", adapters[0])
}
