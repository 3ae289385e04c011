package verify

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unicode"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// charge is what a built-in function or method costs: recv is the value whose
// method it is, nil for a function. It runs before the function does.
type charge func(m *meter, recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error

// guarded returns fn behind its charge.
func guarded(fn *starlark.Builtin, c charge) *starlark.Builtin {
	out := starlark.NewBuiltin(fn.Name(), func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		m := meterOf(t)
		if err := m.work(1); err != nil {
			return nil, err
		}
		if c != nil {
			if err := c(m, fn.Receiver(), args, kwargs); err != nil {
				return nil, err
			}
		}
		return fn.CallInternal(t, args, kwargs)
	})
	if r := fn.Receiver(); r != nil {
		return out.BindReceiver(r)
	}
	return out
}

// guard is one of the functions that rewrite calls. Its arguments are always
// as many as it takes.
func guard(name string, f func(m *meter, args starlark.Tuple) (starlark.Value, error)) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return f(meterOf(t), args)
	})
}

// environment is what a check can name: Starlark's own functions, guarded, and
// the guards.
var environment = makeEnvironment()

func makeEnvironment() starlark.StringDict {
	env := starlark.StringDict{}
	for name, v := range starlark.Universe {
		fn, ok := v.(*starlark.Builtin)
		if !ok {
			continue // None, True, False
		}
		c, known := functions[name]
		if !known {
			// A function that a later version of the library brings.
			c = func(*meter, starlark.Value, starlark.Tuple, []starlark.Tuple) error {
				return fmt.Errorf("a check may not use %s", name)
			}
		}
		env[name] = guarded(fn, c)
	}
	env["getattr"] = starlark.NewBuiltin("getattr", getattr)
	for op := syntax.PLUS; op <= syntax.GTGT; op++ {
		env["$"+op.String()] = binaryGuard(op)
	}
	for _, op := range []syntax.Token{syntax.LT, syntax.GT, syntax.LE, syntax.GE, syntax.EQL, syntax.NEQ} {
		env["$"+op.String()] = compareGuard(op)
	}
	env["$in"], env["$not in"] = inGuard(syntax.IN), inGuard(syntax.NOT_IN)
	for assign, op := range map[string]syntax.Token{
		"$-=": syntax.MINUS, "$*=": syntax.STAR, "$/=": syntax.SLASH, "$//=": syntax.SLASHSLASH, "$%=": syntax.PERCENT,
		"$&=": syntax.AMP, "$^=": syntax.CIRCUMFLEX, "$<<=": syntax.LTLT, "$>>=": syntax.GTGT,
	} {
		env[assign] = binaryGuard(op)
	}
	env["$+="], env["$|="] = inPlace(syntax.PLUS), inPlace(syntax.PIPE)
	for name, op := range map[string]syntax.Token{"$unary+": syntax.PLUS, "$unary-": syntax.MINUS, "$unary~": syntax.TILDE} {
		env[name] = guard(name, func(m *meter, args starlark.Tuple) (starlark.Value, error) {
			if err := m.both(16 * size(args[0])); err != nil {
				return nil, err
			}
			return starlark.Unary(op, args[0])
		})
	}
	env["$attr"] = guard("$attr", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		return attribute(m, args[0], string(args[1].(starlark.String)), nil)
	})
	env["$index"] = guard("$index", func(m *meter, args starlark.Tuple) (starlark.Value, error) { return m.index(args[0], args[1]) })
	env["$into"] = guard("$into", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		if d, ok := args[0].(*starlark.Dict); ok {
			return d, m.chain(d.Len())
		}
		return args[0], nil
	})
	env["$each"] = guard("$each", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		if err := m.entry(args[0]); err != nil {
			return nil, err
		}
		m.unbound++
		if err := m.chain(m.unbound); err != nil {
			return nil, err
		}
		return args[0], m.alloc(entryBytes)
	})
	env["$all"] = guard("$all", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		m.unbound = max(0, m.unbound-max(0, starlark.Len(args[0])))
		return args[0], m.alloc(dictBytes)
	})
	env["$slot"] = guard("$slot", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		if err := m.entry(args[0]); err != nil {
			return nil, err
		}
		return args[0], m.alloc(entryBytes)
	})
	env["$dict"] = guard("$dict", func(m *meter, args starlark.Tuple) (starlark.Value, error) { return args[0], m.alloc(dictBytes) })
	env["$enter"] = guard("$enter", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		n, _ := args[0].(starlark.Int).Int64()
		return args[1], m.work(n / 4)
	})
	env["$spread"] = guard("$spread", spread)
	env["$cut"], env["$slice"] = sliceGuard("$cut"), sliceGuard("$slice")
	return env
}

// sliceGuard charges a slice once it is made: it is no larger than what it was
// cut from. Text that is cut in one piece is not copied.
func sliceGuard(name string) *starlark.Builtin {
	return guard(name, func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		switch v := args[0].(type) {
		case starlark.String:
			if name == "$cut" {
				return v, m.alloc(slotBytes)
			}
			return v, m.both(4 * int64(len(v))) // put together byte by byte
		case starlark.Bytes:
			return v, m.both(4 * int64(len(v)))
		default:
			n := slotBytes * int64(max(0, starlark.Len(v)))
			if name == "$slice" {
				n *= 4 // put together item by item
			}
			return v, m.both(objectBytes + n)
		}
	})
}

func spread(m *meter, args starlark.Tuple) (starlark.Value, error) {
	n, err := m.count(args[0])
	if err != nil {
		return nil, err
	}
	each := int64(4 * slotBytes)
	if _, ok := args[0].(*starlark.Dict); ok {
		each = objectBytes + 4*slotBytes
	}
	return args[0], m.both(times(n, each))
}

// attribute is x.name, a method behind its charge.
func attribute(m *meter, x starlark.Value, name string, otherwise starlark.Value) (starlark.Value, error) {
	if err := m.alloc(2 * objectBytes); err != nil {
		return nil, err
	}
	args := starlark.Tuple{x, starlark.String(name)}
	if otherwise != nil {
		args = append(args, otherwise)
	}
	v, err := starlark.Universe["getattr"].(*starlark.Builtin).CallInternal(m.thread, args, nil)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "getattr: "))
	}
	method, ok := v.(*starlark.Builtin)
	if !ok || method.Receiver() == nil {
		return v, nil
	}
	c, known := methods[x.Type()+"."+name]
	if !known {
		return nil, fmt.Errorf("a check may not use %s.%s", x.Type(), name)
	}
	return guarded(method, c), nil
}

// getattr is the function of that name; its methods are guarded as x.name's.
func getattr(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var x, otherwise starlark.Value
	var name string
	if err := starlark.UnpackPositionalArgs("getattr", args, kwargs, 2, &x, &name, &otherwise); err != nil {
		return nil, err
	}
	return attribute(meterOf(t), x, name, otherwise)
}

func compareGuard(op syntax.Token) *starlark.Builtin {
	return guard("$"+op.String(), func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		if err := m.comparing(args[0], args[1]); err != nil {
			return nil, err
		}
		ok, err := starlark.Compare(op, args[0], args[1])
		return starlark.Bool(ok), err
	})
}

func inGuard(op syntax.Token) *starlark.Builtin {
	return guard("$"+op.String(), func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		x, y := args[0], args[1]
		var err error
		switch y := y.(type) {
		case starlark.String:
			err = m.work(int64(len(y)) / wordsBytes)
		case *starlark.Dict, *starlark.Set:
			if err = m.chain(starlark.Len(y)); err == nil {
				err = m.key(x)
			}
		case *starlark.List, starlark.Tuple:
			err = m.finding(x, int64(starlark.Len(y)))
		case starlark.Bytes:
			err = m.work(int64(len(y)) / wordsBytes)
		}
		if err != nil {
			return nil, err
		}
		return starlark.Binary(op, x, y)
	})
}

// finding charges comparing a value with n others.
func (m *meter) finding(x starlark.Value, n int64) error {
	each, err := m.weigh(x, unlimited)
	if err != nil {
		return err
	}
	return m.work(times(n, each) / 4)
}

func binaryGuard(op syntax.Token) *starlark.Builtin {
	return guard("$"+op.String(), func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		if err := m.binary(op, args[0], args[1]); err != nil {
			return nil, err
		}
		return starlark.Binary(op, args[0], args[1])
	})
}

// inPlace is x += y and x |= y, which change a list or a dictionary rather
// than make another.
func inPlace(op syntax.Token) *starlark.Builtin {
	return guard("$"+op.String()+"=", func(m *meter, args starlark.Tuple) (starlark.Value, error) {
		x, y := args[0], args[1]
		method := ""
		switch x.(type) {
		case *starlark.List:
			if _, ok := y.(starlark.Iterable); ok && op == syntax.PLUS {
				method = "extend"
			}
		case *starlark.Dict:
			if _, ok := y.(*starlark.Dict); ok && op == syntax.PIPE {
				method = "update"
			}
		}
		if method == "" {
			if err := m.binary(op, x, y); err != nil {
				return nil, err
			}
			return starlark.Binary(op, x, y)
		}
		change, err := attribute(m, x, method, nil)
		if err != nil {
			return nil, err
		}
		if _, err := change.(*starlark.Builtin).CallInternal(m.thread, starlark.Tuple{y}, nil); err != nil {
			return nil, err
		}
		return x, nil
	})
}

// binary charges x op y.
func (m *meter) binary(op syntax.Token, x, y starlark.Value) error {
	if a, ok := x.(starlark.Int); ok {
		if b, ok := y.(starlark.Int); ok {
			return m.integers(op, a, b)
		}
	}
	switch op {
	case syntax.PLUS:
		return m.both(slotBytes + joined(x) + joined(y))
	case syntax.STAR:
		seq, n := x, y
		if _, ok := x.(starlark.Int); ok {
			seq, n = y, x
		}
		count, ok := n.(starlark.Int)
		if !ok || joined(seq) == 0 {
			return m.alloc(slotBytes)
		}
		k, fits := count.Int64()
		if !fits && count.Sign() > 0 {
			k = unlimited
		}
		return m.both(slotBytes + times(joined(seq), max(k, 0)))
	case syntax.PERCENT:
		format, ok := x.(starlark.String)
		if !ok {
			return m.alloc(slotBytes)
		}
		if err := m.both(int64(len(format))); err != nil {
			return err
		}
		return m.printing(y, int64(strings.Count(string(format), "%")))
	case syntax.PIPE, syntax.AMP, syntax.CIRCUMFLEX, syntax.MINUS:
		return m.merging(x, y)
	}
	return m.alloc(slotBytes)
}

// index is x[y].
func (m *meter) index(x, y starlark.Value) (starlark.Value, error) {
	switch x := x.(type) {
	case starlark.Mapping:
		if err := m.key(y); err != nil {
			return nil, err
		}
		if err := m.chain(starlark.Len(x)); err != nil {
			return nil, err
		}
		v, found, err := x.Get(y)
		if err == nil && !found {
			err = fmt.Errorf("key %v not in %s", y, x.Type())
		}
		return v, err
	case starlark.Indexable:
		n := x.Len()
		i, err := starlark.AsInt32(y)
		if err != nil {
			return nil, fmt.Errorf("%s index: %w", x.Type(), err)
		}
		at := i
		if at < 0 {
			at += n
		}
		if at < 0 || at >= n {
			return nil, fmt.Errorf("%s index %d out of range: it has %d items", x.Type(), i, n)
		}
		return x.Index(at), m.alloc(slotBytes)
	}
	return nil, fmt.Errorf("unhandled index operation %s[%s]", x.Type(), y.Type())
}

// merging charges combining dictionaries or sets.
func (m *meter) merging(x, y starlark.Value) error {
	switch x.(type) {
	case *starlark.Dict, *starlark.Set:
	default:
		return m.alloc(slotBytes)
	}
	if err := m.keys(x); err != nil {
		return err
	}
	if err := m.keys(y); err != nil {
		return err
	}
	return m.fill(0, int64(max(0, starlark.Len(x))+max(0, starlark.Len(y))))
}

// joined is the size in bytes of what joining and repeating copies.
func joined(v starlark.Value) int64 {
	switch v := v.(type) {
	case starlark.String:
		return int64(len(v))
	case starlark.Bytes:
		return int64(len(v))
	case *starlark.List:
		return slotBytes * int64(v.Len())
	case starlark.Tuple:
		return slotBytes * int64(len(v))
	}
	return 0
}

// integers charges arithmetic and bounds its result.
func (m *meter) integers(op syntax.Token, x, y starlark.Int) error {
	a, b := intBits(x), intBits(y)
	result := max(a, b) + 1
	switch op {
	case syntax.STAR:
		result = a + b
	case syntax.LTLT:
		n, _ := y.Int64()
		result = a + int(min(max(n, 0), maxIntBits))
	}
	if result > maxIntBits {
		return &limitError{ReasonMemory, fmt.Sprintf("the check makes an integer of more than %d bits", maxIntBits)}
	}
	if result <= 64 {
		return m.alloc(slotBytes)
	}
	if err := m.work(1 + int64(a/64)*int64(b/64)/16); err != nil {
		return err
	}
	return m.alloc(2*slotBytes + int64(result)/4)
}

func intBits(v starlark.Int) int {
	if n, ok := v.Int64(); ok {
		if n < 0 {
			n = -(n + 1)
		}
		return bits.Len64(uint64(n)) + 1
	}
	return v.BigInt().BitLen()
}

// pieces is how many parts a text splits into at sep, or at white space.
func pieces(s, sep string) int64 {
	if sep != "" {
		return 1 + int64(strings.Count(s, sep))
	}
	var n int64
	in := false
	for _, r := range s {
		space := unicode.IsSpace(r)
		if !space && !in {
			n++
		}
		in = !space
	}
	return n + 1
}
