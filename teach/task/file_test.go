package task

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"retort/exchange"
)

func read(t *testing.T, name, text string, opt FileOptions) *Corpus {
	t.Helper()
	c, err := File(write(t, name, text), opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func turn(role, content string) exchange.Message {
	return exchange.Message{Role: role, Content: content}
}

func shotsFile(t *testing.T, text string) *Shots {
	t.Helper()
	s, err := ReadShots(write(t, "shots.jsonl", text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPlainPromptsStayWhatTheyWere(t *testing.T) {
	p := read(t, "p.jsonl", `{"prompt":"Say  hello.","id":7}`, FileOptions{}).Problems()[0]
	want := Problem{
		Family: "file", ID: "file:c8e2c1437abb87b67330d0dd", Prompt: "Say  hello.", Row: "p.jsonl:1", RowID: "7",
		Fields: json.RawMessage(`{"prompt":"Say  hello.","id":7}`),
	}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]exchange.Message{turn("user", "Say  hello.")}, p.StudentMessages()); d != "" {
		t.Error(d)
	}
}

func TestTemplatesAreRenderedFromTheRow(t *testing.T) {
	rows := `{"a":"x\n{{b}}","b":{"c":[1,{"d":"deep"}],"n":null,"yes":true},"a.b":"dotted","n":3.50,"o":{"k": [1, 2]}}`
	for template, want := range map[string]string{
		"{{a}}":                             "x\n{{b}}", // what a field holds is no template
		"<{{ a }}|{{b.c.0}}|{{b.c.1.d}}>":   "<x\n{{b}}|1|deep>",
		"{{a.b}} {{n}} {{b.yes}}":           "dotted 3.50 true",
		"{{o}} {{b.c}}":                     `{"k":[1,2]} [1,{"d":"deep"}]`,
		`\{{a}} {{a.b}} }} {x}`:             "{{a}} dotted }} {x}",
		"{{b.n?}}{{zz?}}{{b.c.9.x?}}.{{n}}": ".3.50",
	} {
		c := read(t, "p.jsonl", rows, FileOptions{Template: template})
		p := c.Problems()[0]
		if p.Prompt != want || p.Messages != nil || p.Student != nil {
			t.Errorf("%q gives %q, messages %v, want %q", template, p.Prompt, p.Messages, want)
		}
	}
	csv := read(t, "p.csv", "subject,body\nCard,\"It\nfails\"\nCrash,\n", FileOptions{Template: "Subject: {{subject}}\n\n{{body}}"})
	if got := prompts(csv.Problems()); !slices.Equal(got, []string{"Subject: Card\n\nIt\nfails", "Subject: Crash\n\n"}) {
		t.Errorf("a CSV gives %q", got)
	}
}

func TestTemplateErrorsSayWhereAndWhatIsMeant(t *testing.T) {
	row := `{"id":1,"body":"x","customer":{"name":"Ann","tier":null},"list":[1]}`
	for _, c := range []struct {
		template string
		want     []string
	}{
		{"Hi\n {{bodi}}", []string{"p.jsonl:2:", "{{bodi}}", "line 2, column 2", `"id", "body", "customer"`, "did you mean {{body}}?"}},
		{"{{customer.nam}}", []string{"p.jsonl:2:", `"customer" has "customer.name", "customer.tier"`, "did you mean {{customer.name}}?"}},
		{"{{customer.tier}}", []string{"p.jsonl:2:31:", "null here", "{{customer.tier?}}"}},
		{"{{body.x}}", []string{"p.jsonl:2:", `"body" has no fields`}},
		{"{{list.1}}", []string{"p.jsonl:2:", `"list.0"`}},
		{"no field", []string{"template:1:1:", "names no field", "{{field}}"}},
		{"a\nb {{body", []string{"template:2:3:", "not closed", `\{{`}},
		{"{{a {{b}}", []string{"template:1:1:", "not closed"}},
		{"{{ }}", []string{"template:1:1:", "names no field"}},
		{"{{?}}", []string{"template:1:1:", "names no field"}},
		{" {{zz?}} ", []string{"p.jsonl:2:", "empty prompt"}},
	} {
		_, err := File(write(t, "p.jsonl", "\n"+row), FileOptions{Template: c.template})
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v does not say %q", c.template, err, w)
			}
		}
	}
	_, err := File(write(t, "p.csv", "subject,body\na,b\n"), FileOptions{Field: "Body"})
	if err == nil || !strings.Contains(err.Error(), `did you mean "body"?`) {
		t.Errorf("a mistyped field: %v", err)
	}
}

func TestWhatStandsBeforeTheQuestion(t *testing.T) {
	shots := shotsFile(t, `{"body":"Crash!","answer":{"team": "tech", "n": 1}}
{"prompt":"Ticket: as it stands","answer":"  ok"}

{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":[{"type":"text","text":"q"},{"type":"text","text":"2"}]},{"role":"assistant","content":"a2"}]}
{"body":"Lost","label":["x"]}`)
	file := `{"id":"T1","body":"Card fails","label":{"team": "billing"}}` + "\n" + `{"id":"T2","body":"Hi","label":{"team":"none"}}`
	opt := FileOptions{Template: "Ticket: {{body}}", System: "Sort.\n", Shots: shots, Gold: "label", ID: "id"}
	c := read(t, "t.jsonl", file, opt)
	p := c.Problems()[0]
	before := []exchange.Message{
		turn("system", "Sort.\n"),
		turn("user", "Ticket: Crash!"), turn("assistant", `{"team":"tech","n":1}`),
		turn("user", "Ticket: as it stands"), turn("assistant", "  ok"),
		turn("user", "q"), turn("assistant", "a"), turn("user", "q2"), turn("assistant", "a2"),
		turn("user", "Ticket: Lost"), turn("assistant", `["x"]`),
	}
	want := append(slices.Clone(before), turn("user", "Ticket: Card fails"))
	if d := cmp.Diff(want, p.Messages); d != "" {
		t.Error(d)
	}
	if p.Student != nil || p.RowID != "T1" || p.Prompt != "Ticket: Card fails" || string(p.Gold) != `{"team":"billing"}` || p.Answer != string(p.Gold) || !c.HasGold() {
		t.Errorf("%+v", p)
	}
	if m := c.Mask(p.Prompt); m != "Card fails" {
		t.Errorf("the mask leaves %q", m)
	}
	plain := read(t, "t.jsonl", file, FileOptions{Template: "Ticket: {{body}}"}).Problems()[0]
	if plain.ID != p.ID {
		t.Error("what stands before a question makes another problem of it")
	}
	for name, o := range map[string]struct {
		student StudentPrompt
		want    []exchange.Message
	}{
		"all kept":  {StudentPrompt{System: StudentKeep, Shots: StudentKeep, Template: StudentKeep}, nil},
		"no system": {StudentPrompt{System: StudentDrop}, want[1:]},
		"no shots":  {StudentPrompt{Shots: StudentDrop}, []exchange.Message{want[0], want[11]}},
		"neither":   {StudentPrompt{System: StudentDrop, Shots: StudentDrop}, want[11:]},
		"another":   {StudentPrompt{System: StudentDrop, Shots: StudentDrop, Template: "{{id?}}> {{body}}"}, []exchange.Message{turn("user", "T1> Card fails")}},
		"another, shots": {StudentPrompt{System: StudentDrop, Template: "{{body}}!"}, []exchange.Message{
			turn("user", "Crash!!"), want[2], want[3], want[4], want[5], want[6], want[7], want[8], turn("user", "Lost!"), want[10], turn("user", "Card fails!")}},
	} {
		opt.Student = o.student
		q := read(t, "t.jsonl", file, opt).Problems()[0]
		if d := cmp.Diff(o.want, q.Student); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
		if d := cmp.Diff(want, q.Messages); d != "" {
			t.Errorf("%s: the teacher is sent something else:\n%s", name, d)
		}
	}
	opt = FileOptions{Field: "body", Template: "Ticket: {{body}}", Student: StudentPrompt{Template: StudentDrop}}
	if q := read(t, "t.jsonl", file, opt).Problems()[0]; q.Messages != nil || !cmp.Equal(q.Student, []exchange.Message{turn("user", "Card fails")}) {
		t.Errorf("without a template the student reads %+v", q.Student)
	}
	opt = FileOptions{Field: "body", Student: StudentPrompt{System: StudentDrop, Shots: StudentDrop, Template: StudentDrop}}
	if q := read(t, "t.jsonl", file, opt).Problems()[0]; q.Messages != nil || q.Student != nil {
		t.Errorf("there is nothing to drop, but %+v", q)
	}
}

func TestShotsErrorsSayWhere(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"s.jsonl", `{"prompt":"a"}`, `s.jsonl:1: there is no field "answer"`},
		{"s.jsonl", "\n" + `{"bodi":"a","answer":"b"}`, `s.jsonl:2: the template wants {{body}} (its line 1, column 1), which the row does not have; it has "bodi", "answer"; did you mean {{bodi}}?`},
		{"s.jsonl", `{"body":"a","answer":" "}`, `s.jsonl:1:22: "answer" is empty`},
		{"s.jsonl", `{"messages":[{"role":"user","content":"a"}]}`, "s.jsonl:1:13: a shot ends with the assistant's answer"},
		{"s.jsonl", `{"messages":[{"role":"system","content":"a"},{"role":"assistant","content":"a"}]}`, "no system prompt"},
		{"s.jsonl", `{"messages":[]}`, "holds no messages"},
		{"s.jsonl", ``, "holds no shots"},
		{"s.csv", `a`, ".jsonl"},
	} {
		s, err := ReadShots(write(t, c.name, c.text))
		if err == nil {
			_, err = File(write(t, "p.jsonl", `{"body":"x"}`), FileOptions{Template: "{{body}}", Shots: s})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v does not say %q", c.text, err, c.want)
		}
	}
}

func TestConversationsAreAsked(t *testing.T) {
	file := `{"id":1,"messages":[{"role":"system","content":"Own."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello","reasoning_content":"greet"},{"role":"user","content":"Time?"}]}
{"id":2,"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"clock","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","name":"clock","content":"12:00"}]}
{"id":3,"messages":[{"role":"user","content":"Other"},{"role":"assistant","content":"Hm"},{"role":"user","content":"Time?"}]}`
	shots := shotsFile(t, `{"prompt":"q","answer":"a"}`)
	c := read(t, "c.jsonl", file, FileOptions{Messages: "messages", System: "Common.", Shots: shots, Student: StudentPrompt{System: StudentDrop}})
	ps := c.Problems()
	shot := []exchange.Message{turn("user", "q"), turn("assistant", "a")}
	call := exchange.Message{Role: "assistant", ToolCalls: []exchange.ToolCall{{ID: "c1", Name: "clock", Arguments: "{}"}}}
	turns := [][]exchange.Message{
		{turn("user", "Hi"), {Role: "assistant", Content: "Hello", Reasoning: "greet"}, turn("user", "Time?")},
		{turn("user", "Hi"), call, {Role: "tool", Name: "clock", ToolCallID: "c1", Content: "12:00"}},
		{turn("user", "Other"), turn("assistant", "Hm"), turn("user", "Time?")},
	}
	for i, system := range []string{"Own.", "Common.", "Common."} {
		want := slices.Concat([]exchange.Message{turn("system", system)}, shot, turns[i])
		if d := cmp.Diff(want, ps[i].Messages); d != "" {
			t.Errorf("row %d:\n%s", i, d)
		}
		if d := cmp.Diff(want[1:], ps[i].Student); d != "" {
			t.Errorf("row %d, student:\n%s", i, d)
		}
	}
	if ps[0].Said != "Hi\nHello\nTime?" || ps[0].Particular() != ps[0].Said {
		t.Errorf("said %q", ps[0].Said)
	}
	if ps[0].Prompt != "Time?" || ps[1].Prompt != "Hi" || ps[0].ID == ps[2].ID {
		t.Errorf("prompts %q, ids %s and %s", prompts(ps), ps[0].ID, ps[2].ID)
	}
	same := read(t, "c.jsonl", `{"m":[{"role":"developer","content":"X"},{"role":"user","content":" Hi"},{"role":"assistant","content":"Hello"},{"role":"user","content":[{"type":"text","text":"Time?"}]}]}`,
		FileOptions{Messages: "m"}).Problems()[0]
	if same.ID != ps[0].ID || same.Messages[0].Role != "system" {
		t.Errorf("the same turns are %s and %s", same.ID, ps[0].ID)
	}
	for _, c := range []struct{ messages, want string }{
		{`"hi"`, `"messages" is not an array`},
		{`null`, `"messages" is not an array`},
		{`[]`, `holds no messages`},
		{`[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]`, "c.jsonl:1:13: \"messages\" ends with the assistant's turn"},
		{`[{"role":"system","content":"a"}]`, "no message of the role user"},
		{`[{"role":"tool","content":""}]`, "no message of the role user"},
		{`[{"role":"bot","content":"a"}]`, `messages[0]: the role "bot"`},
		{`[{"from":"human","value":"a"}]`, `messages[0]: has no role`},
		{`[{"role":"user","content":"a"},{"role":"system","content":"b"}]`, "messages[1]: only the first"},
		{`[{"role":"user","content":[{"type":"image_url"}]}]`, `"image_url"; only text`},
		{`[{"role":"user","content":{"a":1}}]`, "neither a text nor"},
		{`[{"role":"user","content":" "}]`, "the user says nothing"},
		{`[{"role":"assistant","tool_calls":[{"id":"x"}]}]`, "names no function"},
		{`[7]`, "messages[0]: is not a message"},
	} {
		_, err := File(write(t, "c.jsonl", `{"messages":`+c.messages+`}`), FileOptions{Messages: "messages"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.messages, err, c.want)
		}
	}
}

func TestOptionsThatExcludeEachOther(t *testing.T) {
	for want, opt := range map[string]FileOptions{
		"name one":                {Messages: "m", Field: "f"},
		"leave it out":            {Messages: "m", Template: "{{a}}"},
		"nothing to render":       {Messages: "m", Student: StudentPrompt{Template: "{{a}}"}},
		`system is "no"`:          {Student: StudentPrompt{System: "no"}},
		`shots is "maybe"`:        {Student: StudentPrompt{Shots: "maybe"}},
		"student prompt's templa": {Student: StudentPrompt{Template: "none"}},
	} {
		if _, err := File(write(t, "p.jsonl", `{"prompt":"a","m":[]}`), opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v does not say %q", opt, err, want)
		}
	}
}

func TestRowIDs(t *testing.T) {
	two := func(a, b string) string { return `{"prompt":"a","key":` + a + "}\n" + `{"prompt":"b","key":` + b + `}` }
	c := read(t, "p.jsonl", two(`"x"`, `12`), FileOptions{ID: "key"})
	if ps := c.Problems(); ps[0].RowID != "x" || ps[1].RowID != "12" {
		t.Errorf("ids %q and %q", ps[0].RowID, ps[1].RowID)
	}
	for _, c := range []struct{ text, want string }{
		{two(`"x"`, `"x"`), `p.jsonl:2:21: the id "x" is that of row p.jsonl:1 already`},
		{two(`"x"`, `""`), "is empty"},
		{two(`"x"`, `{}`), "not a string"},
		{`{"prompt":"a"}`, `no field "key"`},
	} {
		if _, err := File(write(t, "p.jsonl", c.text), FileOptions{ID: "key"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.text, err, c.want)
		}
	}
	// A field that merely happens to be called id is taken as far as it goes.
	c = read(t, "p.jsonl", `{"prompt":"a","id":"7"}`+"\n"+`{"prompt":"b","id":"7"}`+"\n"+`{"prompt":"c","id":null}`+"\n"+`{"prompt":"d"}`, FileOptions{})
	var got []string
	for _, p := range c.Problems() {
		got = append(got, p.RowID)
	}
	if !slices.Equal(got, []string{"7", "7", "", ""}) {
		t.Errorf("ids %q", got)
	}
}

func TestGoldObjectsAreComparedByValue(t *testing.T) {
	c := read(t, "p.jsonl", `{"prompt":"a","gold":{"x":1,"y":[true,null]}}`, FileOptions{Gold: "gold"})
	p := c.Problems()[0]
	for answer, want := range map[string]string{
		`{"x":1,"y":[true,null]}`: ReasonCorrect, "```json\n{ \"y\": [true, null],\n \"x\": 1.0 }\n```": ReasonCorrect, "``` {\"x\":1,\"y\":[true,null]} ```": ReasonCorrect,
		`{"x":2,"y":[true,null]}`: ReasonWrong, `{"x":1}`: ReasonWrong, `{"x":1`: ReasonUnparsable, "": ReasonNoAnswer, "x is 1": ReasonUnparsable,
	} {
		if v := c.Verify(p, answer); v.Reason != want || v.Correct != (want == ReasonCorrect) {
			t.Errorf("%q gets %+v, want %s", answer, v, want)
		}
	}
}

type parquetAddress struct {
	Street string `parquet:"street"`
	Number *int32 `parquet:"number,optional"`
}

type parquetRow struct {
	ZBody    string           `parquet:"body,zstd"` // the file's order is that of the fields, not the alphabet's
	ID       int64            `parquet:"id"`
	Note     *string          `parquet:"note,optional"`
	Price    float64          `parquet:"price"`
	Open     bool             `parquet:"open"`
	Tags     []string         `parquet:"tags,list"`
	Old      []int32          `parquet:"old"` // repeated, without a list around it
	Home     parquetAddress   `parquet:"home"`
	Others   []parquetAddress `parquet:"others,list"`
	Day      int32            `parquet:"day,date"`
	At       time.Time        `parquet:"at,timestamp(millisecond)"`
	Cents    int64            `parquet:"cents,decimal(2:10)"`
	Count    uint32           `parquet:"count"`
	Code     [16]byte         `parquet:"code,uuid"`
	Messages []parquetMessage `parquet:"messages,list"`
}

type parquetMessage struct {
	Role    string `parquet:"role"`
	Content string `parquet:"content"`
}

func TestParquetIsRead(t *testing.T) {
	note, number := "x", int32(7)
	rows := []parquetRow{
		{
			ZBody: "Card fails", ID: 1 << 60, Note: &note, Price: 1.5, Open: true, Tags: []string{"a", "b"}, Old: []int32{1, 2}, Home: parquetAddress{"Oak", &number},
			Others: []parquetAddress{{"Elm", nil}, {"Ash", &number}}, Day: 20000, At: time.Date(2025, 1, 2, 3, 4, 5, 6e6, time.UTC), Cents: -12345, Count: 4e9,
			Code:     [16]byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00},
			Messages: []parquetMessage{{"user", "Hi"}, {"assistant", "Yes?"}, {"user", "Bye"}},
		},
		{ZBody: "Größe?", Messages: []parquetMessage{{"user", "Solo"}}, At: time.Unix(0, 0)},
	}
	path := filepath.Join(t.TempDir(), "p.parquet")
	if err := parquet.WriteFile(path, rows); err != nil {
		t.Fatal(err)
	}
	c, err := File(path, FileOptions{Field: "body", ID: "id", System: "S"})
	if err != nil {
		t.Fatal(err)
	}
	ps := c.Problems()
	want := `{"body":"Card fails","id":1152921504606846976,"note":"x","price":1.5,"open":true,"tags":["a","b"],"old":[1,2],"home":{"street":"Oak","number":7},` +
		`"others":[{"street":"Elm","number":null},{"street":"Ash","number":7}],"day":"2024-10-04","at":"2025-01-02T03:04:05.006Z","cents":-123.45,"count":4000000000,` +
		`"code":"123e4567-e89b-12d3-a456-426614174000","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes?"},{"role":"user","content":"Bye"}]}`
	if d := cmp.Diff(want, string(ps[0].Fields)); d != "" {
		t.Error(d)
	}
	want = `{"body":"Größe?","id":0,"note":null,"price":0,"open":false,"tags":[],"old":[],"home":{"street":"","number":null},"others":[],"day":"1970-01-01","at":"1970-01-01T00:00:00Z",` +
		`"cents":0.00,"count":0,"code":"00000000-0000-0000-0000-000000000000","messages":[{"role":"user","content":"Solo"}]}`
	if d := cmp.Diff(want, string(ps[1].Fields)); d != "" {
		t.Error(d)
	}
	if ps[0].Row != "p.parquet:1" || ps[1].Row != "p.parquet:2" || ps[0].RowID != "1152921504606846976" || len(ps[0].Messages) != 2 || ps[1].Prompt != "Größe?" {
		t.Errorf("%+v", ps)
	}
	if c, err = File(path, FileOptions{Messages: "messages", ID: "id"}); err != nil || len(c.Problems()[0].Messages) != 3 || c.Problems()[1].Prompt != "Solo" {
		t.Errorf("conversations: %v", err)
	}
	if _, err := File(path, FileOptions{Field: "bode"}); err == nil || !strings.Contains(err.Error(), `p.parquet:1: there is no field "bode"`) || !strings.Contains(err.Error(), `did you mean "body"`) {
		t.Errorf("a mistyped field: %v", err)
	}
}

func TestBrokenParquetIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.parquet")
	type small struct {
		Body string   `parquet:"body"`
		Tags []string `parquet:"tags,list"`
	}
	if err := parquet.WriteFile(path, []small{{"a", nil}, {"b", []string{"x", "y"}}}); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, n := range []int{0, 3, 4, 12, len(good) / 2, len(good) - 1} {
		if _, err := File(write(t, "cut.parquet", string(good[:n])), FileOptions{Field: "body"}); err == nil || !strings.Contains(err.Error(), "cut.parquet") {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	for at := 0; at < len(good); at += 5 { // a flipped byte is refused, or does no harm; it never panics
		bad := slices.Clone(good)
		bad[at] ^= 0x41
		if _, err := File(write(t, "bad.parquet", string(bad)), FileOptions{Field: "body"}); err != nil {
			refused++
			if !strings.Contains(err.Error(), "bad.parquet") {
				t.Errorf("byte %d: %v does not name the file", at, err)
			}
		}
	}
	if refused == 0 {
		t.Error("no broken file was refused")
	}
}

func TestHostileFilesAreRefusedOrReadByRule(t *testing.T) {
	defer func(n int) { maxRow = n }(maxRow)
	maxRow = 1 << 20
	deep := strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000)
	for _, c := range []struct{ name, text, want string }{ // want "" if it is read
		{"deep.jsonl", `{"prompt":"a","x":` + deep + `}`, "deep.jsonl:1:"},
		{"surrogate.jsonl", `{"prompt":"a\ud800b"}`, "half a character"},
		{"surrogate.jsonl", `{"prompt":"a","id":"\udc00"}`, "half a character"},
		{"pair.jsonl", `{"prompt":"a\ud83d\ude00\ufffd"}`, ""},
		{"nul.jsonl", `{"prompt":"a\u0000b"}`, ""},
		{"rawnul.jsonl", "{\"prompt\":\"a\x00b\"}", "rawnul.jsonl:1:"},
		{"number.jsonl", `{"prompt":"a","id":1e999}`, ""},
		{"long.jsonl", `{"prompt":"` + strings.Repeat("x", 1<<19) + `"}`, ""},
		{"huge.jsonl", `{"prompt":"a"}` + "\n" + `{"prompt":"` + strings.Repeat("x", maxRow) + `"}`, "huge.jsonl:2: the row is larger than any prompt"},
		{"two.jsonl", `{"prompt":"a"}{"prompt":"b"}`, "two.jsonl:1:15:"},
		{"cr.jsonl", "{\"prompt\":\"a\"}\r{\"prompt\":\"b\"}\r", "cr.jsonl:1:"},
		{"array.jsonl", "[\n{\"prompt\":\"a\"}\n]", "array.jsonl:1:"},
		{"utf16.jsonl", "\xff\xfe{\x00", "utf16.jsonl:1:1: the text is not valid UTF-8"},
		{"proto.jsonl", `{"prompt":"a","__proto__":{"x":1},"":"empty name"}`, ""},
		{"quote.csv", "prompt\n\"never closed", "quote.csv:2"},
		{"quote.csv", "prompt\n\"" + strings.Repeat("x", 2<<20), "larger than any prompt"},
		{"bare.csv", "prompt\na \"b\" c\n", "bare.csv:2:3:"},
		{"bom.csv", "\ufeffprompt\na\n", ""},
		{"empty.csv", "prompt,\na,b\n", ""},
		{"semicolon.csv", "prompt;id\na;b\n", `"prompt;id"`},
		{"formula.csv", "prompt\n=1+1\n", ""},
	} {
		corpus, err := File(write(t, c.name, c.text), FileOptions{})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s is refused: %v", c.name, err)
		case c.want == "":
			if !json.Valid(corpus.Problems()[0].Fields) {
				t.Errorf("%s: fields %.200s", c.name, corpus.Problems()[0].Fields)
			}
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %.300v does not say %q", c.name, err, c.want)
		}
	}
}

func TestRenderedPromptsCollideAcrossFiles(t *testing.T) {
	var train, held strings.Builder
	for i := range 30 {
		fmt.Fprintf(&train, `{"body":"Ticket %d is open","n":%d}`+"\n", i, i)
	}
	for i := 20; i < 35; i++ { // other fields, other white space, the same text
		fmt.Fprintf(&held, "%d,\"Ticket  %d is open \"\n", i, i)
	}
	opt := FileOptions{Template: "Please sort:\n{{body}}\nThanks.", System: "S"}
	c := read(t, "t.jsonl", train.String(), opt)
	opt.Gold = "label"
	h := read(t, "h.csv", "label,body\n"+held.String(), opt)
	s := c.SplitFrom(h)
	if n := len(slices.Collect(s.Train)); len(s.Heldout) != 15 || n != 20 || len(s.Skipped) != 10 {
		t.Errorf("%d held out, %d to train, %d skipped", len(s.Heldout), n, len(s.Skipped))
	}
	for _, k := range s.Skipped {
		if k.Reason != SkipHeldout {
			t.Errorf("%s is skipped as %s", k.Problem.Row, k.Reason)
		}
	}
}

func FuzzFileRows(f *testing.F) {
	f.Add(`{"prompt":"a","id":1}`, "{{prompt}} {{id?}}")
	f.Add(`{"a":{"b":[1,"x"]}}`, `\{{ {{a.b.1}}`)
	f.Add("prompt\nx", "{{prompt}}")
	f.Fuzz(func(t *testing.T, text, template string) {
		for _, name := range []string{"f.jsonl", "f.csv"} {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, opt := range []FileOptions{{}, {Template: template}, {Messages: "prompt"}} {
				c, err := File(path, opt)
				if err != nil {
					continue
				}
				for _, p := range c.Problems() {
					if p.Prompt == "" || !json.Valid(p.Fields) || c.Mask(p.Prompt) == "" {
						t.Fatalf("%q gives %+v, masked %q", text, p, c.Mask(p.Prompt))
					}
				}
			}
		}
	})
}

// The file was written by pyarrow 26 with what other writers use and ours does
// not: dictionaries, large strings, nested lists, maps, data pages of the second
// version, groups of two rows.
func TestParquetOfOtherWritersIsRead(t *testing.T) {
	c, err := File("testdata/pyarrow.parquet", FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const same = `"ts":"2025-01-02T03:04:05.678901Z","tsn":"2025-01-02T03:04:05Z","d":"2025-01-02","dec":-1.25,`
	const last = `"b":"x","u8":255,"tm":"01:02:03","fs":[1,2]}`
	for i, want := range []string{
		`{"prompt":"Hi ü","id":1,"cat":"x","msgs":[{"role":"user","content":"Hi"}],"nested":[["a"],[]],"m":{"k":1,"l":2},` + same + `"f":null,"f32":0.1,` + last,
		`{"prompt":"b","id":2,"cat":"y","msgs":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"z"}],"nested":null,"m":{},` + same + `"f":1.5,"f32":1.5,` + last,
		`{"prompt":"c","id":3,"cat":"x","msgs":[{"role":"user","content":"c"}],"nested":[],"m":null,` + same + `"f":null,"f32":null,` + last,
		`{"prompt":"d","id":4,"cat":null,"msgs":[{"role":"user","content":"d"}],"nested":[[null,"b"],null],"m":{"z":null},` + same + `"f":1e+300,"f32":3,` + last,
	} {
		if d := cmp.Diff(want, string(c.Problems()[i].Fields)); d != "" {
			t.Errorf("row %d:\n%s", i+1, d)
		}
	}
}
