package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// readParquet calls take for each row. Values become JSON: text as strings,
// dates and times in ISO 8601, decimals as numbers, groups as objects, lists
// as arrays. A place's line is the number of the row, from 1.
func readParquet(path string, take func(place, row) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open prompts: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open prompts: %w", err)
	}
	at := place{path: path}
	taking := false // an error of take is not the file's
	defer func() {
		if r := recover(); r != nil { // the library panics on some broken files
			if taking {
				panic(r)
			}
			err = at.errorf(0, "not valid Parquet: %v", r)
		}
	}()
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: not valid Parquet: %w", path, err)
	}
	root := &parquetGroup{node: file.Root()}
	leaves := len(file.Schema().Columns())
	buffer := make([]parquet.Row, 64)
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		for {
			n, readErr := rows.ReadRows(buffer)
			for _, values := range buffer[:n] {
				at.line++
				r, err := root.row(at, values, leaves)
				if err == nil {
					taking = true
					err = take(at, r)
					taking = false
				}
				if err != nil {
					return errors.Join(err, rows.Close())
				}
			}
			if errors.Is(readErr, io.EOF) {
				break
			}
			if readErr != nil || n == 0 {
				return errors.Join(at.errorf(0, "not valid Parquet: row after this: %v", readErr), rows.Close())
			}
		}
		if err := rows.Close(); err != nil {
			return fmt.Errorf("%s: read: %w", path, err)
		}
	}
	return nil
}

// parquetGroup assembles records from columns, as described in "Dremel:
// Interactive Analysis of Web-Scale Datasets", section 4.
type parquetGroup struct{ node *parquet.Column }

func (g *parquetGroup) row(at place, values parquet.Row, leaves int) (row, error) {
	columns := make([][]parquet.Value, leaves)
	for _, v := range values {
		c := v.Column()
		columns[c] = append(columns[c], v)
	}
	r := row{values: map[string]json.RawMessage{}, columns: map[string]int{}}
	for _, field := range g.node.Columns() {
		n := leafCount(field)
		raw, err := assemble(nil, field, columns[:n], 0, 0)
		if err != nil {
			return row{}, at.errorf(0, "column %q: %v", field.Name(), err)
		}
		r.names = append(r.names, field.Name())
		r.values[field.Name()] = raw
		columns = columns[n:]
	}
	return r, nil
}

func leafCount(c *parquet.Column) int {
	if c.Leaf() {
		return 1
	}
	n := 0
	for _, f := range c.Columns() {
		n += leafCount(f)
	}
	return n
}

// assemble appends the JSON of a column whose leaves hold these values; def
// and rep are the levels of what is around it.
func assemble(out []byte, c *parquet.Column, leaves [][]parquet.Value, def, rep int) ([]byte, error) {
	for _, l := range leaves {
		if len(l) == 0 {
			return nil, errors.New("a value is missing")
		}
	}
	switch {
	case c.Optional():
		def++
		if int(leaves[0][0].DefinitionLevel()) < def {
			return append(out, "null"...), nil
		}
	case c.Repeated():
		return assembleList(out, c, c, leaves, def, rep)
	}
	return assembleOne(out, c, leaves, def, rep)
}

// assembleOne appends a value that is there.
func assembleOne(out []byte, c *parquet.Column, leaves [][]parquet.Value, def, rep int) ([]byte, error) {
	if c.Leaf() {
		return parquetValue(out, c, leaves[0][0])
	}
	inner := c.Columns()
	if len(inner) == 1 && inner[0].Repeated() {
		item := inner[0]
		switch logical(c).(type) {
		case *format.ListType:
			if items := item.Columns(); len(items) == 1 { // (LIST) { repeated group list { element } }
				item = items[0]
			}
			return assembleList(out, inner[0], item, leaves, def, rep)
		case *format.MapType:
			if len(item.Columns()) == 2 { // (MAP) { repeated group key_value { key; value } }
				return assembleMap(out, item, leaves, def, rep)
			}
		}
	}
	out = append(out, '{')
	for i, f := range inner {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, encode(f.Name())...), ':')
		n := leafCount(f)
		var err error
		if out, err = assemble(out, f, leaves[:n], def, rep); err != nil {
			return nil, err
		}
		leaves = leaves[n:]
	}
	return append(out, '}'), nil
}

// assembleList appends what repeats: item is the repeated column itself, or
// the one element that a list wraps in it.
func assembleList(out []byte, repeated, item *parquet.Column, leaves [][]parquet.Value, def, rep int) ([]byte, error) {
	def, rep = def+1, rep+1
	out = append(out, '[')
	if int(leaves[0][0].DefinitionLevel()) < def {
		return append(out, ']'), nil
	}
	rest := append([][]parquet.Value(nil), leaves...)
	for first := true; len(rest[0]) > 0; first = false {
		if !first {
			out = append(out, ',')
		}
		one := make([][]parquet.Value, len(rest))
		for i, l := range rest {
			n := min(1, len(l))
			for n < len(l) && l[n].RepetitionLevel() > rep {
				n++
			}
			if n == 0 {
				return nil, errors.New("its parts are of different length")
			}
			one[i], rest[i] = l[:n], l[n:]
		}
		var err error
		if item == repeated {
			out, err = assembleOne(out, item, one, def, rep)
		} else {
			out, err = assemble(out, item, one, def, rep)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

// assembleMap appends a map as an object; keys that are no texts are written
// as JSON.
func assembleMap(out []byte, pairs *parquet.Column, leaves [][]parquet.Value, def, rep int) ([]byte, error) {
	list, err := assembleList(nil, pairs, pairs, leaves, def, rep)
	if err != nil {
		return nil, err
	}
	var items []map[string]json.RawMessage
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, err
	}
	key, value := pairs.Columns()[0].Name(), pairs.Columns()[1].Name()
	seen := map[string]bool{}
	out = append(out, '{')
	for i, item := range items {
		name, err := templateText(item[key])
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("the key %q is there twice", name)
		}
		seen[name] = true
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, encode(name)...), ':'), item[value]...)
	}
	return append(out, '}'), nil
}

func logical(c *parquet.Column) format.LogicalTypeValue {
	if t := c.Type(); t != nil && t.LogicalType() != nil {
		return t.LogicalType().Value
	}
	return nil
}

// parquetValue appends one value as JSON.
func parquetValue(out []byte, c *parquet.Column, v parquet.Value) ([]byte, error) {
	t := logical(c)
	if d, ok := t.(*format.DecimalType); ok {
		return append(out, decimal(v, int(d.Scale))...), nil
	}
	switch v.Kind() {
	case parquet.Boolean:
		return strconv.AppendBool(out, v.Boolean()), nil
	case parquet.Int32, parquet.Int64:
		return append(out, integer(t, v)...), nil
	case parquet.Int96:
		return append(out, encode(int96Time(v.Int96()).Format(time.RFC3339Nano))...), nil
	case parquet.Float, parquet.Double:
		f, bits := v.Double(), 64
		if v.Kind() == parquet.Float {
			f, bits = float64(v.Float()), 32
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return append(out, "null"...), nil // as pandas writes what is missing
		}
		return append(out, strconv.FormatFloat(f, 'g', -1, bits)...), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		b := v.ByteArray()
		switch t.(type) {
		case *format.UUIDType:
			if len(b) == 16 {
				return append(out, encode(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))...), nil
			}
		case *format.JsonType:
			if json.Valid(b) && utf8.Valid(b) {
				return append(out, b...), nil
			}
		}
		if !utf8.Valid(b) {
			return nil, errors.New("the text is not valid UTF-8")
		}
		return append(out, encode(string(b))...), nil
	}
	return append(out, "null"...), nil
}

func integer(t format.LogicalTypeValue, v parquet.Value) []byte {
	n := v.Int64()
	if v.Kind() == parquet.Int32 {
		n = int64(v.Int32())
	}
	switch t := t.(type) {
	case *format.DateType:
		return encode(time.Unix(n*24*60*60, 0).UTC().Format(time.DateOnly))
	case *format.TimestampType:
		return encode(since1970(t.Unit.Value, n).Format(time.RFC3339Nano))
	case *format.TimeType:
		return encode(since1970(t.Unit.Value, n).Format("15:04:05.999999999"))
	case *format.IntType:
		switch {
		case t.IsSigned:
		case v.Kind() == parquet.Int32:
			return strconv.AppendUint(nil, uint64(v.Uint32()), 10)
		default:
			return strconv.AppendUint(nil, v.Uint64(), 10)
		}
	}
	return strconv.AppendInt(nil, n, 10)
}

func since1970(unit format.TimeUnitValue, n int64) time.Time {
	switch unit.(type) {
	case *format.MilliSeconds:
		return time.UnixMilli(n).UTC()
	case *format.MicroSeconds:
		return time.UnixMicro(n).UTC()
	}
	return time.Unix(0, n).UTC()
}

// decimal writes an unscaled number with that many places after the point.
func decimal(v parquet.Value, scale int) string {
	n := new(big.Int)
	switch v.Kind() {
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default: // big-endian, two's complement
		b := v.ByteArray()
		n.SetBytes(b)
		if len(b) > 0 && b[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
	}
	scale = min(max(scale, 0), 1000)
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Rat).SetFrac(n, power).FloatString(scale)
}

// int96Time reads the time that older writers keep as nanoseconds of a day and
// a Julian day.
func int96Time(v deprecated.Int96) time.Time {
	const epoch = 2440588 // the Julian day of 1970-01-01
	return time.Unix((int64(v[2])-epoch)*24*60*60, int64(uint64(v[1])<<32|uint64(v[0]))).UTC()
}
