package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	client "github.com/openai/openai-go/v3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"retort/openai"
	"retort/student/constrain"
)

const ticketSchema = `{"type":"object","properties":{"kind":{"enum":["bug","wish"]},"urgent":{"type":"boolean"},"lines":{"type":"array","items":{"type":"integer","minimum":1,"maximum":99},"maxItems":3}},"required":["kind","urgent"],"additionalProperties":false}`

// mustSatisfy holds an answer against a schema.
func mustSatisfy(t *testing.T, schema, answer string) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
	if err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	if err := s.Validate(v); err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
}

func TestTheRealClientAsksForASchema(t *testing.T) {
	c, _ := dial(t, engine(t, Options{Slots: 4}), "")
	var schema any
	if err := json.Unmarshal([]byte(ticketSchema), &schema); err != nil {
		t.Fatal(err)
	}
	p := chatParams("What is 3+4?")
	p.N = client.Int(8)
	p.ResponseFormat = client.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &client.ResponseFormatJSONSchemaParam{
		JSONSchema: client.ResponseFormatJSONSchemaJSONSchemaParam{Name: "ticket", Strict: client.Bool(true), Schema: schema}}}
	answers := map[string]bool{}
	for seed := range int64(3) {
		for _, temperature := range []float64{0, 1, 2} {
			p.Seed, p.Temperature = client.Int(seed), client.Float(temperature)
			got, err := c.Chat.Completions.New(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			for _, choice := range got.Choices {
				if choice.FinishReason != "stop" {
					continue // lost in its reasoning, which has no form
				}
				// The client's own round trip would lose the order of the members: the
				// schema is a map there, so that order is its keys'.
				mustSatisfy(t, ticketSchema, choice.Message.Content)
				answers[choice.Message.Content] = true
			}
		}
	}
	if len(answers) < 5 {
		t.Errorf("only %d different answers", len(answers))
	}
}

func TestFormsOnBothWires(t *testing.T) {
	_, srv := dial(t, engine(t, Options{Slots: 4}), "")
	const number = `"max_tokens":60,"temperature":1.5,"seed":3,`
	for fields, fits := range map[string]func(string) bool{
		`"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":` + ticketSchema + `}}`: nil,
		`"response_format":{"type":"json_object","schema":` + ticketSchema + `}`:                            nil,
		`"guided_json":` + ticketSchema:              nil,
		`"guided_json":` + jsonOf(t, ticketSchema):   nil,
		`"json_schema":` + ticketSchema:              nil,
		`"guided_choice":["red","green"]`:            func(s string) bool { return s == "red" || s == "green" },
		`"guided_regex":"[a-c]{3}-\\d"`:              func(s string) bool { return len(s) == 5 && s[3] == '-' },
		`"guided_grammar":"root ::= \"x\"{2} [0-9]"`: func(s string) bool { return len(s) == 3 && s[:2] == "xx" },
		`"grammar":"root ::= (\"ab\" | \"é\"){3}"`:   func(s string) bool { return len(strings.NewReplacer("ab", "", "é", "").Replace(s)) == 0 && s != "" },
	} {
		whole := completeRaw(t, srv, number+`"prompt":"3+4","logprobs":2,`+fields)
		streamed := completeStreamed(t, srv, number+`"prompt":"3+4","logprobs":2,`+fields)
		text := whole.Choices[0].Text
		if *whole.Choices[0].FinishReason != "stop" || text != streamed.Choices[0].Text {
			t.Errorf("%s: %q (%s), streamed %q", fields, text, *whole.Choices[0].FinishReason, streamed.Choices[0].Text)
			continue
		}
		if fits == nil {
			mustSatisfy(t, ticketSchema, text)
		} else if !fits(text) {
			t.Errorf("%s: %q", fields, text)
		}
		status, body := post(t, srv, "/v1/chat/completions", `{"model":"student","messages":[{"role":"user","content":"3"}],"seed":1,"logit_bias":{"`+fmt.Sprint(idOf(t, "<think>"))+`":-100},`+fields+`}`)
		var got openai.ChatResponse
		if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s", fields, status, body)
		}
		answer := got.Choices[0].Message.Content.String()
		switch {
		case got.Choices[0].FinishReason != "stop":
			t.Errorf("%s: %q did not end", fields, answer)
		case fits == nil:
			mustSatisfy(t, ticketSchema, answer)
		case !fits(answer):
			t.Errorf("%s in a chat: %q", fields, answer)
		}
	}
}

func TestAnyJSONObject(t *testing.T) {
	_, srv := dial(t, engine(t, Options{Slots: 4}), "")
	ended := 0
	for seed := range 6 {
		got := completeRaw(t, srv, fmt.Sprintf(`"prompt":"3","max_tokens":150,"seed":%d,"response_format":{"type":"json_object"}`, seed))
		if text := got.Choices[0].Text; *got.Choices[0].FinishReason == "stop" {
			ended++
			mustSatisfy(t, `{"type":"object"}`, text)
		} else if !strings.HasPrefix(text, "{") {
			t.Errorf("%q is not the beginning of an object", text)
		}
	}
	t.Logf("%d of 6 came to their end", ended)
}

// A model that says what it is told to, whatever is allowed, shows where the
// constraint stands: the likeliest allowed token is taken.
func TestReasoningIsFreeAndTheAnswerIsNot(t *testing.T) {
	c, srv := dial(t, scripted(t, &script{say: func(string) string { return "<think>{not JSON</think>7" }}, Options{}), "")
	p := chatParams("What is 3+4?")
	p.Temperature = client.Float(0)
	p.SetExtraFields(map[string]any{"guided_regex": "[0-9]"})
	got, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	m := got.Choices[0].Message
	if reasoning := m.JSON.ExtraFields["reasoning_content"].Raw(); m.Content != "7" || reasoning != `"{not JSON"` || got.Choices[0].FinishReason != "stop" {
		t.Errorf("%q, reasoning %s", m.Content, reasoning)
	}
	// A completion has no reasoning set apart: all of it has the form.
	whole := completeRaw(t, srv, `"prompt":"3","temperature":0,"guided_regex":"[0-9]"`)
	if text := whole.Choices[0].Text; len(text) != 1 || text[0] < '0' || text[0] > '9' {
		t.Errorf("a completion: %q", text)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	_, srv := dial(t, scripted(t, &script{say: sums}, Options{}), "")
	for fields, want := range map[string][2]string{
		`"response_format":{"type":"json_schema"}`:                                                              {"response_format", "json_schema.schema"},
		`"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"array","uniqueItems":true}}}`: {"response_format", "#/uniqueItems"},
		`"response_format":{"type":"json_object"},"grammar":"root ::= \"a\""`:                                   {"grammar", "send one of them"},
		`"guided_regex":"(a"`:                           {"guided_regex", "missing"},
		`"guided_choice":[]`:                            {"guided_choice", "nothing to choose"},
		`"guided_choice":[1]`:                           {"guided_choice", "type"},
		`"guided_grammar":"root ::= b"`:                 {"guided_grammar", "line 1"},
		`"guided_json":7`:                               {"guided_json", "a schema is"},
		`"json_schema":{"type":"string","format":"no"}`: {"json_schema", "date-time"},
	} {
		for path, ask := range map[string]string{"/v1/completions": `"prompt":"3"`, "/v1/chat/completions": `"messages":[{"role":"user","content":"3"}]`} {
			status, body := post(t, srv, path, `{"model":"student",`+ask+`,`+fields+`}`)
			var got struct {
				Error struct{ Message, Param string }
			}
			if err := json.Unmarshal(body, &got); err != nil || status != http.StatusBadRequest || got.Error.Param != want[0] || !strings.Contains(got.Error.Message, want[1]) {
				t.Errorf("%s on %s: %d %s", fields, path, status, body)
			}
		}
	}
}

func TestAFormThatTheModelCannotSpellFailsTheRequest(t *testing.T) {
	e := scripted(t, &script{say: sums}, Options{})
	e.constraints.vocabulary = constrain.NewVocabulary(e.vocab, func(id int32) []byte {
		if b := e.tok.TokenBytes(id); len(b) == 1 && b[0] == 'a' {
			return b
		}
		return nil
	}, e.format.Spec().End)
	_, srv := dial(t, e, "")
	status, body := post(t, srv, "/v1/completions", `{"model":"student","prompt":"3","guided_choice":["ab"]}`)
	if status != http.StatusBadRequest || !strings.Contains(string(body), `no token of the vocabulary can come next`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestConstraintsAreCompiledOnceAndForgotten(t *testing.T) {
	e := scripted(t, &script{say: sums}, Options{})
	get := func(text string, reasoning bool) *constrain.Constraint {
		c, err := e.constraint(&form{"guided_regex", formRegex, text}, reasoning)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := get("a", false)
	if get("a", false) != a || get("a", true) == a {
		t.Error("the text, and whether there is reasoning, do not decide")
	}
	for i := range mostConstraints {
		get(fmt.Sprint("b", i), false)
		get("a", false)
	}
	if get("a", false) != a {
		t.Error("what is asked for again and again was forgotten")
	}
	if n, m := len(e.constraints.known), e.constraints.recent.Len(); n != mostConstraints || m != n {
		t.Errorf("%d known, %d in order, want %d", n, m, mostConstraints)
	}
}

func TestPenaltiesAndBiases(t *testing.T) {
	flat := make([]float32, 8)
	drawn := func(s sampling, logits []float32, n int) []int32 {
		sampler := newSampler(s, 1, 0)
		var out []int32
		for range n {
			id, err := sampler.next(logits)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, id)
		}
		return out
	}
	// Each token is less likely once drawn: greedy goes around.
	if got := drawn(sampling{presence: 1}, flat, 8); !slices.Equal(got, []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("presence: %v", got)
	}
	lead := []float32{1.5, 0, 0}
	// Presence counts once: a lead of more than it stays.
	if got := drawn(sampling{presence: 1}, lead, 4); !slices.Equal(got, []int32{0, 0, 0, 0}) {
		t.Errorf("presence and a lead: %v", got)
	}
	// Frequency counts each time: 1.5, 0.5, then -0.5 against 0.
	if got := drawn(sampling{frequency: 1}, lead, 5); !slices.Equal(got, []int32{0, 0, 1, 2, 0}) {
		t.Errorf("frequency: %v", got)
	}
	if got := drawn(sampling{frequency: -1}, []float32{0, 0.1}, 3); !slices.Equal(got, []int32{1, 1, 1}) {
		t.Errorf("negative frequency: %v", got)
	}
	if got := drawn(sampling{bias: []tokenBias{{3, 100}, {0, -100}}, temperature: 1}, flat, 5); !slices.Equal(got, []int32{3, 3, 3, 3, 3}) {
		t.Errorf("bias: %v", got)
	}
	if lead[0] != 1.5 || flat[3] != 0 {
		t.Error("the model's own logits were changed")
	}
}

func TestPenaltiesAndBiasesOnTheWires(t *testing.T) {
	_, srv := dial(t, scripted(t, &script{say: func(string) string { return "7777" }}, Options{}), "")
	seven, eight := idOf(t, "7"), idOf(t, "8")
	// The script's logit is 30: a bias of 31 on another token wins.
	got := completeRaw(t, srv, fmt.Sprintf(`"prompt":"3","temperature":0,"max_tokens":3,"logprobs":1,"logit_bias":{"%d":31}`, eight))
	if got.Choices[0].Text != "888" {
		t.Errorf("with a bias on 8: %q", got.Choices[0].Text)
	}
	if lp := got.Choices[0].Logprobs; *lp.TokenLogprobs[0] > -20 || lp.TopLogprobs[0]["7"] < -0.1 {
		t.Errorf("log-probabilities are not the model's own: %v %v", *lp.TokenLogprobs[0], lp.TopLogprobs[0])
	}
	status, body := post(t, srv, "/v1/chat/completions", fmt.Sprintf(`{"model":"student","messages":[{"role":"user","content":"3"}],"temperature":0,"max_tokens":3,"logit_bias":{"%d":-100,"%d":100}}`, seven, eight))
	if status != http.StatusOK || !strings.Contains(string(body), `"888"`) {
		t.Errorf("in a chat: %d %s", status, body)
	}
	for _, fields := range []string{`"logit_bias":{"x":1}`, `"logit_bias":{"-1":1}`, `"logit_bias":{"9999":1}`, `"logit_bias":{"3":-101}`, `"logit_bias":[3]`, `"presence_penalty":-2.1`} {
		for path, ask := range map[string]string{"/v1/completions": `"prompt":"3"`, "/v1/chat/completions": `"messages":[{"role":"user","content":"3"}]`} {
			if status, body := post(t, srv, path, `{"model":"student",`+ask+`,`+fields+`}`); status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", fields, status, body)
			}
		}
	}
}
