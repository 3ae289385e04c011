package importer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// Strings are what jsontext says they are, however they are escaped.
func TestStringsAreUnescapedAsTheStandardSays(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"a", "long stretch without any", `\n`, `\t`, `\r`, `\b`, `\f`, `\/`, `\\`, `\"`, `\u0041`, `\u00e9`, `\u20AC`, `\uFFFF`, `\ud83d\ude00`, `\uD834\uDD1E`, "é", "漢", "😀", "\x7f"})
	rapid.Check(t, func(t *rapid.T) {
		quoted := `"` + strings.Join(rapid.SliceOfN(pieces, 0, 30).Draw(t, "pieces"), "") + `"`
		want, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			t.Fatal(err)
		}
		var std string
		if err := json.Unmarshal([]byte(quoted), &std); err != nil || std != string(want) {
			t.Fatalf("%s: %q, %v", quoted, std, err)
		}
		var p parser
		d, err := p.parse([]byte(`{"k":` + quoted + `}`))
		if err != nil {
			t.Fatal(err)
		}
		i, _ := d.find(root, "k")
		if got := d.str(i); got != string(want) {
			t.Fatalf("%s: %q, want %q", quoted, got, want)
		}
	})
}

func TestNamesAreFoundByWhatTheySay(t *testing.T) {
	var p parser
	d, err := p.parse([]byte(` { "a\u0062" : [ 1 , { "x" : null } ] , "" : "e" , "n": null , "t" : true , "f" : false } `))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ab": `[ 1 , { "x" : null } ]`, "": `"e"`, "n": "null", "t": "true", "f": "false"} {
		i, ok := d.find(root, name)
		if !ok || string(d.bytes(i)) != want {
			t.Errorf("%q: %v, %q", name, ok, d.bytes(i))
		}
	}
	if _, ok := d.take(root, "n", "zz"); ok {
		t.Error("null is something")
	}
	if string(d.extra()) != `{"ab":[ 1 , { "x" : null } ],"":"e","t":true,"f":false}` {
		t.Errorf("extra %s", d.extra())
	}
}
