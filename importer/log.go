package importer

import (
	"encoding/json"
	"strings"

	"retort/openai"
)

// Where a log keeps bodies.
var (
	requestFields  = []string{"request_body", "request"}
	responseFields = []string{"response_body", "response"}
)

// log reads a line of a log: request and response as bodies of a wire, each an
// object or a text; or messages or a prompt, and an answer beside them.
func (r *rowReader) log(d *doc, w *row) error {
	w.last = true
	if err := failed(d); err != nil {
		return err
	}
	if i, ok := d.anyOf(root, requestFields); ok {
		d.nodes[i].mark = taken
		if err := r.requestBody(d, w, i); err != nil {
			return err
		}
		j, ok := d.anyOf(root, responseFields)
		if !ok {
			return refuse(ReasonMissing, "it has a request and no response")
		}
		d.nodes[j].mark = taken
		return r.response(d, w, j)
	}
	if d.has(root, "choices") { // a response with the prompt put into it
		if err := r.prompt(d, w); err != nil {
			return err
		}
		for _, name := range []string{"choices", "usage", "model", "object", "created"} {
			d.take(root, name)
		}
		return w.completion(chatBody, d.bytes(root))
	}
	if usage, ok := d.find(root, "usage"); ok && d.nodes[usage].kind == '{' {
		var u openai.Usage
		if json.Unmarshal(d.bytes(usage), &u) == nil && u.Problem == "" {
			w.usage, d.nodes[usage].mark = u.Exchange(), taken
		}
	}
	if _, ok := d.anyOf(root, answerFields); !ok {
		if _, ok := d.anyOf(root, conversationFields); ok {
			return r.conversation(d, w)
		}
	}
	if i, ok := d.anyOf(root, responseFields); ok && r.isBody(d, i) {
		if err := r.prompt(d, w); err != nil {
			return err
		}
		d.nodes[i].mark = taken
		return r.response(d, w, i)
	}
	if err := r.plain(d, w); err != nil {
		return err
	}
	if reason, ok, err := d.takeText(root, []string{"finish_reason"}); err == nil && ok {
		w.turns[len(w.turns)-1].finish = reason
	}
	return nil
}

// failed refuses a row of a request that came to nothing.
func failed(d *doc) error {
	if i, ok := d.find(root, "error"); ok {
		switch k := d.nodes[i].kind; {
		case k == 'n', k == 'f', k == '"' && d.str(i) == "":
		default:
			return refuse(ReasonFailed, "its error is %s", clip(errorText(d, i)))
		}
	}
	for _, name := range []string{"status_code", "status"} {
		if i, ok := d.find(root, name); ok && d.nodes[i].kind == '0' && string(d.bytes(i)) != "0" && !strings.HasPrefix(string(d.bytes(i)), "2") {
			return refuse(ReasonFailed, "its %s is %s", name, clip(string(d.bytes(i))))
		}
	}
	return nil
}

// errorText is the code of an error that is an object, or its text.
func errorText(d *doc, i int32) string {
	for _, name := range []string{"code", "message", "type"} {
		if j, ok := d.find(i, name); ok && d.nodes[j].kind == '"' {
			return d.str(j)
		}
	}
	if d.nodes[i].kind == '"' {
		return d.str(i)
	}
	return string(d.bytes(i))
}

// isBody reports whether a value is the body of a response.
func (r *rowReader) isBody(d *doc, i int32) bool {
	if d.nodes[i].kind == '"' {
		return r.bodyIn(d.str(i)) != noBody
	}
	return d.bodyOf(i) != noBody
}

// requestBody reads the conversation of a request that is an object or a text.
func (r *rowReader) requestBody(d *doc, w *row, i int32) error {
	raw := d.bytes(i)
	if d.nodes[i].kind == '"' {
		raw = []byte(d.str(i))
	}
	in, err := r.body.parse(raw)
	if err != nil {
		return refuse(ReasonWrongType, "its request is not JSON: %v", err)
	}
	return r.chatRequest(&in, w)
}

// response reads the answer of a response that is an object or a text, server-
// sent events among them; a text that is no body is the answer itself.
func (r *rowReader) response(d *doc, w *row, i int32) error {
	if d.nodes[i].kind == '"' {
		if of := r.bodyIn(d.str(i)); of != noBody {
			return w.completion(of, []byte(d.str(i)))
		}
	} else if of := d.bodyOf(i); of != noBody {
		return w.completion(of, d.bytes(i))
	}
	if d.nodes[i].kind == '{' && d.has(i, "error") {
		e, _ := d.find(i, "error")
		return refuse(ReasonFailed, "its response is the error %s", clip(errorText(d, e)))
	}
	t, err := r.answer(d, i)
	if err != nil {
		return err
	}
	w.turns = append(w.turns, t)
	return nil
}
