package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	client "github.com/openai/openai-go/v3"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/openai"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
)

// post sends a body to path and returns the status and the body of the answer.
func post(t testing.TB, srv *httptest.Server, path, body string) (int, []byte) {
	t.Helper()
	resp, err := srv.Client().Post(srv.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// completeRaw asks for a completion with these fields.
func completeRaw(t testing.TB, srv *httptest.Server, fields string) openai.CompletionResponse {
	t.Helper()
	status, body := post(t, srv, "/v1/completions", `{"model":"student",`+fields+`}`)
	var got openai.CompletionResponse
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s (%v)", fields, status, body, err)
	}
	return got
}

// completeStreamed asks for the same in a stream and puts the pieces together.
func completeStreamed(t testing.TB, srv *httptest.Server, fields string) openai.CompletionResponse {
	t.Helper()
	_, body := post(t, srv, "/v1/completions", `{"model":"student",`+fields+`,"stream":true,"stream_options":{"include_usage":true}}`)
	var whole openai.CompletionResponse
	done := false
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || done {
			if lines.Text() != "" {
				t.Fatalf("line %q", lines.Text())
			}
			continue
		}
		if done = data == "[DONE]"; done {
			continue
		}
		var chunk openai.CompletionResponse
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatal(err)
		}
		if whole.Usage != nil || chunk.Usage != nil && len(chunk.Choices) > 0 {
			t.Errorf("the usage does not come last and alone: %s", body)
		}
		whole.ID, whole.Object, whole.Created, whole.Model, whole.SystemFingerprint, whole.Usage = chunk.ID, chunk.Object, chunk.Created, chunk.Model, chunk.SystemFingerprint, chunk.Usage
		for _, c := range chunk.Choices {
			for len(whole.Choices) <= c.Index {
				whole.Choices = append(whole.Choices, openai.CompletionChoice{Index: len(whole.Choices)})
			}
			to := &whole.Choices[c.Index]
			if to.FinishReason != nil {
				t.Errorf("choice %d goes on after its end: %s", c.Index, body)
			}
			to.Text += c.Text
			to.FinishReason = c.FinishReason
			if c.Logprobs != nil {
				if to.Logprobs == nil {
					to.Logprobs = new(openai.CompletionLogprobs)
				}
				to.Logprobs.Tokens = append(to.Logprobs.Tokens, c.Logprobs.Tokens...)
				to.Logprobs.TokenLogprobs = append(to.Logprobs.TokenLogprobs, c.Logprobs.TokenLogprobs...)
				to.Logprobs.TopLogprobs = append(to.Logprobs.TopLogprobs, c.Logprobs.TopLogprobs...)
				to.Logprobs.TextOffset = append(to.Logprobs.TextOffset, c.Logprobs.TextOffset...)
			}
		}
	}
	if !done {
		t.Fatalf("the stream has no end: %s", body)
	}
	return whole
}

// jsonOf writes a value for a request.
func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := openai.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// idOf is the token that the wire calls name.
func idOf(t testing.TB, name string) int32 {
	t.Helper()
	if digits, ok := strings.CutPrefix(name, "bytes:"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		name = string(b)
	}
	id, ok := vocabulary().ID(name)
	if !ok {
		t.Fatalf("there is no token %q", name)
	}
	return id
}

// judge is the model's own word on tokens: row i holds the log-probabilities of
// what follows token i.
func judge(t testing.TB, tokens []int32) [][]float64 {
	t.Helper()
	pool := kernel.NewPool(1)
	defer pool.Close()
	targets := make([]int32, len(tokens)) // whatever they are, there are logits
	flat, err := model.NewPass(untrained(t), pool, len(tokens)).Logits(model.Batch{Tokens: tokens, Targets: targets, Starts: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	vocab := len(flat) / len(tokens)
	rows := make([][]float64, len(tokens))
	for i := range rows {
		logits := flat[i*vocab : (i+1)*vocab]
		best, sum := float64(slices.Max(logits)), 0.0
		for _, l := range logits {
			sum += math.Exp(float64(l) - best)
		}
		for _, l := range logits {
			rows[i] = append(rows[i], float64(l)-best-math.Log(sum))
		}
	}
	return rows
}

func TestEchoedLogprobsAreThoseOfTheModel(t *testing.T) {
	_, srv := dial(t, engine(t, Options{Slots: 3}), "")
	for name, c := range map[string]struct {
		prompt any
		ids    []int32
	}{
		"text":           {"What is 3+4? Ünïcode 🙂!", vocabulary().Encode("What is 3+4? Ünïcode 🙂!")},
		"special tokens": {"<|im_start|>user\n3+4<|im_end|>", vocabulary().Encode("<|im_start|>user\n3+4<|im_end|>")},
		"ids":            {[]int32{60, 7, 7, 200, 255, 3, 90}, []int32{60, 7, 7, 200, 255, 3, 90}},
		"one token":      {[]int32{65}, []int32{65}},
	} {
		for _, maxTokens := range []int{0, 1, 6} {
			for how, complete := range map[string]func(testing.TB, *httptest.Server, string) openai.CompletionResponse{"whole": completeRaw, "streamed": completeStreamed} {
				t.Run(fmt.Sprint(name, "/", maxTokens, "/", how), func(t *testing.T) {
					got := complete(t, srv, fmt.Sprintf(`"prompt":%s,"max_tokens":%d,"echo":true,"logprobs":3,"temperature":0`, jsonOf(t, c.prompt), maxTokens))
					l := got.Choices[0].Logprobs
					var ids []int32
					for _, name := range l.Tokens {
						ids = append(ids, idOf(t, name))
					}
					sampled := len(ids) - len(c.ids)
					if sampled < 0 || sampled > maxTokens || !slices.Equal(ids[:len(c.ids)], c.ids) {
						t.Fatalf("tokens are %v, want %v and at most %d more", ids, c.ids, maxTokens)
					}
					if got.Usage.PromptTokens != int64(len(c.ids)) || got.Usage.CompletionTokens != int64(sampled) || *got.Choices[0].FinishReason == "length" != (sampled == maxTokens) {
						t.Errorf("usage is %+v and finish %s after %d of %d tokens", got.Usage, *got.Choices[0].FinishReason, sampled, maxTokens)
					}
					if len(l.TokenLogprobs) != len(ids) || len(l.TopLogprobs) != len(ids) || len(l.TextOffset) != len(ids) {
						t.Fatalf("the lists differ in length: %+v", l)
					}
					if l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
						t.Error("the first token follows nothing and is judged all the same")
					}
					rows, text := judge(t, ids), []rune(got.Choices[0].Text)
					for i, id := range ids {
						if offset := l.TextOffset[i]; offset > len(text) || !strings.HasPrefix(l.Tokens[i], "bytes:") && i < len(c.ids) && name != "ids" && !strings.HasPrefix(string(text[offset:]), l.Tokens[i]) {
							t.Errorf("token %d, %q, is not at %d in %q", i, l.Tokens[i], offset, string(text))
						}
						if i == 0 {
							continue
						}
						row := rows[i-1]
						if d := math.Abs(*l.TokenLogprobs[i] - row[id]); d > 1e-4 {
							t.Errorf("token %d has %v, the model says %v", i, *l.TokenLogprobs[i], row[id])
						}
						likeliest := slices.Sorted(slices.Values(row))[len(row)-3]
						for name, p := range l.TopLogprobs[i] {
							if d := math.Abs(p - row[idOf(t, name)]); d > 1e-4 || p < likeliest-1e-4 && name != l.Tokens[i] {
								t.Errorf("after token %d: %q has %v, the model says %v, the third %v", i-1, name, p, row[idOf(t, name)], likeliest)
							}
						}
						if n := len(l.TopLogprobs[i]); n < 3 || n > 4 || l.TopLogprobs[i][l.Tokens[i]] != *l.TokenLogprobs[i] {
							t.Errorf("token %d, %q, has the alternatives %v", i, l.Tokens[i], l.TopLogprobs[i])
						}
					}
					if name != "ids" && !strings.HasPrefix(got.Choices[0].Text, vocabulary().Decode(c.ids)) {
						t.Errorf("text is %q", got.Choices[0].Text)
					}
				})
			}
		}
	}
}

// A model whose files ask for a token before text reads it before a prompt that is text,
// once, and the client does not get it back as its own.
func TestTextBeginsAsTheFilesAsk(t *testing.T) {
	const start = "<|endoftext|>"
	var file map[string]any
	if err := json.Unmarshal(vocabulary().JSON(), &file); err != nil {
		t.Fatal(err)
	}
	file["post_processor"] = map[string]any{
		"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": start, "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}},
		"pair": []any{}, "special_tokens": map[string]any{},
	}
	tok, err := tokenizer.Parse([]byte(jsonOf(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(2)
	e, err := NewEngine(untrained(t), chat.Own(tok), pool, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	defer e.Close()
	_, srv := dial(t, e, "")
	said := `"max_tokens":5,"echo":true,"logprobs":1,"temperature":0,"prompt":`
	put := completeRaw(t, srv, said+`"3+4"`)
	written := completeRaw(t, srv, said+jsonOf(t, start+"3+4"))
	asTokens := completeRaw(t, srv, said+jsonOf(t, tok.Encode(start+"3+4")))
	bare := completeRaw(t, srv, said+jsonOf(t, tok.Encode("3+4")))
	a, b, c, d := put.Choices[0], written.Choices[0], asTokens.Choices[0], bare.Choices[0]
	if put.Usage.PromptTokens != bare.Usage.PromptTokens+1 || written.Usage.PromptTokens != put.Usage.PromptTokens {
		t.Errorf("prompts of %d, %d and %d tokens", put.Usage.PromptTokens, written.Usage.PromptTokens, bare.Usage.PromptTokens)
	}
	if !strings.HasPrefix(a.Text, "3+4") || start+a.Text != b.Text || b.Text != c.Text || a.Text == d.Text {
		t.Errorf("texts %q, %q, %q, and without the token %q", a.Text, b.Text, c.Text, d.Text)
	}
	if !cmp.Equal(a.Logprobs.Tokens, b.Logprobs.Tokens) || !cmp.Equal(a.Logprobs.TokenLogprobs, b.Logprobs.TokenLogprobs) {
		t.Errorf("judged %+v and %+v", a.Logprobs, b.Logprobs)
	}
	for i, at := range a.Logprobs.TextOffset {
		if want := max(0, b.Logprobs.TextOffset[i]-len(start)); at != want {
			t.Errorf("token %d is at %d, want %d", i, at, want)
		}
	}
}

func TestACompletionIsWhatChatSaysOfTheSameTokens(t *testing.T) {
	e := engine(t, Options{InlineReasoning: true})
	c, srv := dial(t, e, "")
	messages := []exchange.Message{{Role: "user", Content: "What is 3+4?"}}
	ids := promptOf(t, messages)
	for _, temperature := range []float64{0, 1} {
		p := chatParams("What is 3+4?")
		p.Temperature, p.MaxTokens, p.Seed = client.Float(temperature), client.Int(40), client.Int(7)
		want, err := c.Chat.Completions.New(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for name, prompt := range map[string]any{"ids": ids, "text": chat.Render(messages, true)} {
			got := completeRaw(t, srv, fmt.Sprintf(`"prompt":%s,"max_tokens":40,"temperature":%v,"seed":7`, jsonOf(t, prompt), temperature))
			if got.Choices[0].Text != want.Choices[0].Message.Content || got.Usage.PromptTokens != want.Usage.PromptTokens || got.Usage.CompletionTokens != want.Usage.CompletionTokens {
				t.Errorf("%s at %v: %q, chat says %q", name, temperature, got.Choices[0].Text, want.Choices[0].Message.Content)
			}
		}
	}
}

func TestStreamedAndWholeCompletionsAreTheSame(t *testing.T) {
	_, srv := dial(t, engine(t, Options{Slots: 3}), "")
	for _, fields := range []string{
		`"prompt":"What is","max_tokens":30,"seed":1`,
		`"prompt":"What is"`,
		`"prompt":["What is","The answer"],"n":2,"max_tokens":12,"seed":2,"echo":true`,
		`"prompt":["What is","The answer"],"n":2,"max_tokens":12,"seed":2,"echo":true,"logprobs":2`,
		`"prompt":[[3,4,5],[200]],"max_tokens":9,"seed":3,"logprobs":0`,
		`"prompt":[195],"max_tokens":9,"seed":3,"logprobs":1,"echo":true`,
		`"prompt":"What is","max_tokens":25,"seed":4,"stop":["e","a"],"logprobs":1,"echo":true`,
		`"prompt":"What is","max_tokens":0,"echo":true,"logprobs":5`,
		`"prompt":"What is","max_tokens":0`,
		`"prompt":"What is","temperature":0.7,"top_p":0.9,"top_k":20,"min_p":0.01,"seed":-5`,
	} {
		if !strings.Contains(fields, "seed") {
			fields += `,"temperature":0`
		}
		whole, streamed := completeRaw(t, srv, fields), completeStreamed(t, srv, fields)
		if whole.ID == streamed.ID || !strings.HasPrefix(whole.ID, "cmpl-") || whole.Object != "text_completion" || whole.Model != "student" || whole.SystemFingerprint == "" {
			t.Errorf("%s: the response is %+v", fields, whole)
		}
		if d := cmp.Diff(whole, streamed, cmpopts.IgnoreFields(openai.CompletionResponse{}, "ID", "Created"), cmpopts.IgnoreUnexported(openai.Usage{}), cmpopts.EquateApprox(0, 1e-4)); d != "" {
			t.Errorf("%s (-whole +streamed):\n%s", fields, d)
		}
		for _, c := range whole.Choices {
			if (c.Logprobs != nil) != strings.Contains(fields, "logprobs") || c.FinishReason == nil {
				t.Errorf("%s: choice %+v", fields, c)
			}
		}
	}
}

func TestPromptsComeInFourShapes(t *testing.T) {
	_, srv := dial(t, scripted(t, &script{say: func(prompt string) string { return "<" + prompt + ">" }}, Options{}), "")
	end, _ := vocabulary().ID("<|im_end|>")
	for _, c := range []struct {
		fields string
		want   []string // the text of each choice
		tokens int      // of the prompts
	}{
		{`"prompt":"3+4"`, []string{"<3+4>"}, len(vocabulary().Encode("3+4"))},
		{`"prompt":["3","+4"]`, []string{"<3>", "<+4>"}, len(vocabulary().Encode("3")) + len(vocabulary().Encode("+4"))},
		{fmt.Sprintf(`"prompt":%s`, jsonOf(t, vocabulary().Encode("3+4"))), []string{"<3+4>"}, len(vocabulary().Encode("3+4"))},
		{fmt.Sprintf(`"prompt":[%s,%s]`, jsonOf(t, vocabulary().Encode("3")), jsonOf(t, vocabulary().Encode("4"))), []string{"<3>", "<4>"}, 2},
		{`"prompt":["3","4"],"n":2`, []string{"<3>", "<3>", "<4>", "<4>"}, 2},
		{`"prompt":["3","4"],"echo":true`, []string{"3<3>", "4<4>"}, 2},
		{`"prompt":"3","n":2,"best_of":2,"suffix":null,"logit_bias":{},"presence_penalty":0,"frequency_penalty":0,"user":"u"`, []string{"<3>", "<3>"}, 1},
		// The text of a special token is that token, as tokenizer.Encode has it.
		{`"prompt":"<|im_end|>","echo":true,"max_tokens":0`, []string{"<|im_end|>"}, 1},
		{fmt.Sprintf(`"prompt":[%d],"echo":true,"max_tokens":0`, end), []string{"<|im_end|>"}, 1},
		{`"prompt":"3","max_tokens":0`, []string{""}, 1},
	} {
		if !strings.Contains(c.fields, "max_tokens") {
			c.fields += `,"max_tokens":100`
		}
		got := completeRaw(t, srv, c.fields)
		var texts []string
		for i, choice := range got.Choices {
			if choice.Index != i || choice.Logprobs != nil {
				t.Errorf("%s: choice %d is %+v", c.fields, i, choice)
			}
			texts = append(texts, choice.Text)
		}
		if !slices.Equal(texts, c.want) || got.Usage.PromptTokens != int64(c.tokens) {
			t.Errorf("%s: %q for %d prompt tokens, want %q for %d", c.fields, texts, got.Usage.PromptTokens, c.want, c.tokens)
		}
	}
}

func TestAPromptOfManyIsContinuedAsItWouldBeAlone(t *testing.T) {
	_, srv := dial(t, engine(t, Options{Slots: 4}), "")
	together := completeRaw(t, srv, `"prompt":["What is","The answer"],"n":2,"seed":9,"max_tokens":20`)
	for i, prompt := range []string{"What is", "The answer"} {
		alone := completeRaw(t, srv, fmt.Sprintf(`"prompt":%q,"n":2,"seed":9,"max_tokens":20`, prompt))
		for k, c := range alone.Choices {
			if got := together.Choices[2*i+k]; got.Text != c.Text {
				t.Errorf("sample %d of %q: %q among others, %q alone", k, prompt, got.Text, c.Text)
			}
		}
		if alone.Choices[0].Text == alone.Choices[1].Text {
			t.Error("two samples are the same")
		}
	}
}

func TestCompletionsStop(t *testing.T) {
	_, srv := dial(t, scripted(t, &script{say: func(string) string { return "7 is the answer, <think>of</think> 3+4=7" }}, Options{}), "")
	for _, c := range []struct{ fields, text, finish string }{
		{`"prompt":"3","max_tokens":100`, "7 is the answer, <think>of</think> 3+4=7", "stop"},
		{`"prompt":"3","max_tokens":100,"stop":[" answer","+"]`, "7 is the", "stop"},
		{`"prompt":"3","max_tokens":1`, "7", "length"},
		{`"prompt":"stop","max_tokens":100,"stop":"stop","echo":true`, "stop7 is the answer, <think>of</think> 3+4=7", "stop"},
		{`"prompt":"3","max_tokens":100,"stop":["37","7 is the answer,"],"echo":true`, "3", "stop"},
	} {
		if got := completeRaw(t, srv, c.fields).Choices[0]; got.Text != c.text || *got.FinishReason != c.finish {
			t.Errorf("%s: %q, %s; want %q, %s", c.fields, got.Text, *got.FinishReason, c.text, c.finish)
		}
	}
	long := completeRaw(t, srv, `"prompt":"3"`)
	if long.Usage.CompletionTokens != 16 || *long.Choices[0].FinishReason != "length" {
		t.Errorf("without max_tokens came %+v, want 16 tokens", long.Usage)
	}
}

func TestCompletionsAreRefusedByParameter(t *testing.T) {
	_, srv := dial(t, scripted(t, &script{say: func(string) string { return "7" }}, Options{MaxContext: 10}), "")
	for fields, want := range map[string]struct {
		status      int
		param, says string
	}{
		`"model":"gpt","prompt":"3"`:                                                {404, "model", "gpt"},
		`"model":"student"`:                                                         {400, "prompt", "prompt"},
		`"model":"student","prompt":""`:                                             {400, "prompt", "prompt 0 is empty"},
		`"model":"student","prompt":["3",""]`:                                       {400, "prompt", "prompt 1 is empty"},
		`"model":"student","prompt":[[3],[]]`:                                       {400, "prompt", "prompt 1 is empty"},
		`"model":"student","prompt":[-1]`:                                           {400, "prompt", "token -1"},
		`"model":"student","prompt":[3,30000]`:                                      {400, "prompt", "token 30000"},
		`"model":"student","prompt":[1,1,1,1,1,1,1,1,1,1]`:                          {400, "prompt", "10 tokens"},
		`"model":"student","prompt":"3","suffix":"x"`:                               {400, "suffix", "suffix"},
		`"model":"student","prompt":"3","best_of":2`:                                {400, "best_of", "best_of is 2"},
		`"model":"student","prompt":"3","n":2,"best_of":3`:                          {400, "best_of", "best_of is 3"},
		`"model":"student","prompt":"3","logit_bias":{"5":101}`:                     {400, "logit_bias", "between -100"},
		`"model":"student","prompt":"3","presence_penalty":2.5`:                     {400, "presence_penalty", "between -2"},
		`"model":"student","prompt":"3","frequency_penalty":-3`:                     {400, "frequency_penalty", "between -2"},
		`"model":"student","prompt":"3","frequency_penalty":"x"`:                    {400, "frequency_penalty", "type"},
		`"model":"student","prompt":"3","logprobs":6`:                               {400, "logprobs", "between 0 and 5"},
		`"model":"student","prompt":"3","temperature":3`:                            {400, "temperature", "temperature is 3"},
		`"model":"student","prompt":"3","top_p":0`:                                  {400, "top_p", "top_p is 0"},
		`"model":"student","prompt":"3","top_k":-2`:                                 {400, "top_k", "top_k is -2"},
		`"model":"student","prompt":"3","min_p":2`:                                  {400, "min_p", "min_p is 2"},
		`"model":"student","prompt":"3","max_tokens":-1`:                            {400, "max_tokens", "at least 0"},
		`"model":"student","prompt":["3"` + strings.Repeat(`,"3"`, 99) + `],"n":11`: {400, "prompt", "1024"},
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			status, body := post(t, srv, "/v1/completions", "{"+fields+stream+"}")
			var got openai.ErrorEnvelope
			if err := json.Unmarshal(body, &got); err != nil || status != want.status || got.Error.Param != want.param || !strings.Contains(got.Error.Message, want.says) || got.Error.Type != "invalid_request_error" {
				t.Errorf("%.80s: %d %s, want %d for %s and %q in it", fields, status, body, want.status, want.param, want.says)
			}
		}
	}
	// A prompt that fills the context can be judged, if not continued.
	if got := completeRaw(t, srv, `"prompt":[1,1,1,1,1,1,1,1,1,1],"max_tokens":0`); got.Usage.TotalTokens != 10 {
		t.Errorf("usage is %+v", got.Usage)
	}
}

func TestTheRealClientCompletes(t *testing.T) {
	c, _ := dial(t, scripted(t, &script{counts: true, say: func(string) string { return "The answer" }}, Options{}), "")
	p := client.CompletionNewParams{Model: "student", Prompt: client.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"3", "4"}}, MaxTokens: client.Int(50)}
	got, err := c.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != 2 || got.Choices[1].Index != 1 || got.Choices[1].Text != "The answer" || got.Choices[1].FinishReason != "stop" || got.Usage.PromptTokens != 2 {
		t.Errorf("completion is %+v", got)
	}
	p.StreamOptions.IncludeUsage = client.Bool(true)
	stream := c.Completions.NewStreaming(t.Context(), p)
	var texts [2]string
	var total int64
	for stream.Next() {
		for _, ch := range stream.Current().Choices {
			texts[ch.Index] += ch.Text
		}
		total += stream.Current().Usage.TotalTokens
	}
	if stream.Err() != nil || texts != [2]string{"The answer", "The answer"} || total != got.Usage.TotalTokens {
		t.Errorf("streamed %q for %d tokens (%v)", texts, total, stream.Err())
	}
	// Token 40 is followed by 41 and the like, the decoder says: 42 is not.
	p = client.CompletionNewParams{Model: "student", Prompt: client.CompletionNewParamsPromptUnion{OfArrayOfTokens: []int64{40, 41, 43}},
		MaxTokens: client.Int(2), Echo: client.Bool(true), Logprobs: client.Int(1), Temperature: client.Float(0)}
	if got, err = c.Completions.New(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	// The client leaves out lists with a null in them, which OpenAI sends too.
	raw := got.Choices[0].Logprobs.RawJSON()
	var l openai.CompletionLogprobs
	if err := json.Unmarshal([]byte(raw), &l); err != nil || len(l.Tokens) != 5 || l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
		t.Fatalf("logprobs are %s (%v)", raw, err)
	}
	for i, want := range []struct {
		logprob      float64
		alternatives int
	}{1: {0, 1}, 2: {-30, 2}, 3: {0, 1}, 4: {0, 1}} {
		if i > 0 && math.Abs(*l.TokenLogprobs[i]-want.logprob) > 1e-6 || len(l.TopLogprobs[i]) != want.alternatives {
			t.Errorf("token %d: logprobs are %s", i, raw)
		}
	}
	_, err = c.Completions.New(t.Context(), client.CompletionNewParams{Model: "student", Prompt: p.Prompt, Suffix: client.String("x")})
	var failed *client.Error
	if !errors.As(err, &failed) || failed.StatusCode != 400 || failed.Param != "suffix" {
		t.Errorf("a suffix: %v", err)
	}
}

func TestALongPromptDoesNotHoldUpOthers(t *testing.T) {
	for _, judge := range []bool{false, true} {
		pace := make(chan struct{})
		s := &script{counts: true, pace: pace, say: func(string) string { return strings.Repeat("3", 40) }}
		e := scripted(t, s, Options{Slots: 2, MaxContext: 4000})
		short := &job{ctx: t.Context(), prompts: [][]int32{{65}}, n: 1, maxTokens: 30, ready: make(chan struct{}, 1)}
		if err := e.submit(short, false); err != nil {
			t.Fatal(err)
		}
		if _, err := short.wait(); err != nil { // it is being answered
			t.Fatal(err)
		}
		long := &job{ctx: t.Context(), prompts: [][]int32{make([]int32, 3000)}, n: 1, maxTokens: 1, echo: judge, logprobs: judge, ready: make(chan struct{}, 1)}
		if err := e.submit(long, false); err != nil {
			t.Fatal(err)
		}
		close(pace)
		finish(t, short)
		finish(t, long)
		e.Close()
		sum, most := 0, 0
		for _, n := range s.read {
			sum, most = sum+n, max(most, n)
		}
		if most != promptShare || sum != 3000 || len(s.steps) != 29 {
			t.Errorf("beside %d steps %d tokens of the long prompt were read, at most %d at once", len(s.steps), sum, most)
		}
	}
}

func TestAClientThatGoesAwayWhileItsPromptIsJudgedFreesItsSlot(t *testing.T) {
	pace := make(chan struct{}, 1)
	s := &script{counts: true, pace: pace, say: func(string) string { return "done" }}
	e := scripted(t, s, Options{Slots: 1, MaxContext: 4000})
	_, srv := dial(t, e, "")
	for _, stream := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		body := fmt.Sprintf(`{"model":"student","prompt":%s,"max_tokens":0,"echo":true,"logprobs":1,"stream":%v}`, jsonOf(t, make([]int32, 3000)), stream)
		r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/v1/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := srv.Client().Do(r)
			failed <- err
		}()
		pace <- struct{}{}
		pace <- struct{}{} // the first step has been made
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		// Steps are made until the server has noticed.
		e.mu.Lock()
		for e.running > 0 {
			e.mu.Unlock()
			select {
			case pace <- struct{}{}:
			default:
			}
			e.mu.Lock()
		}
		e.mu.Unlock()
	}
	close(pace)
	if got := completeRaw(t, srv, `"prompt":"next"`); got.Choices[0].Text != "done" {
		t.Errorf("the next client: %+v", got)
	}
	e.Close()
	if len(e.free) != 1 {
		t.Errorf("free slots are %v", e.free)
	}
}

func TestManyKindsOfRequestsAtOnce(t *testing.T) {
	e := engine(t, Options{Slots: 5, Queue: 200})
	c, srv := dial(t, e, "")
	judged := `"prompt":["What is 3+4?","The answer is 7."],"max_tokens":3,"echo":true,"logprobs":2,"temperature":0`
	plain := `"prompt":"What is","n":2,"seed":3,"max_tokens":10`
	// What a request gets alone it gets among others; judged to rounding, since
	// its prompt is read by steps in both cases.
	aloneJudged, alonePlain := completeRaw(t, srv, judged), completeRaw(t, srv, plain)
	same := func(a, b openai.CompletionResponse) string {
		return cmp.Diff(a.Choices, b.Choices, cmpopts.EquateApprox(0, 1e-6))
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			switch i % 6 {
			case 0:
				if d := same(aloneJudged, completeRaw(t, srv, judged)); d != "" {
					t.Error(d)
				}
			case 1:
				if d := same(alonePlain, completeStreamed(t, srv, plain)); d != "" {
					t.Error(d)
				}
			case 2:
				p := chatParams("What is 3+4?")
				p.MaxTokens = client.Int(8)
				if _, err := c.Chat.Completions.New(t.Context(), p); err != nil {
					t.Error(err)
				}
			case 3: // asks and hangs up
				ctx, cancel := context.WithCancel(t.Context())
				r, _ := http.NewRequestWithContext(ctx, "POST", srv.URL+"/v1/completions", strings.NewReader(`{"model":"student",`+judged+`,"stream":true}`))
				if resp, err := srv.Client().Do(r); err == nil {
					io.CopyN(io.Discard, resp.Body, 10)
					resp.Body.Close()
				}
				cancel()
			case 4:
				for _, path := range []string{"/metrics", "/health"} {
					resp, err := srv.Client().Get(srv.URL + path)
					if err != nil {
						t.Error(err)
						continue
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			default:
				if status, _ := post(t, srv, "/v1/completions", `{"model":"student","prompt":"x","suffix":"y"}`); status != 400 {
					t.Errorf("a suffix: %d", status)
				}
			}
		})
	}
	wg.Wait()
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Close()
	if len(e.free) != 5 || e.waiting != 0 || e.running != 0 {
		t.Errorf("%d slots are free, %d sequences wait and %d run", len(e.free), e.waiting, e.running)
	}
}
