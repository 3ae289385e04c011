package collect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/openai"
)

func TestAnAnswerComesWithAllThatIsKnownOfIt(t *testing.T) {
	for _, stream := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &teacher{}
			s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
				w.Header().Set("X-Request-Id", "abc")
				w.Header().Set("Set-Cookie", "session=1")
				s.good(w, r, q)
			}
			r, stop := start(t, s, func(c *Config) { c.Stream = stream })
			defer stop()
			got, err := r.Ask(t.Context(), question("hi"))
			if err != nil {
				t.Fatal(err)
			}
			r.agree()
			stored := r.ledger.exchanges(t)
			if len(stored) != 1 {
				t.Fatalf("%d exchanges in the ledger", len(stored))
			}
			for where, e := range map[string]*exchange.Exchange{"returned": got, "stored": stored[0]} {
				key, _ := (&exchange.Request{Endpoint: "http://teacher.test/v1", Model: "m", Messages: question("hi").Messages, MaxTokens: 100}).Key()
				if !e.OK() || e.Key != key || e.Answer.Content != "re: hi" || e.Answer.FinishReason != "stop" || e.ModelAnswered != "m-1" || e.ModelAsked != "m" ||
					e.Cost != 10*7+5*11 || e.Usage.Source != exchange.UsageReported || e.Worst < e.Cost || e.Price != "test" || e.Attempt != 1 || e.Status != 200 ||
					e.Run != "run" || e.Family != "f" || e.TermsID != "row" || e.TermsBasis != "basis" || e.Origin != exchange.OriginAPI || !e.Parent.IsZero() {
					t.Errorf("%s: %+v", where, e)
				}
				if e.ResponseHeader["x-request-id"] != "abc" || e.ResponseHeader["set-cookie"] != "" || e.RequestHeader["x-retort-attempt"] != e.ID.String() || e.RequestHeader["authorization"] != "" {
					t.Errorf("%s: headers %v, %v", where, e.RequestHeader, e.ResponseHeader)
				}
				if !strings.Contains(string(e.RequestBody), fmt.Sprintf(`"seed":%d`, key.Seed())) || len(e.ResponseBody) == 0 || string(e.RequestBody) != s.bodies[0] {
					t.Errorf("%s: request %s, response %s", where, e.RequestBody, e.ResponseBody)
				}
				if e.Times.Queued == 0 || e.Times.Sent < e.Times.Queued || e.Times.FirstByte < e.Times.Sent || e.Times.LastByte < e.Times.FirstByte {
					t.Errorf("%s: times %+v", where, e.Times)
				}
			}
			if got := s.requests[0].Header.Get("Authorization"); got != "Bearer "+secret {
				t.Errorf("authorization %q", got)
			}
		})
	}
}

func TestNothingIsReturnedOrSettledBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) { s.good(w, r, q) }
		let := make(chan struct{})
		intents := make(chan struct{})
		m := &memory{gate: func(rec ledger.Record) error {
			switch rec.Kind {
			case ledger.KindEnd:
				<-let
			case ledger.KindIntent:
				<-intents
			}
			return nil
		}}
		r, stop := start(t, s, func(c *Config) { c.Ledger = m })
		defer stop()
		done := make(chan error, 1)
		go func() { _, err := r.Ask(t.Context(), question("hi")); done <- err }()
		synctest.Wait()
		if s.asked() != 0 {
			t.Error("a request was sent before its intent was durable")
		}
		close(intents)
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("returned before its end was durable: %v", err)
		default:
		}
		if st := r.Stats(); r.budget.Spent().Cmp(exchange.PicoSum{}) != 0 || r.budget.Reserved().Cmp(exchange.PicoSum{}) == 0 || st.Sent != 0 || st.InFlight != 1 {
			t.Errorf("settled before its end was durable: spent %v, reserved %v, %+v", r.budget.Spent(), r.budget.Reserved(), st)
		}
		close(let)
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.agree()
	})
}

func TestAFullDiskStopsEverythingAndIsNotFree(t *testing.T) {
	for kind, sent := range map[ledger.Kind]int{ledger.KindIntent: 0, ledger.KindEnd: 1, ledger.KindFragment: 1} {
		synctest.Test(t, func(t *testing.T) {
			s := &teacher{}
			s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
				s.charge(r, usage)
				sw := openai.NewStreamWriter(w)
				text := "some"
				sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{Delta: openai.Delta{Content: &text}}}})
				sleepFor(r.Context(), 10*time.Second)
				stop := "stop"
				sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{FinishReason: &stop}}, Usage: &usage})
				sw.Done()
			}
			m := &memory{gate: func(rec ledger.Record) error {
				if rec.Kind == kind {
					return errDisk
				}
				return nil
			}}
			r, stop := start(t, s, func(c *Config) { c.Ledger = m })
			defer stop()
			begin := time.Now()
			e, err := r.Ask(t.Context(), question("hi"))
			var lost *LedgerError
			if !errors.As(err, &lost) || !errors.Is(err, errDisk) || e != nil {
				t.Errorf("%s: %+v, %v", kind, e, err)
			}
			if kind == ledger.KindFragment && time.Since(begin) > time.Second {
				t.Errorf("an answer that cannot be recorded was read for %v", time.Since(begin))
			}
			if _, err := r.Ask(t.Context(), question("other")); !errors.Is(err, errDisk) || s.asked() != sent {
				t.Errorf("%s: asked %d times, then %v", kind, s.asked(), err)
			}
			if spent := r.budget.Spent(); sent == 1 && spent.USD() < float64(s.billed())/1e12 || sent == 0 && spent.Cmp(exchange.PicoSum{}) != 0 {
				t.Errorf("%s: spent %v, billed %v", kind, spent, s.billed())
			}
		})
	}
}

// part sends the beginning of a streamed answer.
func part(w http.ResponseWriter) *openai.StreamWriter {
	sw := openai.NewStreamWriter(w)
	text := "some"
	sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{Delta: openai.Delta{Content: &text}}}})
	return sw
}

func TestWhatGoesWrongOnceIsRecordedChargedAndTriedAgain(t *testing.T) {
	stopReason := "stop"
	finish := openai.ChatChunk{Choices: []openai.ChunkChoice{{FinishReason: &stopReason}}}
	type handler = func(s *teacher, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest)
	for name, c := range map[string]struct {
		stream bool
		first  handler
		class  exchange.ErrorClass // of the first attempt; "" if it is good
		free   bool                // it is charged nothing; otherwise its worst case
	}{
		"429": {true, func(_ *teacher, w http.ResponseWriter, _ *http.Request, _ *openai.ChatRequest) {
			openai.WriteError(w, 429, "requests", "rate_limit_exceeded", "slow down")
		}, exchange.ClassRateLimited, true},
		"500": {true, func(_ *teacher, w http.ResponseWriter, _ *http.Request, _ *openai.ChatRequest) {
			openai.WriteError(w, 500, "server_error", "", "oops")
		}, exchange.ClassServer, true},
		"502": {false, func(_ *teacher, w http.ResponseWriter, _ *http.Request, _ *openai.ChatRequest) {
			http.Error(w, "<html>bad gateway", http.StatusBadGateway)
		}, exchange.ClassServer, true},
		"cut": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w)
			cut(w)
		}, exchange.ClassNetwork, false},
		"cut in good order": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w)
		}, exchange.ClassNetwork, false},
		"cut with a running total": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w).Send(openai.ChatChunk{Choices: []openai.ChunkChoice{}, Usage: &openai.Usage{PromptTokens: 10, CompletionTokens: 1}})
			cut(w)
		}, exchange.ClassNetwork, false},
		"finished and cut before the total": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w).Send(openai.ChatChunk{Choices: finish.Choices, Usage: &openai.Usage{PromptTokens: 10, CompletionTokens: 1}})
			cut(w)
		}, "", false},
		"stall": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w)
			sleepFor(r.Context(), time.Hour)
		}, exchange.ClassTimeout, false},
		"no response": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			sleepFor(r.Context(), time.Hour)
		}, exchange.ClassTimeout, false},
		"malformed": {false, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			fmt.Fprint(w, `{"choices":[{"message":`)
		}, exchange.ClassMalformed, false},
		"malformed event": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			sw := part(w)
			sw.Raw([]byte(`{"choices":[{`))
			sw.Send(openai.ChatChunk{Choices: finish.Choices, Usage: &usage})
			sw.Done()
		}, exchange.ClassMalformed, false},
		"error event": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w).Error(&openai.APIError{Type: "server_error", Message: "overloaded"})
		}, exchange.ClassServer, false},
		"usage missing": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			sw := part(w)
			sw.Send(finish)
			sw.Done()
		}, "", false},
		"usage that cannot be": {true, func(s *teacher, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			sw := part(w)
			sw.Send(openai.ChatChunk{Choices: finish.Choices, Usage: &openai.Usage{PromptTokens: -4, CompletionTokens: 1}})
			sw.Done()
		}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &teacher{}
				s.answer = func(n int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
					if n == 0 {
						c.first(s, w, r, q)
						return
					}
					s.good(w, r, q)
				}
				r, stop := start(t, s, func(cfg *Config) { cfg.Stream = c.stream; cfg.Deadline = 3 * time.Minute })
				defer stop()
				e, err := r.Ask(t.Context(), question("hi"))
				if err != nil {
					t.Fatal(err)
				}
				r.agree()
				all := r.ledger.exchanges(t)
				first := all[0]
				if first.ErrorClass != c.class || (first.ErrorClass == "") != (len(all) == 1) {
					t.Fatalf("attempts: %v, want %q first", r.ledger.classes(t), c.class)
				}
				want := first.Worst
				if c.free {
					want = 0
				}
				if first.Cost != want || first.Usage.Source == exchange.UsageReported || !c.free && first.Usage.Source != exchange.UsageEstimated {
					t.Errorf("first attempt is charged %d with usage %+v, want %d", first.Cost, first.Usage, want)
				}
				if c.class != "" && (e.Parent != first.ID || e.Attempt != 2 || first.ErrorText == "") {
					t.Errorf("second attempt: parent %v, number %d; first: %q", e.Parent, e.Attempt, first.ErrorText)
				}
				if c.class != "" && !c.free && name != "no response" && len(first.ResponseBody) == 0 {
					t.Error("what was read of the first attempt is not in the ledger")
				}
				if st := r.Stats(); st.Answered != 1 || st.Sent != int64(len(all)) || c.class != "" && st.Errors[c.class] != 1 {
					t.Errorf("stats %+v", st)
				}
			})
		})
	}
}

func TestAStreamThatStaysOpenAfterItsEndIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
			s.good(w, r, q)
			sleepFor(r.Context(), time.Hour)
		}
		r, stop := start(t, s, nil)
		defer stop()
		begin := time.Now()
		if _, err := r.Ask(t.Context(), question("hi")); err != nil || time.Since(begin) > time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		r.agree()
	})
}

func TestASlowStreamThatGoesOnIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
			sw := part(w)
			for range 20 {
				sleepFor(r.Context(), 4*time.Second)
				sw.Comment("still here")
			}
			s.charge(r, usage)
			stop := "stop"
			sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{FinishReason: &stop}}, Usage: &usage})
			sw.Done()
		}
		r, stop := start(t, s, func(c *Config) { c.Stall = 5 * time.Second })
		defer stop()
		if e, err := r.Ask(t.Context(), question("hi")); err != nil || e.Attempt != 1 {
			t.Errorf("%+v, %v", e, err)
		}
		r.agree()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(n int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
			if n < 3 {
				w.Header().Set("Retry-After", "40")
				openai.WriteError(w, 429, "requests", "", "slow down")
				return
			}
			s.good(w, r, q)
		}
		r, stop := start(t, s, nil)
		defer stop()
		begin := time.Now()
		if _, err := r.Ask(t.Context(), question("hi")); err != nil || time.Since(begin) < 2*time.Minute || time.Since(begin) > 2*time.Minute+2*time.Second {
			t.Errorf("answered after %v, %v; was told to wait three times 40 s", time.Since(begin), err)
		}
		r.agree()
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	for status, want := range map[int]int{500: 3, 429: 12, 400: 1, 422: 1} {
		synctest.Test(t, func(t *testing.T) {
			s := &teacher{answer: func(_ int, w http.ResponseWriter, _ *http.Request, _ *openai.ChatRequest) {
				openai.WriteError(w, status, "t", "some_code", "no luck")
			}}
			r, stop := start(t, s, func(c *Config) { c.MaxAttempts = 3 })
			defer stop()
			e, err := r.Ask(t.Context(), question("hi"))
			if s.asked() != want || e == nil || e.Status != status || err == nil {
				t.Errorf("%d: %d attempts, want %d; %+v, %v", status, s.asked(), want, e, err)
			}
			wantClass(t, err, e.ErrorClass, "no luck", "some_code", `"m"`)
			if _, err := r.Ask(t.Context(), question("other")); s.asked() != 2*want {
				t.Errorf("%d: the failure of one request stopped another: %v", status, err)
			}
			r.agree()
		})
	}
}

func TestBackoffIsDrawnFromTheSeed(t *testing.T) {
	waits := func(seed uint64) (out []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s := &teacher{answer: func(_ int, w http.ResponseWriter, _ *http.Request, _ *openai.ChatRequest) { w.WriteHeader(503) }}
			r, stop := start(t, s, func(c *Config) {
				c.Seed = seed
				c.OnEvent = func(ev Event) {
					if ev.Kind == EventRetry {
						out = append(out, ev.Wait)
					}
				}
			})
			defer stop()
			r.Ask(t.Context(), question("hi"))
		})
		return out
	}
	a, b, other := waits(1), waits(1), waits(2)
	if len(a) != DefaultMaxAttempts-1 || !slices.Equal(a, b) || slices.Equal(a, other) {
		t.Errorf("waits %v, %v, with another seed %v", a, b, other)
	}
	for i, w := range a {
		if w > min(firstBackoff<<i, longestBackoff) {
			t.Errorf("retry %d after %v", i+1, w)
		}
	}
}

func TestWhatNoRequestCanCureStopsAllWithOneClearError(t *testing.T) {
	models := openai.ModelList{Object: "list", Data: []openai.Model{{ID: "zebra"}, {ID: "M-large"}, {ID: "mm"}}}
	for name, c := range map[string]struct {
		status int
		code   string
		class  exchange.ErrorClass
		words  []string
	}{
		"wrong key":  {401, "invalid_api_key", exchange.ClassAuth, []string{"API key", "api_key_env"}},
		"no money":   {402, "", exchange.ClassQuota, []string{"no money"}},
		"no quota":   {429, "insufficient_quota", exchange.ClassQuota, []string{"no money or quota"}},
		"no model":   {404, "model_not_found", exchange.ClassNotFound, []string{`no model "m"; it offers "mm"`}},
		"no model 2": {400, "model_not_found", exchange.ClassNotFound, []string{`"M-large"`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &teacher{}
				s.answer = func(n int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
					switch n {
					case -1:
						openai.WriteJSON(w, 200, models)
					case 0:
						openai.WriteError(w, c.status, "t", c.code, "sorry, "+secret)
					default:
						time.Sleep(time.Second)
						s.good(w, r, q)
					}
				}
				r, stop := start(t, s, func(c *Config) { c.Limits.Concurrent = 1 })
				defer stop()
				var wg sync.WaitGroup
				errs := make([]error, 5)
				for i := range errs {
					wg.Go(func() { _, errs[i] = r.Ask(t.Context(), question(numbered(i))) })
				}
				wg.Wait()
				if s.asked() != 1 {
					t.Errorf("%d requests were sent", s.asked())
				}
				for _, err := range errs {
					wantClass(t, err, c.class, c.words...)
					if strings.Contains(fmt.Sprint(err), secret) {
						t.Errorf("the error shows the key: %v", err)
					}
				}
				r.agree()
			})
		})
	}
}

func TestATeacherThatIsNotThereIsSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{dial: func() error { return syscall.ECONNREFUSED }}
		r, stop := start(t, s, func(c *Config) { c.MaxAttempts = 3 })
		defer stop()
		var gone *UnreachableError
		if err := r.Check(t.Context()); !errors.As(err, &gone) || !strings.Contains(err.Error(), "http://teacher.test/v1") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("check: %v", err)
		}
		e, err := r.Ask(t.Context(), question("hi"))
		if !errors.As(err, &gone) || gone.Attempts != 3 || e.ErrorClass != exchange.ClassNetwork || e.Cost != 0 {
			t.Errorf("ask: %+v, %v", e, err)
		}
		if _, err := r.Ask(t.Context(), question("other")); !errors.As(err, &gone) {
			t.Errorf("the next is tried again: %v", err)
		}
		r.agree()
	})
}

func TestBudgetStopsTheRunAndTheSameRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := func(s *teacher) func(int, http.ResponseWriter, *http.Request, *openai.ChatRequest) {
			return func(n int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
				time.Sleep(time.Duration(n%7) * 100 * time.Millisecond)
				if n%5 == 4 {
					s.charge(r, usage)
					part(w)
					cut(w)
				}
				s.good(w, r, q)
			}
		}
		s := &teacher{}
		s.answer = answer(s)
		one := tariff.WorstOf(question("question 11"), 1)
		m := &memory{}
		ask := func(limit exchange.Pico, known map[exchange.Key]*exchange.Exchange, spent exchange.Pico) (answered, refused int) {
			r, stop := start(t, s, func(c *Config) {
				c.Ledger, c.Budget, c.Known = m, meter.NewBudget(limit), known
				c.Budget.Charge(spent)
			})
			defer stop()
			var wg sync.WaitGroup
			var mu sync.Mutex
			for i := range 60 {
				wg.Go(func() {
					_, err := r.Ask(t.Context(), question(numbered(i)))
					var over *meter.OverBudgetError
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						answered++
					case errors.As(err, &over):
						refused++
					default:
						t.Errorf("question %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			if p := s.billed(); p > limit {
				t.Errorf("billed %d of a budget of %d", p, limit)
			}
			if r.budget.Spent().Cmp(r.budget.Limit()) > 0 {
				t.Errorf("spent %v of %v", r.budget.Spent(), r.budget.Limit())
			}
			return answered, refused
		}
		limit := 8 * one
		answered, refused := ask(limit, nil, 0)
		if answered == 0 || refused == 0 {
			t.Fatalf("%d answered, %d refused: the test does not test", answered, refused)
		}
		known := make(map[exchange.Key]*exchange.Exchange)
		spent := exchange.Pico(0)
		for _, e := range m.exchanges(t) {
			spent += e.Cost
			known[e.Key] = e
		}
		before := s.asked()
		if again, _ := ask(limit, known, spent); again < answered {
			t.Errorf("%d answers are known, %d returned", answered, again)
		}
		if all, _ := ask(100*one, known, spent); all != 60 {
			t.Errorf("with a higher budget %d of 60", all)
		}
		t.Logf("%d of 60 at first, %d attempts, %d after", answered, before, s.asked())
	})
}

func TestAnInterruptedRequestIsRecordedAndChargedItsWorst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			part(w)
			sleepFor(r.Context(), time.Hour)
		}
		r, stop := start(t, s, nil)
		defer stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e, err := r.Ask(ctx, question("hi"))
		wantClass(t, err, exchange.ClassCancelled)
		stored := r.ledger.exchanges(t)
		if !errors.Is(err, context.DeadlineExceeded) || len(stored) != 1 || stored[0].ErrorClass != exchange.ClassCancelled || e.Cost != e.Worst || stored[0].Cost != e.Worst || e.Cost == 0 {
			t.Errorf("%+v, stored %+v, %v", e, stored, err)
		}
		if !strings.Contains(string(stored[0].ResponseBody), "some") {
			t.Errorf("what was read is lost: %q", stored[0].ResponseBody)
		}
		r.agree()
		if e, err := r.Ask(ctx, question("before it is sent")); e != nil || !errors.Is(err, context.DeadlineExceeded) || s.asked() != 1 {
			t.Errorf("after the end of its context: %+v, %v", e, err)
		}
	})
}

func TestEqualQuestionsShareOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
			sleepFor(r.Context(), time.Second)
			s.good(w, r, q)
		}
		r, stop := start(t, s, nil)
		defer stop()
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { // who asks first gives up; the others do not suffer from it
			if _, err := r.Ask(short, question("hi")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if e, err := r.Ask(t.Context(), question("hi")); err != nil || e.Answer.Content != "re: hi" {
					t.Errorf("%+v, %v", e, err)
				}
			})
		}
		wg.Wait()
		if s.asked() != 2 {
			t.Errorf("asked %d times", s.asked())
		}
		q := question("hi")
		q.Sample = 1
		if _, err := r.Ask(t.Context(), q); err != nil || s.asked() != 3 {
			t.Errorf("another sample is another question: asked %d times, %v", s.asked(), err)
		}
		e, err := r.Ask(t.Context(), question("hi"))
		if st := r.Stats(); err != nil || s.asked() != 3 || e.Answer.Content != "re: hi" || st.Reused != 1 {
			t.Errorf("asked %d times; %+v, %v", s.asked(), st, err)
		}
		r.agree()
	})
}

func TestOnlyRegularAnswersAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) { s.good(w, r, q) }
		key := func(text string) exchange.Key {
			q := question(text)
			q.Endpoint, q.Model = "somewhere", "m"
			k, err := q.Key()
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		r, stop := start(t, s, func(c *Config) {
			c.Endpoint = "somewhere"
			c.Known = map[exchange.Key]*exchange.Exchange{
				key("a"): {Status: 200, Answer: exchange.Answer{Content: "known"}},
				key("b"): {Status: 200, ErrorClass: exchange.ClassMalformed},
				key("c"): {ErrorClass: exchange.ClassUnended},
			}
		})
		defer stop()
		for text, want := range map[string]string{"a": "known", "b": "re: b", "c": "re: c"} {
			if e, err := r.Ask(t.Context(), question(text)); err != nil || e.Answer.Content != want {
				t.Errorf("%s: %+v, %v", text, e, err)
			}
		}
		other := question("a")
		other.Model = "another"
		if _, err := r.Ask(t.Context(), other); err == nil {
			t.Error("a request for another model was accepted")
		}
	})
}

func TestTheKeyIsNeitherRecordedNorShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(n int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
			w.Header().Set("X-Ratelimit-Note", secret)
			w.Header().Set("Authorization", r.Header.Get("Authorization"))
			switch n {
			case 0: // in pieces, over a longer time than fragments gather
				sw := part(w)
				rest := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"your key is " + secret + "\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
				_ = sw
				for i := range rest {
					w.Write([]byte{rest[i]})
					http.NewResponseController(w).Flush()
					time.Sleep(gather / 3)
				}
			default:
				openai.WriteError(w, 400, "t", "", "incorrect key "+secret)
			}
		}
		r, stop := start(t, s, nil)
		defer stop()
		e, err := r.Ask(t.Context(), question("hi"))
		if err != nil || e.Answer.Content != "someyour key is "+strings.Repeat("*", len(secret)) {
			t.Errorf("%+v, %v", e, err)
		}
		_, err = r.Ask(t.Context(), question("other"))
		wantClass(t, err, exchange.ClassInvalid, "incorrect key ***")
		fragments := 0
		for _, rec := range r.ledger.recs {
			if rec.Kind == ledger.KindFragment {
				fragments++
			}
			if text := string(rec.Head) + string(rec.Body); strings.Contains(text, secret) || strings.Contains(text, secret[:len(secret)/2]) {
				t.Errorf("%s record holds the key: %s", rec.Kind, text)
			}
		}
		if fragments < 10 {
			t.Errorf("only %d fragments: the key was not split", fragments)
		}
	})
}

func TestALongAnswerIsRecordedWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		const pieces = 30
		text := strings.Repeat("x", 40_000)
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
			s.charge(r, usage)
			sw := openai.NewStreamWriter(w)
			for range pieces {
				sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{Delta: openai.Delta{Content: &text}}}})
			}
			sleepFor(r.Context(), 20*time.Second)
			stop := "stop"
			sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{FinishReason: &stop}}, Usage: &usage})
			sw.Done()
		}
		r, stop := start(t, s, nil)
		defer stop()
		done := make(chan error, 1)
		go func() { _, err := r.Ask(t.Context(), question("hi")); done <- err }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		early := r.ledger.exchanges(t)[0]
		if early.ErrorClass != exchange.ClassUnended || len(early.ResponseBody) < pieces*len(text) || early.Cost != early.Worst {
			t.Errorf("in the middle: %s, %d bytes, cost %d", early.ErrorClass, len(early.ResponseBody), early.Cost)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		e := r.ledger.exchanges(t)[0]
		if len(e.Answer.Content) != pieces*len(text) || !strings.HasSuffix(string(e.ResponseBody), "data: [DONE]\n\n") || e.ErrorText != "" {
			t.Errorf("content of %d bytes, body ends %.30q, %s", len(e.Answer.Content), e.ResponseBody[len(e.ResponseBody)-30:], e.ErrorText)
		}
		for _, rec := range r.ledger.recs {
			if len(rec.Body) > ledger.MaxFragment {
				t.Errorf("a fragment of %d bytes", len(rec.Body))
			}
		}
	})
}

func TestAShortAnswerIsOneWriteWithItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) { s.good(w, r, q) }
		r, stop := start(t, s, nil)
		defer stop()
		if _, err := r.Ask(t.Context(), question("hi")); err != nil {
			t.Fatal(err)
		}
		var kinds []ledger.Kind
		for _, rec := range r.ledger.recs {
			kinds = append(kinds, rec.Kind)
		}
		if !slices.Equal(kinds, []ledger.Kind{ledger.KindIntent, ledger.KindFragment, ledger.KindEnd}) {
			t.Errorf("records %v", kinds)
		}
	})
}

func TestCloseWaitsForWhatIsUnderWayAndSendsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teacher{}
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
			sleepFor(r.Context(), 5*time.Second)
			s.good(w, r, q)
		}
		r, stop := start(t, s, func(c *Config) { c.Limits.Concurrent = 1 })
		defer stop()
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			wg.Go(func() { _, errs[i] = r.Ask(t.Context(), question(numbered(i))) })
			synctest.Wait()
		}
		if err := r.Close(); err != nil || r.Stats().Answered != 1 {
			t.Errorf("%v, %+v", err, r.Stats())
		}
		wg.Wait()
		if errs[0] != nil || !errors.Is(errs[1], ErrClosed) || s.asked() != 1 {
			t.Errorf("%v, asked %d times", errs, s.asked())
		}
		if _, err := r.Ask(t.Context(), question("late")); !errors.Is(err, ErrClosed) {
			t.Errorf("late: %v", err)
		}
	})
}

func TestCheckFindsOutWithoutSpending(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		class  exchange.ErrorClass
		words  []string
	}{
		"there":            {200, `{"data":[{"id":"x"},{"id":"m"}]}`, "", nil},
		"there with a tag": {200, `{"data":[{"id":"m:latest"}]}`, "", nil},
		"one for any name": {200, `{"data":[{"id":"/models/a.gguf","owned_by":"llamacpp"}]}`, "", nil},
		"not there":        {200, `{"data":[{"id":"llama"},{"id":"mn"},{"id":"q1"},{"id":"q2"},{"id":"q3"},{"id":"q4"}]}`, exchange.ClassNotFound, []string{`offers "mn"`, "1 others"}},
		"no list":          {404, `{}`, "", nil},
		"nonsense":         {200, `<html>`, "", nil},
		"wrong key":        {401, `{"error":{"message":"bad key ` + secret + `"}}`, exchange.ClassAuth, []string{"API key", "[key]"}},
		"busy":             {503, ``, "", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &teacher{answer: func(n int, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
				if r.Header.Get("Authorization") == "" {
					t.Error("no key was sent")
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}}
			r, stop := start(t, s, nil)
			defer stop()
			err := r.Check(t.Context())
			if c.class == "" && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if c.class != "" {
				wantClass(t, err, c.class, c.words...)
			}
			if s.asked() != 0 || len(r.ledger.recs) != 0 {
				t.Errorf("%s: it spent", name)
			}
		})
	}
}

func TestImpossibleConfigurationsAreRefused(t *testing.T) {
	base := Config{BaseURL: "http://h/v1", Model: "m", Price: tariff, Budget: meter.NewBudget(1), Ledger: &memory{}, TermsID: "r", TermsBasis: "b"}
	if c, err := New(base); err != nil {
		t.Fatal(err)
	} else if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no scheme":    func(c *Config) { c.BaseURL = "h/v1" },
		"a password":   func(c *Config) { c.BaseURL = "http://u:" + secret + "@h/v1" },
		"a query":      func(c *Config) { c.BaseURL = "http://h/v1?key=" + secret },
		"no model":     func(c *Config) { c.Model = "" },
		"a line break": func(c *Config) { c.APIKey = secret + "\n" },
		"no ledger":    func(c *Config) { c.Ledger = nil },
		"no budget":    func(c *Config) { c.Budget = nil },
		"no terms":     func(c *Config) { c.TermsBasis = "" },
		"no time":      func(c *Config) { c.Deadline = -1 },
		"limits":       func(c *Config) { c.Limits.TPM = -1 },
		"a wire":       func(c *Config) { c.Wire = "telegraph" },
	} {
		cfg := base
		change(&cfg)
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProviders(t *testing.T) {
	for in, want := range map[string]string{
		"https://api.openai.com/v1": "openai", "https://eu.api.openai.com/v1": "openai", "https://notopenai.com": "notopenai.com",
		"http://127.0.0.1:80/v1": "loopback", "http://[::1]/v1": "loopback", "http://LOCALHOST/v1": "loopback", "https://api.deepseek.com": "deepseek.com",
	} {
		if got := ProviderOf(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestAWireIsPartOfTheTeachersNameInPromptKeysAndChatIsNot(t *testing.T) {
	for in, want := range map[string]string{"": "https://h/v1", "chat": "https://h/v1", "messages": "https://h/v1 messages", "responses": "https://h/v1 responses"} {
		w, err := ParseWire(in)
		if err != nil || w.Endpoint("https://h/v1") != want {
			t.Errorf("%q names the teacher %q, want %q (%v)", in, w.Endpoint("https://h/v1"), want, err)
		}
	}
	if _, err := ParseWire("telegraph"); err == nil {
		t.Error("a wire that nobody speaks was accepted")
	}
}

func TestAProviderIsFoundByItsNameOrItsAddress(t *testing.T) {
	for _, c := range []struct{ name, url, want string }{
		{"", "https://api.deepseek.com/v1", "deepseek"}, {"", "https://eu.api.openai.com/v1", "openai"}, {"", "https://notopenai.com/v1", ""},
		{"", "https://API.Anthropic.com./v1", "anthropic"}, {"vllm", "http://127.0.0.1:1/v1", "vllm"}, {"ollama", "https://api.openai.com/v1", "ollama"},
		{"", "http://127.0.0.1:8000/v1", ""},
	} {
		if q, err := QuirksOf(c.name, c.url); err != nil || q.Name != c.want {
			t.Errorf("%q at %s: %q, %v, want %q", c.name, c.url, q.Name, err, c.want)
		}
	}
	if _, err := QuirksOf("opanai", ""); err == nil || !strings.Contains(err.Error(), "openai") {
		t.Errorf("an unknown provider: %v", err)
	}
}
