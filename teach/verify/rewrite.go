package verify

import (
	"fmt"
	"strconv"

	"go.starlark.net/syntax"
)

// rewrite changes a program so that each operation whose cost grows with its
// operands is a call of a guard: x + y becomes $+(x, y). A guard's name cannot
// be written in a program, so none can be called or replaced by one, and every
// expression keeps its place for errors.
func rewrite(f *syntax.File) error {
	r := &rewriter{}
	f.Stmts = r.stmts(f.Stmts)
	return r.err
}

// smallFunction is how many expressions and statements a function may have
// until each call is charged for the room that they may need.
const smallFunction = 256

type rewriter struct {
	temps int
	nodes int   // expressions and statements so far
	err   error // the first thing that is refused
}

func (r *rewriter) refuse(at syntax.Position, format string, args ...any) {
	if r.err == nil {
		r.err = syntax.Error{Pos: at, Msg: fmt.Sprintf(format, args...)}
	}
}

func ident(name string, at syntax.Position) *syntax.Ident {
	return &syntax.Ident{NamePos: at, Name: name}
}

func call(guard string, at syntax.Position, args ...syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{Fn: ident(guard, at), Lparen: at, Args: args, Rparen: at}
}

func literal(s string, at syntax.Position) syntax.Expr {
	return &syntax.Literal{Token: syntax.STRING, TokenPos: at, Raw: s, Value: s}
}

func count(n int, at syntax.Position) syntax.Expr {
	return &syntax.Literal{Token: syntax.INT, TokenPos: at, Raw: strconv.Itoa(n), Value: int64(n)}
}

func (r *rewriter) stmts(in []syntax.Stmt) []syntax.Stmt {
	var out []syntax.Stmt
	for _, s := range in {
		out = append(out, r.stmt(s)...)
	}
	return out
}

func (r *rewriter) stmt(s syntax.Stmt) []syntax.Stmt {
	r.nodes++
	switch s := s.(type) {
	case *syntax.AssignStmt:
		return r.assign(s)
	case *syntax.DefStmt:
		r.params(s.Params)
		before := r.nodes
		s.Body = r.stmts(s.Body)
		if n := r.nodes - before; n > smallFunction {
			enter := call("$enter", s.Def, count(n, s.Def), &syntax.TupleExpr{Lparen: s.Def, Rparen: s.Def})
			s.Body = append([]syntax.Stmt{&syntax.ExprStmt{X: enter}}, s.Body...)
		}
	case *syntax.ExprStmt:
		s.X = r.expr(s.X)
	case *syntax.ForStmt:
		s.Vars = r.target(s.Vars)
		s.X = r.expr(s.X)
		s.Body = r.stmts(s.Body)
	case *syntax.IfStmt:
		s.Cond = r.expr(s.Cond)
		s.True, s.False = r.stmts(s.True), r.stmts(s.False)
	case *syntax.ReturnStmt:
		s.Result = r.expr(s.Result)
	case *syntax.LoadStmt:
		r.refuse(s.Load, "a check may not load other files")
	case *syntax.WhileStmt:
		r.refuse(s.While, "there is no while; write `for _ in range(n)` and break")
	case *syntax.BranchStmt:
	default:
		start, _ := s.Span()
		r.refuse(start, "a check may not use this statement (%T)", s)
	}
	return []syntax.Stmt{s}
}

// assign rewrites x = y, and x += y into an assignment that evaluates the
// parts of x once, as it does.
func (r *rewriter) assign(s *syntax.AssignStmt) []syntax.Stmt {
	if s.Op == syntax.EQ {
		s.LHS, s.RHS = r.target(s.LHS), r.expr(s.RHS)
		return []syntax.Stmt{s}
	}
	guard := "$" + s.Op.String()
	set := func(to, value syntax.Expr) syntax.Stmt {
		return &syntax.AssignStmt{OpPos: s.OpPos, Op: syntax.EQ, LHS: to, RHS: value}
	}
	switch x := unparen(s.LHS).(type) {
	case *syntax.Ident:
		return []syntax.Stmt{set(x, call(guard, s.OpPos, ident(x.Name, x.NamePos), r.expr(s.RHS)))}
	case *syntax.IndexExpr:
		r.temps++
		object, key := fmt.Sprintf("$object%d", r.temps), fmt.Sprintf("$key%d", r.temps)
		at := x.Lbrack
		item := &syntax.IndexExpr{X: ident(object, at), Lbrack: at, Y: ident(key, at), Rbrack: x.Rbrack}
		return []syntax.Stmt{
			set(ident(object, at), call("$into", at, r.expr(x.X))),
			set(ident(key, at), call("$slot", at, r.expr(x.Y))),
			set(item, call(guard, s.OpPos, call("$index", at, ident(object, at), ident(key, at)), r.expr(s.RHS))),
		}
	}
	r.refuse(s.OpPos, "only a name or an item may stand before %s", s.Op)
	return nil
}

// target rewrites what is assigned to.
func (r *rewriter) target(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.Ident:
	case *syntax.ParenExpr:
		e.X = r.target(e.X)
	case *syntax.TupleExpr:
		for i := range e.List {
			e.List[i] = r.target(e.List[i])
		}
	case *syntax.ListExpr:
		for i := range e.List {
			e.List[i] = r.target(e.List[i])
		}
	case *syntax.IndexExpr:
		e.X, e.Y = call("$into", e.Lbrack, r.expr(e.X)), call("$slot", e.Lbrack, r.expr(e.Y))
	case *syntax.DotExpr:
		e.X = r.expr(e.X)
	default:
		start, _ := e.Span()
		r.refuse(start, "nothing can be assigned to this")
	}
	return e
}

// params rewrites the defaults of a function's parameters.
func (r *rewriter) params(params []syntax.Expr) {
	for _, p := range params {
		if b, ok := p.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			b.Y = r.expr(b.Y)
		}
	}
}

func (r *rewriter) exprs(list []syntax.Expr) {
	for i := range list {
		list[i] = r.expr(list[i])
	}
}

func (r *rewriter) expr(e syntax.Expr) syntax.Expr {
	r.nodes++
	switch e := e.(type) {
	case nil:
		return nil
	case *syntax.Ident, *syntax.Literal:
	case *syntax.ParenExpr:
		e.X = r.expr(e.X)
	case *syntax.BinaryExpr:
		e.X, e.Y = r.expr(e.X), r.expr(e.Y)
		if e.Op != syntax.AND && e.Op != syntax.OR {
			return call("$"+e.Op.String(), e.OpPos, e.X, e.Y)
		}
	case *syntax.UnaryExpr:
		e.X = r.expr(e.X)
		if e.Op != syntax.NOT {
			return call("$unary"+e.Op.String(), e.OpPos, e.X)
		}
	case *syntax.CallExpr:
		e.Fn = r.expr(e.Fn)
		r.args(e.Args)
	case *syntax.DotExpr:
		return call("$attr", e.Dot, r.expr(e.X), literal(e.Name.Name, e.NamePos))
	case *syntax.IndexExpr:
		return call("$index", e.Lbrack, r.expr(e.X), r.expr(e.Y))
	case *syntax.SliceExpr:
		guard := "$slice"
		if e.Step == nil {
			guard = "$cut"
		}
		e.X, e.Lo, e.Hi, e.Step = r.expr(e.X), r.expr(e.Lo), r.expr(e.Hi), r.expr(e.Step)
		return call(guard, e.Lbrack, e)
	case *syntax.ListExpr:
		r.exprs(e.List)
	case *syntax.TupleExpr:
		r.exprs(e.List)
	case *syntax.DictExpr:
		r.exprs(e.List)
		return call("$dict", e.Lbrace, e)
	case *syntax.DictEntry:
		e.Key, e.Value = call("$slot", e.Colon, r.expr(e.Key)), r.expr(e.Value)
	case *syntax.CondExpr:
		e.Cond, e.True, e.False = r.expr(e.Cond), r.expr(e.True), r.expr(e.False)
	case *syntax.LambdaExpr:
		r.params(e.Params)
		before := r.nodes
		e.Body = r.expr(e.Body)
		if n := r.nodes - before; n > smallFunction {
			e.Body = call("$enter", e.Lambda, count(n, e.Lambda), e.Body)
		}
	case *syntax.Comprehension:
		return r.comprehension(e)
	default:
		start, _ := e.Span()
		r.refuse(start, "a check may not use this expression (%T)", e)
	}
	return e
}

func (r *rewriter) comprehension(e *syntax.Comprehension) syntax.Expr {
	for _, c := range e.Clauses {
		switch c := c.(type) {
		case *syntax.ForClause:
			c.Vars, c.X = r.target(c.Vars), r.expr(c.X)
		case *syntax.IfClause:
			c.Cond = r.expr(c.Cond)
		}
	}
	if entry, ok := e.Body.(*syntax.DictEntry); ok {
		entry.Key, entry.Value = call("$each", entry.Colon, r.expr(entry.Key)), r.expr(entry.Value)
		return call("$all", e.Lbrack, e)
	}
	e.Body = r.expr(e.Body)
	return e
}

// args rewrites a call's arguments; *x and **x are charged for what they
// spread out.
func (r *rewriter) args(args []syntax.Expr) {
	for i, a := range args {
		switch a := a.(type) {
		case *syntax.BinaryExpr:
			if a.Op == syntax.EQ {
				a.Y = r.expr(a.Y)
				continue
			}
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				a.X = call("$spread", a.OpPos, r.expr(a.X))
				continue
			}
		}
		args[i] = r.expr(a)
	}
}

func unparen(e syntax.Expr) syntax.Expr {
	for {
		p, ok := e.(*syntax.ParenExpr)
		if !ok {
			return e
		}
		e = p.X
	}
}
