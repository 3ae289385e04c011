package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"retort/exchange"
)

// RecordOptions say on whose behalf and under which terms an item is recorded.
type RecordOptions struct {
	Run        string
	Stage      string
	Name       string // of the source; the endpoint is "import:" + Name
	Family     string
	TermsID    string
	TermsBasis string
	Account    string    // keyed hash of the account that asked, if known
	Time       time.Time // of the import; zero is now
}

// EndpointPrefix begins the endpoint of an imported exchange.
const EndpointPrefix = "import:"

// Header fields of an imported exchange, by which FromExchange finds its item.
const (
	HeaderFormat = "Import-Format"
	HeaderRow    = "Import-Row"
	HeaderLine   = "Import-Line"
	HeaderTurn   = "Import-Turn"
	HeaderTurns  = "Import-Turns" // the choice of turns
	HeaderDigest = "Import-Digest"
)

// Digest names what an item says: SHA-256, in hexadecimal, over the canonical
// JSON of its row (and request) and its turn. It is equal for the same row of
// another file.
func (it *Item) Digest() string {
	h := sha256.New()
	for _, part := range [][]byte{canonical(it.Raw), canonical(it.RawRequest)} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	fmt.Fprintf(h, "turn %d", it.Turn)
	return hex.EncodeToString(h.Sum(nil))
}

// canonical is the row in canonical JSON; as it stands where a number is out of
// the range that canonical JSON has.
func canonical(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	if c, err := exchange.CanonicalJSON(raw); err == nil {
		return c
	}
	return append([]byte(nil), raw...)
}

// Exchange makes the exchange that a ledger keeps of an item: origin import, an
// HTTP status of 200, no cost. Its request body is the row as it stood, so that
// nothing of it is lost; of batch output the request body is the request's line
// and the response body the output's. Its key is that of the
// conversation, with a sample index drawn from the item's digest: several
// answers to one prompt have keys of their own, and a file that is imported
// again has the same ones.
//
// It must be called before the callback that got the item returns.
func Exchange(it *Item, opt RecordOptions) (*exchange.Exchange, error) {
	if opt.Name == "" {
		return nil, errors.New("record an imported row: the source has no name")
	}
	digest := it.Digest()
	sample, err := strconv.ParseInt(digest[:13], 16, 64) // 52 bits
	if err != nil {
		return nil, fmt.Errorf("record row %d of %s: %w", it.Row, opt.Name, err)
	}
	req := exchange.Request{Endpoint: EndpointPrefix + opt.Name, Model: it.Model, Messages: it.Messages, Seed: exchange.SeedNone, Sample: int(sample)}
	if it.Tools != nil {
		params, err := json.Marshal(map[string]json.RawMessage{"tools": it.Tools})
		if err != nil {
			return nil, fmt.Errorf("record row %d of %s: %w", it.Row, opt.Name, err)
		}
		req.Params = params
	}
	key, err := req.Key()
	if err != nil {
		return nil, fmt.Errorf("record row %d of %s: %w", it.Row, opt.Name, err)
	}
	now := opt.Time
	if now.IsZero() {
		now = time.Now()
	}
	e := &exchange.Exchange{
		ID: exchange.NewID(now), Key: key, Run: opt.Run, Stage: opt.Stage, Origin: exchange.OriginImport,
		Endpoint: req.Endpoint, ModelAsked: it.Model, ModelAnswered: it.Model, Account: opt.Account,
		Family: opt.Family, Problem: it.ID, TermsID: opt.TermsID, TermsBasis: opt.TermsBasis,
		Attempt: 1, Status: 200, Answer: it.Answer, Usage: it.Usage,
		RequestHeader: map[string]string{
			HeaderFormat: string(it.Format), HeaderRow: strconv.FormatInt(it.Row, 10), HeaderLine: strconv.FormatInt(it.Line, 10),
			HeaderTurn: strconv.Itoa(it.Turn), HeaderTurns: string(it.choice), HeaderDigest: digest,
		},
		RequestBody: bytes.Clone(it.Raw),
		Times:       exchange.Times{Queued: now.UnixNano(), LastByte: now.UnixNano()},
	}
	if it.RawRequest != nil {
		e.RequestBody, e.ResponseBody = bytes.Clone(it.RawRequest), bytes.Clone(it.Raw)
	}
	return e, nil
}

// FromExchange reads the item of an exchange that Exchange made back from its
// bodies: its conversation, tools, rejected answer and unknown fields.
func FromExchange(ctx context.Context, e *exchange.Exchange) (*Item, error) {
	h := e.RequestHeader
	format, err := ParseFormat(h[HeaderFormat])
	if e.Origin != exchange.OriginImport || err != nil || format == Auto {
		return nil, fmt.Errorf("exchange %s was not imported", e.ID)
	}
	var number [3]int64
	for i, name := range []string{HeaderRow, HeaderLine, HeaderTurn} {
		if number[i], err = strconv.ParseInt(h[name], 10, 64); err != nil || number[i] < 1 {
			return nil, fmt.Errorf("imported exchange %s: its header %s is %q and should be a number", e.ID, name, h[name])
		}
	}
	r := rowReader{format: format, choice: Turns(h[HeaderTurns])}
	raw := e.RequestBody
	if format == Batch {
		raw = e.ResponseBody
		if r.requests, err = newRequests(ctx, bytes.NewReader(e.RequestBody), DefaultMaxRow); err != nil {
			return nil, fmt.Errorf("imported exchange %s: %w", e.ID, err)
		}
	}
	res := r.read(raw, number[0], number[1])
	if res.fault != nil {
		return nil, fmt.Errorf("imported exchange %s: its row is refused now: %w", e.ID, res.fault)
	}
	if number[2] > int64(len(res.items)) {
		return nil, fmt.Errorf("imported exchange %s: its row has %d answers and it should be answer %d", e.ID, len(res.items), number[2])
	}
	return &res.items[number[2]-1], nil
}
