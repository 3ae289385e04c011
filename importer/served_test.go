package importer

import (
	"testing"

	"retort/exchange"
)

func TestServedRequestsOfEveryWireAreRead(t *testing.T) {
	answer := exchange.Answer{Content: "Four.", FinishReason: "stop"}
	for _, c := range []struct {
		name, request string
		roles         string
		last          string
		tools         bool
	}{
		{"chat", `{"model":"m","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"2+2?"}]}`, "system user ", "2+2?", false},
		{"messages", `{"model":"m","system":[{"type":"text","text":"Be brief."}],"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"2+2?"}]}]}`, "system user ", "2+2?", false},
		{"responses", `{"model":"m","instructions":"Be brief.","input":"2+2?","previous_response_id":null}`, "system user ", "2+2?", false},
		{"completions", `{"model":"m","prompt":"2+2=","suffix":""}`, "user ", "2+2=", false},
		{"tools", `{"model":"m","messages":[{"role":"user","content":"2+2?"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"add","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"4"}],"tools":[{"type":"function","function":{"name":"add"}}]}`, "user assistant tool ", "4", true},
	} {
		it, no := Served([]byte(c.request), answer)
		if no != nil {
			t.Errorf("%s: %+v", c.name, no)
			continue
		}
		roles := ""
		for _, m := range it.Messages {
			roles += m.Role + " "
		}
		if last := it.Messages[len(it.Messages)-1].Content; roles != c.roles || last != c.last || it.Answer.Content != "Four." || it.Model != "m" || (it.Tools != nil) != c.tools {
			t.Errorf("%s: %s, %q: %+v", c.name, roles, last, it)
		}
	}
}

// An answer's finish reason is what the server said: one that said none is not
// taken for whole.
func TestAServedAnswerWithoutAFinishReasonHasNone(t *testing.T) {
	it, no := Served([]byte(`{"messages":[{"role":"user","content":"2+2?"}]}`), exchange.Answer{Content: "Fo"})
	if no != nil || it.Answer.FinishReason != "" {
		t.Errorf("%+v %+v", it, no)
	}
}

func TestServedRequestsThatCannotBeLearnedFromAreRefused(t *testing.T) {
	answer := exchange.Answer{Content: "Four.", FinishReason: "stop"}
	user := `"messages":[{"role":"user","content":"2+2?"}]`
	for _, c := range []struct {
		request string
		answer  exchange.Answer
		want    Reason
	}{
		{`{`, answer, ReasonBadJSON},
		{`[]`, answer, ReasonWrongType},
		{`{"model":"m"}`, answer, ReasonMissing},
		{`{` + user + `}`, exchange.Answer{FinishReason: "stop"}, ReasonNoAnswer},
		{`{` + user + `}`, exchange.Answer{Content: "a\x00b", FinishReason: "stop"}, ReasonNUL},
		{`{"messages":[{"role":"user","content":"2+2?"},{"role":"assistant","content":"It is"}]}`, answer, ReasonRoleOrder},
		{`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, answer, ReasonNotText},
		{`{"input":"and 3+3?","previous_response_id":"resp_1"}`, answer, ReasonNotWhole},
		{`{"input":"and 3+3?","conversation":{"id":"conv_1"}}`, answer, ReasonNotWhole},
		{`{"input":"and 3+3?","prompt":{"id":"pmpt_1"}}`, answer, ReasonNotWhole},
		{`{"prompt":"def f(","suffix":"return x"}`, answer, ReasonNotWhole},
		{`{"prompt":["a","b"]}`, answer, ReasonWrongType},
	} {
		if it, no := Served([]byte(c.request), c.answer); no == nil || no.Reason != c.want {
			t.Errorf("%s: %+v, %+v; want %s", c.request, it, no, c.want)
		}
	}
}
