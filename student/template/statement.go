package template

import (
	"fmt"
	"slices"

	controlstructures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// structures are gonja's own, those of them that do what Jinja's do and reach no
// file.
var structures = func() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"if", "for", "set", "macro", "with", "break", "continue"} {
		p, ok := controlstructures.All.Get(name)
		if !ok {
			panic("gonja has no " + name)
		}
		set[name] = p
	}
	return exec.NewControlStructureSet(set)
}()

// The tokens of what is written for gonja.
var (
	leftParenthesis  = &tokens.Token{Type: tokens.LeftParenthesis, Val: "("}
	rightParenthesis = &tokens.Token{Type: tokens.RightParenthesis, Val: ")"}
	and              = &tokens.Token{Type: tokens.And, Val: "and"}
	or               = &tokens.Token{Type: tokens.Or, Val: "or"}
	comma            = &tokens.Token{Type: tokens.Comma, Val: ","}
	pipe             = &tokens.Token{Type: tokens.Pipe, Val: "|"}
	dot              = &tokens.Token{Type: tokens.Dot, Val: "."}
	assign           = &tokens.Token{Type: tokens.Assign, Val: "="}
	in               = &tokens.Token{Type: tokens.In, Val: "in"}
	variableBegin    = &tokens.Token{Type: tokens.VariableBegin}
	variableEnd      = &tokens.Token{Type: tokens.VariableEnd}
	blockBegin       = &tokens.Token{Type: tokens.BlockBegin}
	blockEnd         = &tokens.Token{Type: tokens.BlockEnd}
)

// variable is what a name of a template is called in gonja, so that none of them
// means anything to it but loop.
func variable(name string) string {
	if name == "loop" {
		return name
	}
	return "$" + name
}

// writer writes a template anew for gonja.
type writer struct {
	template  *Template
	out       code
	constants map[any]string // the names of constants
	values    map[string]any // of names, before anything is set
	open      []block
	names     map[string]*tokens.Token
	macros    int // that are open
}

// named is a name as a token.
func (w *writer) named(name string) *tokens.Token {
	t := w.names[name]
	if t == nil {
		t = &tokens.Token{Type: tokens.Name, Val: name}
		w.names[name] = t
	}
	return t
}

// block is a block that has not ended.
type block struct {
	name   string
	line   int
	loop   bool     // break and continue are possible
	isElse bool     // its else has begun
	after  code     // follows its end
	names  []string // in the condition of a loop
}

func (w *writer) write(pieces []piece) {
	for _, p := range pieces {
		switch p.open {
		case 0:
			w.print(w.use(p.line, "out", operators["out"], w.constant(p.text), nil))
		case '{':
			e := &expression{writer: w, tokens: p.tag}
			x := e.tuple("", true)
			e.end()
			w.print(e.apply("out", x))
		default:
			(&expression{writer: w, tokens: p.tag}).statement()
		}
	}
	if n := len(w.open); n > 0 {
		syntax(w.open[n-1].line, "%s does not end", w.open[n-1].name)
	}
}

func (w *writer) print(x code) {
	w.out = append(append(append(w.out, variableBegin), x...), variableEnd)
}

func (w *writer) tag(name string, parts ...code) {
	w.out = append(w.out, blockBegin, w.named(name))
	for _, p := range parts {
		w.out = append(w.out, p...)
	}
	w.out = append(w.out, blockEnd)
}

// use filters x with something that an operator or a function does at a line.
func (w *writer) use(line int, name string, do func(*call) any, x code, args []code) code {
	key := fmt.Sprintf("%d %s", line, name)
	w.template.uses[key] = use{do, line}
	x = append(x, pipe, w.named(key))
	for i, a := range args {
		if i == 0 {
			x = append(x, leftParenthesis)
		} else {
			x = append(x, comma)
		}
		x = append(x, a...)
		if i == len(args)-1 {
			x = append(x, rightParenthesis)
		}
	}
	return x
}

func (e *expression) line() int { return e.tokens[max(0, e.at-1)].line }

func (e *expression) use(name string, do func(*call) any, x code, args []code) code {
	return e.writer.use(e.line(), name, do, x, args)
}

// apply filters x with an operator.
func (e *expression) apply(name string, x code, args ...code) code {
	return e.use(name, operators[name], x, args)
}

func (w *writer) none() code { return w.constant(nil) }

// constant is a value that does not change.
func (w *writer) constant(v any) code {
	var key any
	switch v := v.(type) {
	case nil, bool, int, string:
		key = v
		if name, ok := w.constants[key]; ok {
			return code{w.named(name)}
		}
	}
	name := fmt.Sprintf("#%d", len(w.values))
	if key != nil || v == nil {
		w.constants[key] = name
	}
	w.values[name] = v
	return code{w.named(name)}
}

// variable reads a name. To gonja every name is defined, some as undefined.
func (w *writer) variable(t token) code {
	if w.macros > 0 && (t.text == "caller" || t.text == "varargs" || t.text == "kwargs") {
		syntax(t.line, "%s of a macro is not supported", t.text)
	}
	if t.text == "self" {
		syntax(t.line, "self is not supported")
	}
	name := variable(t.text)
	if _, ok := w.values[name]; !ok {
		w.values[name] = missing("'" + t.text + "' is undefined")
		if f := globals[t.text]; f != nil {
			w.values[name] = &function{t.text, f}
		}
	}
	return code{w.named(name)}
}

// target reads a name that is to get a value.
func (e *expression) target() code {
	t := e.current()
	name := e.name()
	if slices.Contains([]string{"true", "false", "none", "True", "False", "None", "loop"}, name) {
		syntax(t.line, "%s cannot get a value", name)
	}
	return e.variable(t)
}

func (e *expression) begin(b block) {
	if len(e.open) == mostNested {
		e.fail("blocks are nested deeper than %d", mostNested)
	}
	b.line = e.tokens[0].line
	e.open = append(e.open, b)
}

// inner returns the innermost block.
func (e *expression) inner() *block {
	if len(e.open) == 0 {
		return &block{}
	}
	return &e.open[len(e.open)-1]
}

// statement writes a tag {% … %}.
func (e *expression) statement() {
	switch name := e.name(); name {
	case "if":
		condition := e.apply("bool", e.tuple("", false))
		e.begin(block{name: "if", loop: e.inner().loop})
		e.tag("if", condition)
	case "elif":
		if b := e.inner(); b.name != "if" || b.isElse {
			e.unexpectedTag(name)
		}
		e.tag("elif", e.apply("bool", e.tuple("", false)))
	case "else":
		b := e.inner()
		if b.name != "if" && b.name != "for" || b.isElse {
			e.unexpectedTag(name)
		}
		if b.isElse = true; b.name == "for" {
			b.loop = false
		}
		e.tag("else")
	case "for":
		e.loop()
	case "break", "continue":
		if !e.inner().loop {
			e.unexpectedTag(name)
		}
		e.tag(name)
	case "set":
		e.set()
	case "with":
		e.with()
	case "generation": // to be tracked in training; it is a scope
		e.begin(block{name: name})
		e.tag("with")
	case "macro":
		e.macro()
	case "filter":
		kept := code{e.named("#filtered")}
		e.tag("set", kept)
		x := e.filters(slices.Clone(kept))
		after := append(append(code{variableBegin}, e.apply("out", x)...), variableEnd)
		e.begin(block{name: name, after: after})
	case "endif", "endfor", "endset", "endwith", "endgeneration", "endmacro", "endfilter":
		e.finish(name)
	case "include", "import", "from", "extends":
		e.fail("the tag %s is not supported: a template reads no files", name)
	default:
		e.fail("the tag %s is not supported", name)
	}
	e.end()
}

func (e *expression) unexpectedTag(name string) {
	if b := e.inner(); b.name != "" {
		e.fail("the tag %s does not belong in %s of line %d", name, b.name, b.line)
	}
	e.fail("the tag %s does not belong here", name)
}

// finish ends a block.
func (e *expression) finish(tag string) {
	b := *e.inner()
	if "end"+b.name != tag {
		e.unexpectedTag(tag)
	}
	e.open = e.open[:len(e.open)-1]
	switch b.name {
	case "macro":
		e.macros--
	case "generation":
		tag = "endwith"
	case "filter":
		tag = "endset"
	}
	e.tag(tag)
	e.out = append(e.out, b.after...)
}
