package verify

import (
	"fmt"
	"math/bits"
	"strings"

	"go.starlark.net/starlark"
)

// functions are the charges of Starlark's functions. Its methods' are below.
// One that is in neither table cannot be used: a test holds them against the
// library.
var functions = map[string]charge{
	"abs":       nil,
	"all":       iterating(0),
	"any":       iterating(0),
	"bool":      nil,
	"bytes":     iterating(slotBytes),
	"chr":       fixed(slotBytes),
	"dict":      fillDict,
	"dir":       fixed(4096),
	"enumerate": iterating(objectBytes + 4*slotBytes),
	"fail":      printed,
	"float":     parsing,
	"getattr":   fixed(2 * objectBytes),
	"hasattr":   fixed(2 * objectBytes),
	"hash":      walking,
	"int":       parsing,
	"len":       nil,
	"list":      iterating(2 * slotBytes),
	"max":       ranked(1),
	"min":       ranked(1),
	"ord":       parsing,
	"print":     printed,
	"range":     fixed(objectBytes),
	"repr":      printed,
	"reversed":  iterating(2 * slotBytes),
	"set":       fillSet,
	"sorted":    ranked(0),
	"str":       printed,
	"tuple":     iterating(2 * slotBytes),
	"type":      fixed(slotBytes),
	"zip":       zipped,
}

var methods = map[string]charge{
	"bytes.elems": fixed(objectBytes),

	"dict.clear":      nil,
	"dict.get":        keyed(0),
	"dict.items":      receiving(objectBytes + 4*slotBytes),
	"dict.keys":       receiving(slotBytes),
	"dict.pop":        keyed(0),
	"dict.popitem":    fixed(objectBytes + 2*slotBytes),
	"dict.setdefault": keyed(entryBytes),
	"dict.update":     fillDict,
	"dict.values":     receiving(objectBytes + 4*slotBytes),

	"list.append": fixed(grownBytes),
	"list.clear":  receiving(0),
	"list.extend": iterating(grownBytes),
	"list.index":  searching,
	"list.insert": inserting,
	"list.pop":    moving,
	"list.remove": searching,

	"string.capitalize":     copying(4),
	"string.codepoint_ords": fixed(objectBytes),
	"string.codepoints":     fixed(objectBytes),
	"string.count":          copying(0),
	"string.elem_ords":      fixed(objectBytes),
	"string.elems":          fixed(objectBytes),
	"string.endswith":       copying(0),
	"string.find":           copying(0),
	"string.format":         formatting,
	"string.index":          copying(0),
	"string.isalnum":        copying(0),
	"string.isalpha":        copying(0),
	"string.isdigit":        copying(0),
	"string.islower":        copying(4),
	"string.isspace":        copying(0),
	"string.istitle":        copying(0),
	"string.isupper":        copying(4),
	"string.join":           joining,
	"string.lower":          copying(4),
	"string.lstrip":         copying(0),
	"string.partition":      copying(0),
	"string.removeprefix":   copying(0),
	"string.removesuffix":   copying(0),
	"string.replace":        replacing,
	"string.rfind":          copying(0),
	"string.rindex":         copying(0),
	"string.rpartition":     copying(0),
	"string.rsplit":         splittingFromEnd,
	"string.rstrip":         copying(0),
	"string.split":          splitting,
	"string.splitlines":     splitting,
	"string.startswith":     copying(0),
	"string.strip":          copying(0),
	"string.title":          copying(4),
	"string.upper":          copying(4),

	"set.add":                  keyed(entryBytes),
	"set.clear":                nil,
	"set.difference":           mergingSets,
	"set.discard":              keyed(0),
	"set.intersection":         mergingSets,
	"set.issubset":             mergingSets,
	"set.issuperset":           mergingSets,
	"set.pop":                  nil,
	"set.remove":               keyed(0),
	"set.symmetric_difference": mergingSets,
	"set.union":                mergingSets,
	"set.update":               mergingSets,
}

// fixed charges so many bytes.
func fixed(n int64) charge {
	return func(m *meter, _ starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) error { return m.alloc(n) }
}

// iterating charges so many bytes for each item of the first argument, and the
// work of going through them.
func iterating(each int64) charge {
	return func(m *meter, _ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
		if len(args) == 0 {
			return m.alloc(objectBytes)
		}
		n, err := m.count(args[0])
		if err != nil {
			return err
		}
		if s, ok := args[0].(starlark.String); ok { // bytes("…")
			n = int64(len(s)) / slotBytes
		}
		if err := m.work(n); err != nil {
			return err
		}
		return m.alloc(objectBytes + times(n, each))
	}
}

// receiving charges so many bytes for each item of the receiver.
func receiving(each int64) charge {
	return func(m *meter, recv starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) error {
		n := int64(starlark.Len(recv))
		if err := m.work(n / 4); err != nil {
			return err
		}
		return m.alloc(objectBytes + times(n, each))
	}
}

// copying charges so many times the text, and going through it and through the
// texts that are looked for.
func copying(factor int64) charge {
	return func(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
		s := recv.(starlark.String)
		n := int64(len(s))
		for _, a := range args {
			n += joined(a)
			if t, ok := a.(starlark.Tuple); ok {
				for _, e := range t {
					n += joined(e)
				}
			}
		}
		if err := m.work(n / wordsBytes); err != nil {
			return err
		}
		return m.alloc(objectBytes + factor*int64(len(s)))
	}
}

// parsing charges making a number of a text, or going through it.
func parsing(m *meter, _ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	for _, a := range args {
		s, ok := a.(starlark.String)
		if ok && len(s) > maxDigits {
			return &limitError{ReasonMemory, fmt.Sprintf("the check reads a number from a text of %d bytes; at most %d are possible", len(s), maxDigits)}
		}
		if err := m.both(slotBytes + joined(a)); err != nil {
			return err
		}
	}
	return nil
}

// printed charges writing all arguments as text.
func printed(m *meter, _ starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	n := int64(1)
	for _, kv := range kwargs { // sep=…
		if err := m.printing(kv[1], 1+int64(len(args))); err != nil {
			return err
		}
	}
	for _, a := range args {
		if err := m.printing(a, n); err != nil {
			return err
		}
	}
	return nil
}

func keyed(bytes int64) charge {
	return func(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
		if err := m.chain(starlark.Len(recv)); err != nil {
			return err
		}
		if len(args) > 0 {
			charge := m.key
			if bytes > 0 {
				charge = m.entry
			}
			if err := charge(args[0]); err != nil {
				return err
			}
		}
		return m.alloc(bytes + slotBytes)
	}
}

// fillDict charges dict and dict.update: pairs, or another dictionary, and
// named arguments.
func fillDict(m *meter, recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	n, have := int64(len(kwargs)), int64(0)
	if recv != nil {
		have = int64(starlark.Len(recv))
	}
	for _, a := range args {
		k, err := m.count(a)
		if err != nil {
			return err
		}
		n += k
	}
	if err := m.fill(have, n); err != nil {
		return err
	}
	for _, a := range args {
		if _, ok := a.(*starlark.Dict); ok {
			if err := m.keys(a); err != nil {
				return err
			}
			continue
		}
		if err := m.pairs(a); err != nil {
			return err
		}
	}
	return nil
}

// pairs charges the keys of a sequence of pairs.
func (m *meter) pairs(v starlark.Value) error {
	iter := starlark.Iterate(v)
	if iter == nil {
		return nil
	}
	defer iter.Done()
	var pair starlark.Value
	for iter.Next(&pair) {
		if starlark.Len(pair) != 2 {
			// Not a pair: the function refuses it, but goes through it first.
			if _, err := m.count(pair); err != nil {
				return err
			}
			if err := m.work(int64(max(0, starlark.Len(pair)))); err != nil {
				return err
			}
			continue
		}
		if err := m.keys(pair); err != nil {
			return err
		}
	}
	return nil
}

func fillSet(m *meter, _ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) == 0 {
		return m.alloc(dictBytes)
	}
	n, err := m.count(args[0])
	if err != nil {
		return err
	}
	if err := m.fill(0, n); err != nil {
		return err
	}
	return m.keys(args[0])
}

func mergingSets(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	n := int64(starlark.Len(recv))
	for _, a := range args {
		k, err := m.count(a)
		if err != nil {
			return err
		}
		n += k
	}
	if err := m.fill(0, n); err != nil {
		return err
	}
	for _, a := range args {
		if err := m.keys(a); err != nil {
			return err
		}
	}
	return m.keys(recv)
}

// ranked charges finding the largest of the items, or sorting them: n log² n
// comparisons and moves.
func ranked(linear int) charge {
	return func(m *meter, _ starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
		items := starlark.Value(args)
		if len(args) == 1 || linear == 0 && len(args) > 0 {
			items = args[0]
		}
		for _, kv := range kwargs {
			if kv[0] == starlark.String("iterable") {
				items = kv[1]
			}
		}
		n, err := m.count(items)
		if err != nil {
			return err
		}
		if err := m.alloc(objectBytes + times(n, 3*slotBytes)); err != nil {
			return err
		}
		iter := starlark.Iterate(items)
		if iter == nil {
			return nil
		}
		defer iter.Done()
		// A comparison looks at no more than the smaller of two has.
		var largest, second int64
		var x starlark.Value
		for iter.Next(&x) {
			k, err := m.weigh(x, unlimited)
			if err != nil {
				return err
			}
			switch {
			case k > largest:
				largest, second = k, largest
			case k > second:
				second = k
			}
		}
		passes := int64(1)
		if linear == 0 {
			log := int64(bits.Len64(uint64(n)))
			passes = 1 + log*log/4
		}
		return m.work(times(times(n, passes), 4+second) / 4)
	}
}

// zipped charges zip: as many tuples as the shortest argument has items.
func zipped(m *meter, _ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	shortest := int64(-1)
	for _, a := range args {
		n, err := m.count(a)
		if err != nil {
			return err
		}
		if shortest < 0 || n < shortest {
			shortest = n
		}
	}
	n := times(max(shortest, 0), int64(len(args)))
	if err := m.work(n); err != nil {
		return err
	}
	return m.alloc(objectBytes + times(n, 2*slotBytes) + times(max(shortest, 0), objectBytes))
}

// searching charges comparing a value with the items of a list.
func searching(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) == 0 {
		return nil
	}
	return m.finding(args[0], int64(starlark.Len(recv)))
}

// grownBytes is an item of a list that grows: each time the room is used up it
// moves to a place a quarter larger.
const grownBytes = 6 * slotBytes

func inserting(m *meter, recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	if err := m.alloc(grownBytes); err != nil {
		return err
	}
	return moving(m, recv, args, kwargs)
}

// walking charges going through a text.
func walking(m *meter, _ starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	for _, a := range args {
		if err := m.work(joined(a) / wordsBytes); err != nil {
			return err
		}
	}
	return nil
}

// moving charges shifting the items of a list.
func moving(m *meter, recv starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) error {
	if err := m.work(int64(starlark.Len(recv)) / wordsBytes); err != nil {
		return err
	}
	return m.alloc(2 * slotBytes)
}

// formatting charges str.format: each field may be the largest argument.
func formatting(m *meter, recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	s := string(recv.(starlark.String))
	if err := m.both(objectBytes + int64(len(s))); err != nil {
		return err
	}
	n := int64(strings.Count(s, "{"))
	for _, a := range args {
		if err := m.printing(a, n); err != nil {
			return err
		}
	}
	for _, kv := range kwargs {
		if err := m.printing(kv[1], n); err != nil {
			return err
		}
	}
	return nil
}

func joining(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) == 0 {
		return nil
	}
	iter := starlark.Iterate(args[0])
	if iter == nil {
		return nil
	}
	defer iter.Done()
	separator := int64(len(recv.(starlark.String)))
	var x starlark.Value
	for iter.Next(&x) {
		if err := m.work(1); err != nil {
			return err
		}
		// Twice: the text grows by doubling.
		if err := m.both(2 * (separator + joined(x))); err != nil {
			return err
		}
	}
	return nil
}

func replacing(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	s := string(recv.(starlark.String))
	if err := m.both(objectBytes + int64(len(s))); err != nil || len(args) < 2 {
		return err
	}
	old, _ := starlark.AsString(args[0])
	to, _ := starlark.AsString(args[1])
	n := int64(strings.Count(s, old))
	if len(args) > 2 {
		if most, err := starlark.AsInt32(args[2]); err == nil && most >= 0 {
			n = min(n, int64(most))
		}
	}
	return m.both(times(n, int64(max(0, len(to)-len(old)))))
}

func splitting(m *meter, recv starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	s := string(recv.(starlark.String))
	if err := m.work(int64(len(s)) / wordsBytes); err != nil {
		return err
	}
	sep := ""
	if len(args) > 0 {
		sep, _ = starlark.AsString(args[0])
	}
	n := max(pieces(s, sep), int64(strings.Count(s, "\n")))
	return m.both(objectBytes + times(n, 3*slotBytes))
}

// splittingFromEnd also charges the room that the library makes for as many
// parts as it is told to expect, and the part that it leaves whole.
func splittingFromEnd(m *meter, recv starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	if len(args) > 1 {
		most, err := starlark.AsInt32(args[1])
		if err == nil && most > 0 {
			if err := m.alloc(times(int64(most)+1, slotBytes)); err != nil {
				return err
			}
		}
		if err := m.both(int64(len(recv.(starlark.String)))); err != nil {
			return err
		}
	}
	return splitting(m, recv, args, kwargs)
}
