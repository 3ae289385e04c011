// Package template renders conversations with the chat templates that models of
// Hugging Face bring along: Jinja, in the environment of transformers. What a
// template renders here is byte for byte what transformers renders with
// apply_chat_template(tokenize=False), or an error that says what is not
// supported; it is not a general Jinja.
//
// Reading the templates into trees, running the trees, scopes, loops and macros
// are gonja's. gonja's grammar of expressions and its values are not Python's,
// though: it knows no "if" within an expression, takes None for undefined, and
// multiplies any string. So a template's tags are cut here (lex.go), each
// expression is written anew as a chain of filters (expression.go), which gonja
// parses and calls, and every filter, down to "+", is one of ours (operator.go and
// after), as strict as Python's. A filter also counts what it does: a template
// comes from whoever made the model, so it may take bounded work and memory and
// reaches nothing but its input. The bounds are counts, not clocks, so that a
// template that is refused is refused everywhere.
package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// Template is a chat template. It does not change once made and is safe for
// concurrent use.
type Template struct {
	root    *nodes.Template
	context *exec.Context // constants, and undefined for every name
	uses    map[string]use
}

// Input is what a template renders. Messages, tools and extra values are JSON,
// so that objects keep their order and numbers their form.
type Input struct {
	Messages            []json.RawMessage          // objects as on OpenAI's wire: role, content, reasoning_content, tool_calls, …
	Tools               []json.RawMessage          // objects; nil is None to the template
	AddGenerationPrompt bool                       // ask for the start of the assistant's next message
	BOS, EOS            string                     // bos_token and eos_token; undefined if empty
	Extra               map[string]json.RawMessage // further variables, such as enable_thinking
	Now                 time.Time                  // what strftime_now tells
}

// Raised is the error of a template that called raise_exception.
type Raised struct{ Message string }

// Error returns the template's own message.
func (r *Raised) Error() string { return r.Message }

// Parse reads a template.
func Parse(source string) (parsed *Template, err error) {
	defer catch(&err, nil)
	if len(source) > mostSource {
		return nil, fmt.Errorf("template: it has %d bytes, more than %d", len(source), mostSource)
	}
	if !utf8.ValidString(source) {
		return nil, errors.New("template: it is not UTF-8")
	}
	t := &Template{uses: map[string]use{}}
	w := &writer{template: t, constants: map[any]string{}, values: map[string]any{}, names: map[string]*tokens.Token{}}
	w.write(lex(source))
	stream := tokens.NewStream([]*tokens.Token(w.out))
	if t.root, err = parser.NewParser("template", stream, settings, nil, structures).Parse(); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	t.context = exec.NewContext(w.values)
	return t, nil
}

// settings are gonja's; what differs between its lexer and Jinja's is settled
// before it sees a template.
var settings = config.New()

// Render returns the text of a conversation.
func (t *Template) Render(in Input) (text string, err error) {
	r := &run{}
	defer catch(&err, r)
	variables, err := r.variables(in)
	if err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	var out strings.Builder
	renderer := &exec.Renderer{
		Config: settings,
		Environment: &exec.Environment{
			Filters:           t.filters(r),
			ControlStructures: structures,
			Context:           t.context.Inherit().Update(exec.NewContext(variables)),
		},
		Template: empty,
		RootNode: t.root,
		Output:   &out,
	}
	if err := renderer.Execute(); err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	return out.String(), nil
}

// empty is what a renderer wants beside its nodes: it asks it for a loader, of
// which there is none.
var empty = func() *exec.Template {
	t, err := exec.NewTemplate("", settings, noFiles{}, &exec.Environment{ControlStructures: structures})
	if err != nil {
		panic(err) // it is always the same
	}
	return t
}()

type noFiles struct{}

func (noFiles) Read(path string) (io.Reader, error) {
	if path != "" {
		return nil, errors.New("a template reads no files")
	}
	return strings.NewReader(""), nil
}

func (noFiles) Resolve(path string) (string, error) { return path, nil }

func (n noFiles) Inherit(string) (loaders.Loader, error) { return n, nil }
