package wire

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestCheckRefusesHostileJSON(t *testing.T) {
	deep := strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000)
	many := "{"
	for i := range 100 {
		many += `"k` + strings.Repeat("x", i) + `":1,`
	}
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"object":                    {`{"a":{"b":1},"c":[{"b":1},{"b":2}]}`, true},
		"value equal to a name":     {`{"a":"b","b":"a"}`, true},
		"allowed depth":             {strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), true},
		"one too deep":              {strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), false},
		"far too deep":              {deep, false},
		"repeated name":             {`{"a":1,"b":2,"a":3}`, false},
		"repeated name in disguise": {`{"a":1,"\u0061":3}`, false},
		"repeated among many":       {many + `"k":2}`, false},
		"many":                      {many + `"z":2}`, true},
		"not UTF-8":                 {"{\"a\":\"\xff\"}", false},
		"cut":                       {`{"a":`, false},
		"two values":                {`{} {}`, false},
		"empty":                     {``, false},
	} {
		if err := Check([]byte(c.in)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		} else if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v is not ErrMalformed", name, err)
		}
	}
}

const streamed = ": keep-alive\n\nretry: 500\nevent: message\nid: 7\ndata: {\"a\":1}\n\n" +
	"data: {\"a\":\ndata:2}\n\nevent: end\r\ndata: x\r\n\r\ndata: [DONE]\n\n"

func TestEventReaderGivesTheSameEventsByteByByte(t *testing.T) {
	read := func(r io.Reader) (all []Event) {
		er := NewEventReader(r)
		for {
			ev, err := er.Next()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, ev)
		}
	}
	whole := read(strings.NewReader(streamed))
	if len(whole) != 4 || whole[0].ID != "7" || whole[0].Retry != 500 || whole[0].Name != "message" || whole[1].Name != "" || string(whole[1].Data) != "{\"a\":\n2}" || whole[2].Name != "end" {
		t.Errorf("events: %+v", whole)
	}
	if d := cmp.Diff(whole, read(iotest.OneByteReader(strings.NewReader(streamed)))); d != "" {
		t.Errorf("byte by byte differs:\n%s", d)
	}
}

func TestWhatAStreamWriterSendsIsReadBack(t *testing.T) {
	rec := httptest.NewRecorder()
	w := NewStreamWriter(rec)
	for _, err := range []error{w.Comment("hello"), w.SendEvent("start", map[string]string{"a": "<b>"}), w.Send(1), w.RawEvent("raw", []byte("{")), w.Raw([]byte("[DONE]"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := ": hello\n\nevent: start\ndata: {\"a\":\"<b>\"}\n\ndata: 1\n\nevent: raw\ndata: {\n\ndata: [DONE]\n\n"
	if got := rec.Body.String(); got != want || !rec.Flushed || rec.Header().Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Errorf("sent %q with %v, want %q", got, rec.Header(), want)
	}
}
