package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/openai"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vocabulary is a small tokenizer that the tests share.
var vocabulary = sync.OnceValue(func() *tokenizer.Tokenizer {
	tok, err := tokenizer.Train(slices.Values([]string{"user\nWhat is 3+4?", "assistant\n", "3+4=7", "The answer is 7."}), tokenizer.Options{VocabSize: 300})
	if err != nil {
		panic(err)
	}
	return tok
})

// promptOf is a conversation in the vocabulary's tokens.
func promptOf(t testing.TB, messages []exchange.Message) []int32 {
	t.Helper()
	ids, err := chat.Own(vocabulary()).Prompt(messages)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// untrained is a model with random weights: it rambles, and never twice alike.
func untrained(t testing.TB) *model.Model {
	t.Helper()
	m, err := model.New(model.Config{VocabSize: vocabulary().VocabSize(), Hidden: 32, Layers: 2, Heads: 2, NopeDim: 8, RopeDim: 8, VDim: 8,
		KVLoraRank: 16, MoEIntermediate: 16, RoutedExperts: 4, SharedExperts: 1, TopK: 2, Intermediate: 48, DenseLayers: 1,
		RopeTheta: 200, NormEps: 1e-6, MaxPositions: 200, RoutedScale: 1}, 3)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// engine starts an engine on the untrained model.
func engine(t testing.TB, opt Options) *Engine {
	t.Helper()
	pool := kernel.NewPool(2)
	e, err := NewEngine(untrained(t), chat.Own(vocabulary()), pool, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		pool.Close()
	})
	return e
}

// script is a decoder that says, in every slot, what it is told to: the text
// that say gives for the prompt, then the end mark. A step, or a prompt whose every
// token is judged, waits for a value from pace, if there is one. Of a prompt whose every token is judged it says,
// where counts is set, the token after the last in the vocabulary, and so on.
type script struct {
	counts   bool
	say      func(prompt string) string
	pace     chan struct{}
	fail     error // of the steps from failFrom on
	failFrom int
	most     int     // the most slots that were ever busy
	steps    [][]int // the slots of each step
	read     []int   // the prompt tokens read beside it

	prompts map[int][]int32 // of the busy slots, as far as they are read
	slots   map[int][]int32 // what is still to be said
}

func scripted(t testing.TB, s *script, opt Options) *Engine {
	t.Helper()
	s.slots, s.prompts = map[int][]int32{}, map[int][]int32{}
	opt = opt.withDefaults()
	if opt.MaxContext == 0 {
		opt.MaxContext = 500
	}
	e := newEngine(s, chat.Own(vocabulary()), vocabulary().VocabSize(), opt, []served{{opt.Model, "fp_script"}})
	t.Cleanup(e.Close)
	return e
}

func (s *script) Begin(slot, _ int, _ []int32, _ int) (int, bool) {
	if _, busy := s.prompts[slot]; busy {
		panic(fmt.Sprintf("slot %d is in use", slot))
	}
	s.prompts[slot] = nil
	s.most = max(s.most, len(s.prompts))
	return 0, true
}

func (s *script) Read(chunks []model.Chunk) ([]float32, error) {
	var out []float32
	says := func(token int32) {
		row := make([]float32, vocabulary().VocabSize())
		row[token] = 30
		out = append(out, row...)
	}
	var stepped []int
	read, judged := 0, false
	for _, c := range chunks {
		judged = judged || c.Wanted == model.EveryLogits
		if c.Prompt {
			read += len(c.Tokens)
		} else {
			stepped = append(stepped, c.Slot)
		}
	}
	if s.pace != nil && (stepped != nil || judged) {
		<-s.pace
	}
	if stepped != nil {
		if s.fail != nil && len(s.steps) >= s.failFrom {
			return nil, s.fail
		}
		s.steps, s.read = append(s.steps, stepped), append(s.read, read)
	}
	for _, c := range chunks {
		if c.Prompt {
			s.prompts[c.Slot] = append(s.prompts[c.Slot], c.Tokens...)
			if c.Wanted == model.NoLogits {
				continue
			}
		}
		if s.counts && (c.Wanted == model.EveryLogits || !c.Prompt && s.slots[c.Slot] == nil) {
			for _, t := range c.Tokens {
				says((t + 1) % int32(vocabulary().VocabSize()))
			}
			continue
		}
		if c.Prompt {
			end, _ := vocabulary().ID("<|im_end|>")
			s.slots[c.Slot] = append(vocabulary().Encode(s.say(vocabulary().Decode(s.prompts[c.Slot]))), end)
			for range c.Tokens[1:] {
				if c.Wanted == model.EveryLogits {
					says(0)
				}
			}
		}
		says(s.slots[c.Slot][0])
		s.slots[c.Slot] = s.slots[c.Slot][1:]
	}
	return out, nil
}

func (s *script) Reset(slot int) {
	delete(s.slots, slot)
	delete(s.prompts, slot)
}

func (s *script) MaxRows() int { return 512 }

func (s *script) CacheUse() model.CacheUse { return model.CacheUse{} }

// question is a request to the student of one user message.
func question(text string) exchange.Request {
	return exchange.Request{Model: "student", Messages: []exchange.Message{{Role: "user", Content: text}}, Params: []byte(`{"temperature":0}`)}
}

func TestAskTellsWhatWasSaidAndCounts(t *testing.T) {
	e := scripted(t, &script{say: func(prompt string) string {
		if !strings.Contains(prompt, "What is 3+4?") {
			return "I was asked " + prompt
		}
		return "<think>3+4=7</think>The answer is 7."
	}}, Options{})
	r := question("What is 3+4?")
	r.Run, r.Stage, r.Family, r.Problem, r.Endpoint = "run", "eval", "sums", "3+4", "student:abc"
	x, err := e.Ask(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if want := (exchange.Answer{Reasoning: "3+4=7", Content: "The answer is 7.", FinishReason: "stop"}); x.Answer.Reasoning != want.Reasoning || x.Answer.Content != want.Content || x.Answer.FinishReason != want.FinishReason {
		t.Errorf("answer is %+v, want %+v", x.Answer, want)
	}
	said := len(vocabulary().Encode("<think>3+4=7</think>The answer is 7."))
	thought := len(vocabulary().Encode("<think>3+4=7</think>"))
	prompt := len(promptOf(t, r.Messages))
	if u := x.Usage; u.Source != exchange.UsageReported || int(u.Input) != prompt || int(u.Output) != said+1 || int(u.Reasoning) != thought {
		t.Errorf("usage is %+v, want %d in, %d out, %d of them reasoning", u, prompt, said+1, thought)
	}
	key, _ := r.Key()
	if !x.OK() || x.Cost != 0 || x.Key != key || x.Family != "sums" || x.Problem != "3+4" || x.Run != "run" || x.Stage != "eval" ||
		x.Endpoint != "student:abc" || x.ModelAnswered != "student" || x.ID.IsZero() || len(x.RequestBody) == 0 || len(x.ResponseBody) == 0 {
		t.Errorf("exchange is %+v", x)
	}
}

func TestGreedyAnswersDoNotDependOnTheBatch(t *testing.T) {
	ask := func(e *Engine, i int) string {
		r := question(fmt.Sprintf("What is %d+%d?", i, 3*i%7))
		r.MaxTokens = 20 + i%9
		x, err := e.Ask(t.Context(), r)
		if err != nil {
			t.Error(err)
			return ""
		}
		return x.Answer.Reasoning + "|" + x.Answer.Content
	}
	alone := make([]string, 24)
	one := engine(t, Options{Slots: 1})
	for i := range alone {
		alone[i] = ask(one, i)
	}
	if alone[0] == alone[1] {
		t.Fatalf("the model says the same to everything: %q", alone[0])
	}
	many := engine(t, Options{Slots: 7, Queue: 5, CacheTokens: 300}) // less than all would take
	var wg sync.WaitGroup
	for i := range alone {
		wg.Go(func() {
			if got := ask(many, i); got != alone[i] {
				t.Errorf("question %d: %q in a batch, %q alone", i, got, alone[i])
			}
		})
	}
	wg.Wait()
}

// Samples of one prompt, and prompts that begin alike, are read once.
func TestTheCacheKnowsBeginnings(t *testing.T) {
	e := engine(t, Options{Slots: 4})
	_, srv := dial(t, e, "")
	prompt := strings.Repeat("What is 3+4? ", 9)
	tokens := len(vocabulary().Encode(prompt))
	ask := func(more string) openai.CompletionResponse {
		return completeRaw(t, srv, fmt.Sprintf(`"prompt":%q,"max_tokens":8,"temperature":0,%s`, prompt, more))
	}
	first := ask(`"n":3`)
	if d := first.Usage.PromptTokensDetails; d != nil {
		t.Errorf("of a first prompt %d tokens were known", d.CachedTokens)
	}
	if first.Choices[0].Text != first.Choices[1].Text || first.Choices[0].Text != first.Choices[2].Text {
		t.Errorf("three greedy samples are %+v", first.Choices)
	}
	again := ask(`"n":1`)
	if d := again.Usage.PromptTokensDetails; d == nil || int(d.CachedTokens) != (tokens-1)/32*32 {
		t.Errorf("of %d tokens that were read before %+v were known", tokens, again.Usage.PromptTokensDetails)
	}
	if again.Choices[0].Text != first.Choices[0].Text {
		t.Errorf("the answer is %q from the cache, %q without", again.Choices[0].Text, first.Choices[0].Text)
	}
	if judged := ask(`"echo":true,"logprobs":0`); judged.Usage.PromptTokensDetails != nil {
		t.Error("a prompt whose tokens are judged was not read")
	}
	var page strings.Builder
	e.writeMetrics(&page)
	for _, want := range []string{fmt.Sprintf("retort_prompt_tokens_cached_total %d\n", (tokens-1)/32*32), "retort_cache_tokens_kept ", "retort_cache_tokens "} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("metrics lack %q:\n%s", want, page.String())
		}
	}
}

func TestACacheSmallerThanOneContextIsRefused(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	if _, err := NewEngine(untrained(t), chat.Own(vocabulary()), pool, Options{CacheTokens: 199}); err == nil || !strings.Contains(err.Error(), "199 tokens") {
		t.Errorf("error is %v", err)
	}
}

func TestSamplingDependsOnTheSeedAlone(t *testing.T) {
	e := engine(t, Options{Slots: 4})
	ask := func(params string, sample int) string {
		r := question("Say something")
		r.Params, r.MaxTokens, r.Sample = []byte(params), 25, sample
		x, err := e.Ask(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return x.Answer.Content + x.Answer.Reasoning
	}
	first := ask(`{}`, 0)
	if again := ask(`{}`, 0); again != first {
		t.Error("the seed derived from the key does not fix the answer")
	}
	if first == ask(`{}`, 1) {
		t.Error("two samples are the same")
	}
	if greedy := ask(`{"temperature":0}`, 0); ask(`{"top_k":1}`, 2) != greedy || ask(`{"top_p":1e-9}`, 3) != greedy || ask(`{"min_p":1}`, 4) != greedy {
		t.Error("top_k 1, a tiny top_p and min_p 1 do not give the likeliest tokens")
	}
}

// queued puts jobs for these prompts, with so many samples each, into the queue
// before the engine takes the first of them.
func queued(t *testing.T, e *Engine, samples map[string]int, prompts ...string) []*job {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	var jobs []*job
	for _, p := range prompts {
		j := &job{ctx: t.Context(), prompts: [][]int32{vocabulary().Encode(p)}, n: max(1, samples[p]), maxTokens: 100, ready: make(chan struct{}, 1)}
		jobs = append(jobs, j)
		e.waiting += j.n
	}
	e.queue = append(e.queue, jobs...)
	e.wake.Broadcast()
	return jobs
}

// finish waits until all samples of a job have come to a regular end.
func finish(t *testing.T, j *job) {
	t.Helper()
	for ends := 0; ends < j.n; {
		events, err := j.wait()
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if ev.err != nil {
				t.Fatal(ev.err)
			}
			if ev.finish != "" {
				ends++
			}
		}
	}
}

func TestRequestsJoinAndLeaveBetweenSteps(t *testing.T) {
	s := &script{say: func(prompt string) string {
		if strings.Contains(prompt, "long") {
			return strings.Repeat("7", 40)
		}
		return "3"
	}}
	e := scripted(t, s, Options{Slots: 2})
	for _, j := range queued(t, e, nil, "long", "a", "b", "c") {
		finish(t, j)
	}
	e.Close()
	if s.most != 2 {
		t.Errorf("at most %d sequences were decoded together, want 2", s.most)
	}
	// The three short answers take turns in the slot beside the long one, which
	// takes 40 steps after its first token.
	if len(s.steps) != 40 {
		t.Errorf("%d steps, want the 40 of the long answer", len(s.steps))
	}
}

func TestManySamplesDoNotHoldUpOthers(t *testing.T) {
	var began []string
	pace := make(chan struct{})
	s := &script{pace: pace, say: func(prompt string) string {
		name := "single"
		if strings.Contains(prompt, "many") {
			name = "many"
		}
		began = append(began, name)
		return "33"
	}}
	e := scripted(t, s, Options{Slots: 1})
	jobs := queued(t, e, map[string]int{"many": 8}, "many", "single")
	close(pace)
	for _, j := range jobs {
		finish(t, j)
	}
	e.Close()
	if len(began) != 9 || began[0] != "many" || began[1] != "single" {
		t.Errorf("sequences were started in the order %v, want the single one second", began)
	}
}

func TestAFullQueueRefusesOrWaits(t *testing.T) {
	pace := make(chan struct{})
	s := &script{pace: pace, say: func(string) string { return "33" }}
	e := scripted(t, s, Options{Slots: 1, Queue: 1})
	job := func() *job {
		return &job{ctx: t.Context(), prompts: [][]int32{{1}}, n: 1, maxTokens: 5, ready: make(chan struct{}, 1)}
	}
	first, second := job(), job()
	if err := e.submit(first, false); err != nil {
		t.Fatal(err)
	}
	if _, err := first.wait(); err != nil { // it has a slot
		t.Fatal(err)
	}
	if err := e.submit(second, false); err != nil {
		t.Fatal(err)
	}
	if err := e.submit(job(), false); !errors.Is(err, errBusy) {
		t.Errorf("a third request: %v, want errBusy", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := job()
	gone.ctx = ctx
	if err := e.submit(gone, true); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with a cancelled context: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- e.submit(job(), true) }()
	close(pace)
	if err := <-waited; err != nil {
		t.Errorf("waiting for room: %v", err)
	}
}

func TestACancelledRequestFreesItsSlot(t *testing.T) {
	pace := make(chan struct{}, 1)
	s := &script{pace: pace, say: func(prompt string) string {
		if strings.Contains(prompt, "forever") {
			return strings.Repeat("7", 400)
		}
		return "done"
	}}
	e := scripted(t, s, Options{Slots: 1})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		x, err := e.Ask(ctx, question("forever"))
		if x.ErrorClass != exchange.ClassCancelled {
			t.Errorf("class is %q", x.ErrorClass)
		}
		failed <- err
	}()
	pace <- struct{}{}
	pace <- struct{}{} // the first step has been made
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	close(pace)
	if x, err := e.Ask(t.Context(), question("next")); err != nil || x.Answer.Content != "done" {
		t.Errorf("the next request: %+v, %v", x, err)
	}
	e.Close()
	if n := len(s.steps); n > 20 {
		t.Errorf("%d steps were made: the cancelled answer went on", n)
	}
}

func TestAskFailsWithItsReason(t *testing.T) {
	e := scripted(t, &script{say: func(string) string { return "3" }, fail: errors.New("the decoder broke")}, Options{MaxContext: 40})
	for name, c := range map[string]struct {
		change func(*exchange.Request)
		class  exchange.ErrorClass
		says   string
	}{
		"other model":     {func(r *exchange.Request) { r.Model = "gpt" }, exchange.ClassNotFound, "gpt"},
		"too long":        {func(r *exchange.Request) { r.Messages[0].Content = strings.Repeat("3", 100) }, exchange.ClassInvalid, "40"},
		"two samples":     {func(r *exchange.Request) { r.Params = []byte(`{"n":2}`) }, exchange.ClassInvalid, "n is 2"},
		"min_p":           {func(r *exchange.Request) { r.Params = []byte(`{"min_p":1.5}`) }, exchange.ClassInvalid, "min_p is 1.5"},
		"negative min_p":  {func(r *exchange.Request) { r.Params = []byte(`{"min_p":-0.1}`) }, exchange.ClassInvalid, "min_p is -0.1"},
		"min_p's type":    {func(r *exchange.Request) { r.Params = []byte(`{"min_p":"x"}`) }, exchange.ClassInvalid, "min_p"},
		"temperature":     {func(r *exchange.Request) { r.Params = []byte(`{"temperature":3}`) }, exchange.ClassInvalid, "temperature"},
		"no object":       {func(r *exchange.Request) { r.Params = []byte(`[]`) }, exchange.ClassInvalid, "parameters"},
		"broken decoder":  {func(r *exchange.Request) {}, exchange.ClassServer, "the decoder broke"},
		"role":            {func(r *exchange.Request) { r.Messages[0].Role = "tool" }, exchange.ClassInvalid, "tool"},
		"response_format": {func(r *exchange.Request) { r.Params = []byte(`{"response_format":{"type":"xml"}}`) }, exchange.ClassInvalid, "xml"},
	} {
		r := question("hello")
		c.change(&r)
		x, err := e.Ask(t.Context(), r)
		var failed *exchange.Error
		if !errors.As(err, &failed) || failed.Class != c.class || x.ErrorClass != c.class || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want class %s and %q in it", name, err, c.class, c.says)
		}
		if x.Usage.Source != exchange.UsageMissing || x.OK() {
			t.Errorf("%s: the exchange looks like a success: %+v", name, x)
		}
	}
}

func TestAClosedEngineRefuses(t *testing.T) {
	pace := make(chan struct{}, 1)
	e := scripted(t, &script{pace: pace, say: func(string) string { return strings.Repeat("7", 400) }}, Options{Slots: 1})
	failed := make(chan error, 2)
	for range 2 { // one in the slot, one in the queue
		go func() {
			_, err := e.Ask(t.Context(), question("forever"))
			failed <- err
		}()
	}
	pace <- struct{}{}
	pace <- struct{}{}
	go close(pace)
	e.Close()
	for range 2 {
		if err := <-failed; !errors.Is(err, errClosed) {
			t.Errorf("a request under way ended with %v", err)
		}
	}
	if _, err := e.Ask(t.Context(), question("late")); !errors.Is(err, errClosed) {
		t.Errorf("a late request ended with %v", err)
	}
}

func TestATokenizerOfAnotherModelIsRefused(t *testing.T) {
	c := untrained(t).Config()
	c.VocabSize--
	m, err := model.New(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	if _, err := NewEngine(m, chat.Own(vocabulary()), pool, Options{}); err == nil || !strings.Contains(err.Error(), "belong together") {
		t.Errorf("error is %v", err)
	}
}

func TestSamplerFollowsTheDistribution(t *testing.T) {
	logits := []float32{2, 1, 0, -1, 2}
	for name, c := range map[string]struct {
		s    sampling
		want []float64 // shares
	}{
		"plain":   {sampling{temperature: 1, topP: 1}, []float64{0.389, 0.143, 0.0527, 0.0194, 0.389}},
		"cold":    {sampling{temperature: 0.5, topP: 1}, []float64{0.464, 0.0628, 0.0085, 0.00115, 0.464}},
		"top 3":   {sampling{temperature: 1, topP: 1, topK: 3}, []float64{0.422, 0.155, 0, 0, 0.422}},
		"nucleus": {sampling{temperature: 1, topP: 0.5}, []float64{0.5, 0, 0, 0, 0.5}},
		"first":   {sampling{temperature: 0, topP: 1}, []float64{1, 0, 0, 0, 0}},
	} {
		s := newSampler(c.s, 11, 0)
		const n = 20000
		got := make([]float64, len(logits))
		for range n {
			got[s.draw(logits)] += 1.0 / n
		}
		for i := range got {
			if d := got[i] - c.want[i]; d > 0.012 || d < -0.012 || c.want[i] == 0 && got[i] != 0 {
				t.Errorf("%s: shares %.3f, want %.3f", name, got, c.want)
				break
			}
		}
	}
	// The tokens that may be drawn, to the last one: shares are 1, 1/e, 1/e², 1/e³, 1.
	for name, c := range map[string]struct {
		s    sampling
		want []int32
	}{
		"min_p 0":            {sampling{temperature: 1, topP: 1}, []int32{0, 1, 2, 3, 4}},
		"min_p":              {sampling{temperature: 1, topP: 1, minP: 0.13}, []int32{0, 1, 2, 4}},
		"min_p a hair more":  {sampling{temperature: 1, topP: 1, minP: 0.14}, []int32{0, 1, 4}},
		"min_p is inclusive": {sampling{temperature: 1, topP: 1, minP: math.Exp(-1)}, []int32{0, 1, 4}},
		"min_p when cold":    {sampling{temperature: 0.5, topP: 1, minP: 0.14}, []int32{0, 4}},
		"min_p when hot":     {sampling{temperature: 2, topP: 1, minP: 0.14}, []int32{0, 1, 2, 3, 4}},
		"min_p 1":            {sampling{temperature: 1, topP: 1, minP: 1}, []int32{0, 4}},
		"min_p and top_k":    {sampling{temperature: 1, topP: 1, minP: 0.13, topK: 2}, []int32{0, 4}},
		"min_p before top_p": {sampling{temperature: 1, topP: 0.8, minP: 0.2}, []int32{0, 4}}, // 2/2.37 are enough; of all, 2/2.55 would not be
		"top_p alone":        {sampling{temperature: 1, topP: 0.8}, []int32{0, 1, 4}},
	} {
		s := newSampler(c.s, 1, 0)
		s.keep(logits)
		var got []int32
		for _, o := range s.order {
			got = append(got, o.id)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s keeps %v, want %v", name, got, c.want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	wide := make([]float32, 400)
	for i := range wide {
		wide[i] = rng.Float32()
	}
	chosen, top := logprobsOf(wide, 7, 400)
	sum := 0.0
	for i, p := range top {
		if i > 0 && p.logprob > top[i-1].logprob {
			t.Fatal("alternatives are not in descending order")
		}
		sum += math.Exp(p.logprob)
		if p.id == 7 && p != chosen {
			t.Errorf("token 7 has %v among the alternatives and %v by itself", p, chosen)
		}
	}
	if _, three := logprobsOf(wide, 7, 3); !slices.Equal(three, top[:3]) {
		t.Errorf("the likeliest three are %v of %v", three, top[:5])
	}
	if _, equals := logprobsOf(logits, 1, 3); equals[0].id != 0 || equals[1].id != 4 || equals[2].id != 1 {
		t.Errorf("the likeliest are %v: of equals the first id comes first", equals)
	}
	if sum < 0.9999 || sum > 1.0001 {
		t.Errorf("probabilities sum to %v", sum)
	}
}
