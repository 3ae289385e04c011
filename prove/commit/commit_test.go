package commit

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"retort/exchange"
	"retort/ledger"
	"retort/workspace"
)

// memory is a ledger in memory that can be told to fail.
type memory struct {
	mu   sync.Mutex
	recs []ledger.Record
	fail error
}

func (m *memory) Submit(done func(error), recs ...ledger.Record) {
	m.mu.Lock()
	err := m.fail
	if err == nil {
		m.recs = append(m.recs, recs...)
	}
	m.mu.Unlock()
	done(err)
}

func (m *memory) Append(_ context.Context, recs ...ledger.Record) error {
	var out error
	m.Submit(func(err error) { out = err }, recs...)
	return out
}

func (m *memory) Scan(_ context.Context, fn func(ledger.Record) error) error {
	m.mu.Lock()
	recs := m.recs
	m.mu.Unlock()
	for _, r := range recs {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func testKey(t testing.TB) Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, m *memory) *Log {
	t.Helper()
	l, err := Open(t.Context(), Options{Key: testKey(t), Ledger: m, History: m})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ask(account, prompt string) Request {
	return Request{Account: account, Messages: []exchange.Message{{Role: "user", Content: prompt}}, Share: 1}
}

func answer(s string) Arm {
	return Arm{Exchange: exchange.NewID(time.Now()), Answer: exchange.Answer{Content: s, FinishReason: "stop"}, OK: true}
}

func view(t testing.TB, m *memory) *View {
	t.Helper()
	v, err := ReadLog(t.Context(), m, testKey(t).Log())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestACoinIsCommittedServedAndOpened(t *testing.T) {
	m := &memory{}
	l := open(t, m)
	e := exchange.NewID(time.Now())
	r := ask("acme", "Tell me about stills.")
	coin, err := l.Flip(t.Context(), r, e)
	if err != nil {
		t.Fatal(err)
	}
	if v := view(t, m); len(v.Leaves) != 2 || v.Leaves[1].Kind != LeafCoin {
		t.Fatalf("after the flip the log holds %+v", v.Leaves)
	}
	arms := [2]Arm{answer("A still has a head."), answer("Stills are pots.")}
	if err := coin.Settle(t.Context(), arms); err != nil {
		t.Fatal(err)
	}
	if err := coin.Settle(t.Context(), arms); err == nil {
		t.Error("a coin is settled twice")
	}
	v := view(t, m)
	all := v.Entries(v.Tree.Size())
	if len(all) != 1 || all[0].Exchange != e || all[0].Exchanges != [2]exchange.ID{arms[0].Exchange, arms[1].Exchange} {
		t.Fatalf("entries %+v", all)
	}
	seed, err := testKey(t).OpenSeed(&all[0], r.Messages)
	if err != nil {
		t.Fatal(err)
	}
	if seed.Live() != coin.Live() || seed.PromptHash(r.Messages) != all[0].Coin.Prompt {
		t.Error("the opened coin is another")
	}
	for i, a := range arms {
		if seed.ArmHash(i, AnswerOf(a.Answer)) != all[0].Arms.Arms[i] || seed.ArmHash(1-i, AnswerOf(a.Answer)) == all[0].Arms.Arms[1-i] {
			t.Errorf("arm %d's hash does not hold", i)
		}
	}
	if _, err := testKey(t).OpenSeed(&all[0], ask("", "Tell me about pots.").Messages); err == nil {
		t.Error("another prompt opens the coin")
	}
	for _, raw := range v.Raw {
		for _, secret := range []string{"still", "pots", testKey(t).Log() + string(bytes.Repeat([]byte{7}, 8))} {
			if strings.Contains(strings.ToLower(string(raw)), secret) {
				t.Errorf("the leaf %s says %q", raw, secret)
			}
		}
	}
	if s := fmt.Sprintf("%v %+v", testKey(t), testKey(t)); strings.Contains(s, "7 7 7") {
		t.Errorf("the key prints itself: %s", s)
	}
}

func TestCoinsAreFairAndHangOnTheKey(t *testing.T) {
	k, other := testKey(t), Key{bytes.Repeat([]byte{8}, 32)}
	live, same, sampled := 0, 0, 0
	const n = 4000
	for i := range n {
		r := ask("acme", fmt.Sprint("question ", i))
		a, b := k.seed(r.Account, r.Messages).Live(), other.seed(r.Account, r.Messages).Live()
		live += a
		if a == b {
			same++
		}
		if k.sampled(r.Account, r.Messages, 0.25) {
			sampled++
		}
	}
	for name, c := range map[string][2]int{"served the second": {live, n / 2}, "alike under another key": {same, n / 2}, "sampled": {sampled, n / 4}} {
		if d := c[0] - c[1]; d*d > 16*n/4 { // four standard deviations
			t.Errorf("%s: %d of %d", name, c[0], n)
		}
	}
	if k.seed("a", ask("", "x  Y").Messages) != k.seed("a", ask("", "X y ").Messages) || k.seed("a", ask("", "x").Messages) == k.seed("b", ask("", "x").Messages) {
		t.Error("seeds do not hang on account and normalised prompt")
	}
}

func TestWhichRequestsCarryCoins(t *testing.T) {
	for _, c := range []struct {
		wire Wire
		body string
		want string // of the error; "": eligible
	}{
		{WireChat, `{"messages":[{"role":"user","content":"hi"}]}`, ""},
		{WireChat, `{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"hi"}]}],"temperature":0.7,"n":1,"seed":null,"tools":[],"stream":true}`, ""},
		{WireMessages, `{"system":"s","messages":[{"role":"user","content":"hi"}],"max_tokens":9}`, ""},
		{WireResponses, `{"input":"hi","store":false}`, ""},
		{WireCompletions, `{"prompt":"hi"}`, ""},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"temperature":0}`, "temperature"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"temperature":"hot"}`, "temperature"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"top_p":0}`, "top_p"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"top_k":1}`, "top_k"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"n":2}`, "n is 2"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"seed":0}`, "seed"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"cache":{"ttl":9}}`, "cache"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function"}]}`, "tools"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"}],"store":true}`, "stored"},
		{WireChat, `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"go on"}]}`, "earlier answer"},
		{WireChat, `{"messages":[{"role":"tool","content":"1","tool_call_id":"x"}]}`, "earlier answer"},
		{WireChat, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`, "not text"},
		{WireChat, `{"messages":[]}`, "cannot be read"},
		{WireChat, `[]`, "JSON object"},
		{WireResponses, `{"input":"hi"}`, "stored"},
		{WireResponses, `{"input":"hi","store":false,"previous_response_id":"r"}`, "previous_response_id"},
		{WireResponses, `{"input":[{"type":"function_call","name":"x"}],"store":false}`, "earlier answer"},
		{WireCompletions, `{"prompt":["a","b"]}`, "not one text"},
		{"embeddings", `{"input":"hi"}`, "embeddings"},
	} {
		msgs, err := Read(c.wire, []byte(c.body))
		var not *NotEligible
		switch {
		case c.want == "" && (err != nil || msgs[len(msgs)-1].Content != "hi"):
			t.Errorf("%s: %v, %v", c.body, msgs, err)
		case c.want != "" && (!errors.As(err, &not) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want one about %q", c.body, err, c.want)
		}
	}
}

func TestOneCoinForAnAccountAndAPrompt(t *testing.T) {
	m := &memory{}
	l := open(t, m)
	flip := func(l *Log, r Request) error {
		c, err := l.Flip(t.Context(), r, exchange.NewID(time.Now()))
		if err != nil {
			return err
		}
		return c.Settle(t.Context(), [2]Arm{answer("One answer with quite a few words in it, for certain."), answer("Another answer that says it in other words, more or less.")})
	}
	for _, r := range []Request{ask("acme", "What now?"), ask("other", "What now?"), ask("acme", "What then?")} {
		if err := flip(l, r); err != nil {
			t.Fatal(err)
		}
	}
	var not *NotEligible
	refused := []Request{
		ask("acme", " what NOW? "), ask("", "What?"),
		ask("acme", "Sum this up: another answer that says it in other words, more"),
		{Account: "acme", Messages: ask("", "New?").Messages, Share: 0},
	}
	again := open(t, m) // what was seen is read back
	for _, log := range []*Log{l, again} {
		for _, r := range refused {
			if err := flip(log, r); !errors.As(err, &not) {
				t.Errorf("%v: %v", r.Messages, err)
			}
			if err := log.Consider(r); !errors.As(err, &not) {
				t.Errorf("considering %v: %v", r.Messages, err)
			}
		}
	}
	if err := flip(again, ask("acme", "And what has other words?")); err != nil {
		t.Error(err)
	}
	v := view(t, m)
	var counters [][2]uint64
	for _, e := range v.Entries(v.Tree.Size()) {
		counters = append(counters, [2]uint64{e.Coin.Counter, e.Coin.Of})
	}
	if diff := cmp.Diff([][2]uint64{{1, 1}, {2, 1}, {3, 2}, {4, 3}}, counters); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsVoidIsLogged(t *testing.T) {
	m := &memory{}
	l := open(t, m)
	failed := answer("half")
	failed.OK = false
	for i, arms := range [][2]Arm{{answer("same"), answer("same")}, {answer("one"), failed}, {answer("one"), answer("")}, {}} {
		c, err := l.Flip(t.Context(), ask("a", fmt.Sprint("prompt ", i)), exchange.NewID(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if i < 3 { // of the last one the gateway dies
			if err := c.Settle(t.Context(), arms); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(t, m)
	v := view(t, m)
	var got []string
	for _, e := range v.Entries(v.Tree.Size()) {
		got = append(got, e.Arms.Void)
	}
	if diff := cmp.Diff([]string{VoidEqual, VoidFailed, VoidFailed, VoidUnfinished}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNothingIsServedThatIsNotRecorded(t *testing.T) {
	m := &memory{}
	l := open(t, m)
	m.fail = errors.New("disk full")
	if _, err := l.Flip(t.Context(), ask("a", "x"), exchange.NewID(time.Now())); !errors.Is(err, m.fail) {
		t.Errorf("flip: %v", err)
	}
	m.fail = nil
	if _, err := l.Flip(t.Context(), ask("a", "y"), exchange.NewID(time.Now())); err == nil {
		t.Error("a log with a gap goes on")
	}
}

func TestCoinsOfManyAtOnceStandInOneOrder(t *testing.T) {
	m := &memory{}
	l := open(t, m)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				c, err := l.Flip(t.Context(), ask(fmt.Sprint("account ", g%3), fmt.Sprint("prompt ", g, " ", i)), exchange.NewID(time.Now()))
				if err == nil {
					err = c.Settle(t.Context(), [2]Arm{answer(fmt.Sprint("first ", g, i)), answer(fmt.Sprint("second ", g, i))})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v := view(t, m); len(v.Entries(v.Tree.Size())) != 200 || v.Tree.Size() != 401 {
		t.Errorf("%d coins in %d leaves", len(v.Entries(v.Tree.Size())), v.Tree.Size())
	}
}

// leavesOf is a log of so many coins, as its bytes.
func leavesOf(t testing.TB, n int) [][]byte {
	t.Helper()
	m := &memory{}
	l := open(t, m)
	for i := range n {
		c, err := l.Flip(t.Context(), ask("a", fmt.Sprint("prompt ", i)), exchange.NewID(time.Now()))
		if err == nil {
			err = c.Settle(t.Context(), [2]Arm{answer(fmt.Sprint("first ", i)), answer(fmt.Sprint("second ", i))})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return view(t, m).Raw
}

func TestReplayRefusesWhatNoHonestLogHolds(t *testing.T) {
	good := leavesOf(t, 3)
	if _, _, err := Replay(good); err != nil {
		t.Fatal(err)
	}
	edit := func(i int, fn func(*Leaf)) [][]byte {
		out := append([][]byte(nil), good...)
		l, err := ParseLeaf(out[i])
		if err != nil {
			t.Fatal(err)
		}
		fn(&l)
		out[i] = l.Encode()
		return out
	}
	without := func(i int) [][]byte { return append(append([][]byte(nil), good[:i]...), good[i+1:]...) }
	for name, c := range map[string]struct {
		raw  [][]byte
		want string
	}{
		"no first leaf":           {without(0), "begins with"},
		"a coin is left out":      {append(without(3)[:3:3], good[5:]...), "gap"},
		"an account's gap":        {edit(3, func(l *Leaf) { l.Of++ }), "gap"},
		"answers before the coin": {[][]byte{good[0], good[2], good[1]}, "before it was committed"},
		"answers twice":           {append(append([][]byte(nil), good...), good[2]), "twice"},
		"void and not":            {edit(2, func(l *Leaf) { l.Void = VoidEqual }), "neither"},
		"another kind":            {edit(2, func(l *Leaf) { l.Kind = "x" }), "not known"},
		"no commitment":           {edit(1, func(l *Leaf) { l.Coin = "" }), "nothing"},
		"no key":                  {edit(0, func(l *Leaf) { l.Key = "" }), "no key"},
		"not canonical":           {[][]byte{append([]byte(" "), good[0]...)}, "canonical"},
	} {
		if _, _, err := Replay(c.raw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one about %q", name, err, c.want)
		}
	}
}

func TestProofsHoldAndNothingElseDoes(t *testing.T) {
	raw := leavesOf(t, 20)
	var tree Tree
	roots := [][]byte{}
	for _, b := range raw {
		root, err := tree.Root(tree.Size())
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
		tree.Append(b)
	}
	last, err := tree.Root(tree.Size())
	if err != nil {
		t.Fatal(err)
	}
	roots = append(roots, last)
	n := tree.Size()
	for i := range n {
		path, err := tree.Inclusion(i, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckInclusion(raw[i], i, n, path, last); err != nil {
			t.Fatalf("leaf %d: %v", i, err)
		}
		if CheckInclusion(raw[(i+1)%n], i, n, path, last) == nil {
			t.Errorf("another leaf is included as leaf %d", i)
		}
		if root, _ := tree.Root(i); !bytes.Equal(root, roots[i]) {
			t.Errorf("the root of the first %d leaves is not what it was", i)
		}
		if i == 0 {
			continue
		}
		if path, err = tree.Consistency(i, n); err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(i, n, path, roots[i], last); err != nil {
			t.Fatalf("%d leaves: %v", i, err)
		}
		if i > 1 && CheckConsistency(i, n, path, roots[i-1], last) == nil {
			t.Errorf("another tree is consistent with %d leaves", i)
		}
	}
	if _, err := tree.Root(n + 1); err == nil {
		t.Error("a root of leaves that are not there")
	}
}

func signer(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	secret, public, err := NewSigningKey("retort.test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestHeadsAreSignedStampedAndChecked(t *testing.T) {
	m := &memory{}
	l := open(t, m)
	if _, err := l.Flip(t.Context(), ask("a", "x"), exchange.NewID(time.Now())); err != nil {
		t.Fatal(err)
	}
	w, err := NewWitness(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w)
	defer srv.Close()
	s, key := signer(t)
	h, err := Anchor(t.Context(), view(t, m), s, Authority{URL: srv.URL}, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Flip(t.Context(), ask("a", "y"), exchange.NewID(time.Now())); err != nil {
		t.Fatal(err)
	}
	v := view(t, m)
	if len(v.Heads) != 1 || v.Heads[0].Note != h.Note {
		t.Fatalf("heads %+v", v.Heads)
	}
	c, err := CheckHead(&v.Heads[0], key, v.ID, &v.Tree)
	if err != nil || c.Size != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	stamp, err := CheckStamp(h.Stamp, sha256.Sum256([]byte(h.Note)), x509.NewCertPool())
	if err != nil || !stamp.Demonstration || stamp.Trusted || time.Since(stamp.Time).Abs() > time.Minute {
		t.Errorf("%+v, %v", stamp, err)
	}
	if _, err := CheckStamp(h.Stamp, sha256.Sum256([]byte("else")), nil); err == nil {
		t.Error("the stamp is about something else too")
	}
	_, other := signer(t)
	if _, err := CheckHead(&h, other, v.ID, &v.Tree); err == nil {
		t.Error("another's key verifies the head")
	}
	if _, err := CheckHead(&h, key, "0123456789abcdef", &v.Tree); err == nil {
		t.Error("the head is another log's")
	}
	_, forged, err := Replay(leavesOf(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckHead(&h, key, v.ID, &forged); err == nil {
		t.Error("the head is another tree's")
	}
	for i := range h.Note {
		for bit := range 8 {
			b := []byte(h.Note)
			b[i] ^= 1 << bit
			if _, err := OpenNote(string(b), key); err == nil {
				t.Fatalf("bit %d of byte %d of the note can be flipped", bit, i)
			}
		}
	}
	for i := 0; i < len(h.Stamp); i += 7 {
		b := bytes.Clone(h.Stamp)
		b[i] ^= 4
		if got, err := CheckStamp(b, sha256.Sum256([]byte(h.Note)), nil); err == nil && !got.Time.Equal(stamp.Time) {
			t.Fatalf("byte %d of the stamp can be changed to say %v", i, got.Time)
		}
	}
}

// A forger signs with a key of their own and lets a trusted authority's certificate
// come along.
func TestACertificateThatOnlyComesAlongDoesNotSign(t *testing.T) {
	trusted, err := NewWitness(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "forger"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	digest := [32]byte{1}
	honest, err := trusted.Stamp(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	der := forge(t, honest, cert, key, trusted.cert)
	if got, err := timestamp.ParseResponse(der); err != nil || len(got.Certificates) != 2 {
		t.Fatalf("the forgery is none: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(trusted.cert)
	if s, err := CheckStamp(der, digest, roots); err == nil {
		t.Errorf("it is taken: %+v", s)
	}
	if _, err := CheckStamp(honest, digest, roots); err != nil {
		t.Errorf("an honest one: %v", err)
	}
}

// forge signs what a stamp says with another key.
func forge(t *testing.T, honest []byte, cert *x509.Certificate, key *ecdsa.PrivateKey, along *x509.Certificate) []byte {
	t.Helper()
	ts, err := timestamp.ParseResponse(honest)
	if err != nil {
		t.Fatal(err)
	}
	token, err := pkcs7.Parse(ts.RawToken)
	if err != nil {
		t.Fatal(err)
	}
	data, err := pkcs7.NewSignedData(token.Content)
	if err != nil {
		t.Fatal(err)
	}
	data.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	data.SetContentType(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4})
	data.AddCertificate(along)
	if err := data.AddSigner(cert, key, pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	signed, err := data.Finish()
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Status struct{ Status int }
		Token  asn1.RawValue
	}{Token: asn1.RawValue{FullBytes: signed}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestTheWorkspaceKeepsItsKey(t *testing.T) {
	ws, err := workspace.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenKey(ws)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenKey(ws)
	if err != nil || a.Log() != b.Log() || a.Log() == testKey(t).Log() {
		t.Errorf("%s, then %s, %v", a.Log(), b.Log(), err)
	}
	if err := workspace.WriteFileAtomic(ws.Path(keyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(ws); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a short key: %v", err)
	}
}
