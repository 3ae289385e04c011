package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestAnExchangeIsASpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Traceparent") == "" {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		answer(w, req)
	})
	r.g.tracer = provider.Tracer("test")
	const parent = "0af7651916cd43dd8448eb211c80319c"
	req, _ := http.NewRequest("POST", r.url+"/v1/chat/completions", strings.NewReader(streamed(false)))
	req.Header.Set("Authorization", "Bearer "+r.secret)
	req.Header.Set("Traceparent", "00-"+parent+"-b7ad6b7169203331-01")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // a client that hangs up would be another story
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, _, _, err := r.ask("/v1/chat/completions", chatBody); err != nil {
		t.Fatal(err)
	}
	r.settled()
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("%d spans", len(ended))
	}
	got := map[string]string{}
	for _, a := range ended[0].Attributes() {
		got[string(a.Key)] = a.Value.String()
		if strings.Contains(a.Value.String(), r.key.Account) || strings.Contains(a.Value.String(), "hello") {
			t.Errorf("%s = %s", a.Key, a.Value.String())
		}
	}
	for name, want := range map[string]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "u0", "gen_ai.request.model": "m", "gen_ai.request.max_tokens": "50",
		"gen_ai.usage.output_tokens": "3", "gen_ai.response.finish_reasons": `["stop"]`, "server.address": "127.0.0.1",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if s := ended[0]; s.Name() != "chat m" || s.SpanContext().TraceID().String() != parent || s.EndTime().Before(s.StartTime()) || s.Status().Code != codes.Unset {
		t.Errorf("%s of trace %s, %s to %s, %v", s.Name(), s.SpanContext().TraceID(), s.StartTime(), s.EndTime(), s.Status())
	}
	if s := ended[1]; s.Status().Code != codes.Error {
		t.Errorf("a refusal: %v", s.Status())
	}
}
