package recipe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/watch/gateway"
	"retort/workspace"
)

// servedHead is what is known of an exchange that a gateway recorded, without
// its bodies.
type servedHead struct {
	id                                        exchange.ID
	stage, account, endpoint, model, answered string
	queued, ended                             int64 // UTC nanoseconds; ended 0: it has no end
	status                                    int
	class                                     exchange.ErrorClass
	wire                                      string // as which its answer can be read; "" if it cannot
	bytes                                     int64  // of the answer
	kept                                      bool   // its bodies were recorded
	erased                                    bool   // and erased since
}

// gatewayLog is what a ledger tells of what a gateway served, without bodies.
type gatewayLog struct {
	heads    []*servedHead             // in the order in which they were asked
	accounts map[string]bool           // that asked
	consents map[string]ledger.Consent // by account, the last that was recorded
}

// servedIntent and servedEnd are the fields of the records' heads that count here.
type servedIntent struct {
	Origin   exchange.Origin `json:"origin"`
	Stage    string          `json:"stage"`
	Account  string          `json:"account"`
	Endpoint string          `json:"endpoint"`
	Model    string          `json:"model"`
	Queued   int64           `json:"queued"`
}

type servedEnd struct {
	Status        int                 `json:"status"`
	ErrorClass    exchange.ErrorClass `json:"error_class"`
	ModelAnswered string              `json:"model_answered"`
	ResponseBytes int64               `json:"response_bytes"`
	Unread        string              `json:"unread"`
	Store         string              `json:"store"`
}

// ledgerOf opens a workspace's ledger for reading; nil if there is none yet. Of
// damage a run or plan tells that reads it for all else as well.
func ledgerOf(ws *workspace.Workspace) (ledger.Reader, error) {
	reader, err := segment.OpenReader(ws.Path("ledger"), segment.Option{OnDamage: func(segment.Damage) {}})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return reader, err
}

// readGatewayLog reads a ledger once; nil is an empty one.
func readGatewayLog(ctx context.Context, from ledger.Reader) (*gatewayLog, error) {
	out := &gatewayLog{accounts: map[string]bool{}, consents: map[string]ledger.Consent{}}
	if from == nil {
		return out, nil
	}
	begun := map[exchange.ID]*servedHead{}
	names := map[string]string{} // ledgers repeat few texts often
	name := func(s string) string {
		if have, ok := names[s]; ok {
			return have
		}
		names[s] = s
		return s
	}
	err := from.Scan(ctx, func(rec ledger.Record) error {
		switch rec.Kind {
		case ledger.KindConsent:
			return out.consent(rec)
		case ledger.KindIntent:
			var head servedIntent
			if err := json.Unmarshal(rec.Head, &head); err != nil {
				return fmt.Errorf("intent record of exchange %s: %w", rec.Exchange, err)
			}
			if head.Origin != exchange.OriginServed {
				return nil
			}
			h := &servedHead{
				id: rec.Exchange, stage: name(head.Stage), account: name(head.Account), endpoint: name(head.Endpoint), model: name(head.Model),
				queued: head.Queued, kept: len(rec.Body) > 0 || rec.Erased, erased: rec.Erased,
			}
			begun[h.id] = h
			out.heads = append(out.heads, h)
			if h.account != "" {
				out.accounts[h.account] = true
			}
		case ledger.KindFragment:
			if h := begun[rec.Exchange]; h != nil {
				h.erased = h.erased || rec.Erased
			}
		case ledger.KindEnd:
			h := begun[rec.Exchange]
			if h == nil {
				return nil
			}
			delete(begun, rec.Exchange)
			var head servedEnd
			if err := json.Unmarshal(rec.Head, &head); err != nil {
				return fmt.Errorf("end record of exchange %s: %w", rec.Exchange, err)
			}
			h.ended, h.status, h.class, h.answered = rec.Time, head.Status, head.ErrorClass, name(head.ModelAnswered)
			h.wire, h.bytes = name(head.Unread), head.ResponseBytes
			h.kept = h.kept && head.Store == ""
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	slices.SortFunc(out.heads, func(a, b *servedHead) int {
		return cmp.Or(cmp.Compare(a.queued, b.queued), slices.Compare(a.id[:], b.id[:]))
	})
	return out, nil
}

// consent notes what is recorded of an account. Writers are read one after the
// other, so that the last one is told by its time.
func (l *gatewayLog) consent(rec ledger.Record) error {
	c, err := ledger.ParseConsent(rec)
	if err != nil {
		return err
	}
	account, ok := strings.CutPrefix(c.Source, gateway.Source(""))
	if have, known := l.consents[account]; ok && (!known || c.Time >= have.Time) {
		l.consents[account] = c
	}
	return nil
}

// agreed reports whether an account's exchanges may be used.
func (l *gatewayLog) agreed(account string) bool {
	return account != "" && l.consents[account].Consent == ledger.ConsentRecorded
}

// extent is from when until when the ended exchanges of the log are.
func (l *gatewayLog) extent() (first, last time.Time) {
	for _, h := range l.heads {
		if t := time.Unix(0, h.ended).UTC(); h.ended != 0 {
			if first.IsZero() || t.Before(first) {
				first = t
			}
			if t.After(last) {
				last = t
			}
		}
	}
	return first, last
}

// Why an exchange that a gateway recorded is not learned from. A failed one
// goes on with its class or status, what cannot be read with the importer's
// reason.
const (
	servedWithheld = "withheld"        // the arm of a coin that nobody was served
	servedUnended  = "unended"         // it had not ended
	servedNoAgree  = "no_consent"      // its account has not agreed
	servedNoTalk   = "no_conversation" // embeddings, files and the like
	servedHungUp   = "hung_up"         // the client went before the end
	servedFailed   = "failed_"
	servedNotKept  = "not_kept"   // the gateway stored no bodies
	servedErased   = "erased"     // they were erased
	servedUnread   = "unreadable" // the answer's bytes could not be read
	servedDamaged  = "damaged"    // the ledger lacks some of its bytes
)

// why says why an exchange is not learned from, by its head; "" if it can be.
func (h *servedHead) why(l *gatewayLog, until int64) string {
	switch {
	case h.stage == gateway.StageWithheld || h.account == "":
		return servedWithheld
	case !l.agreed(h.account):
		return servedNoAgree
	case h.ended == 0 || h.ended >= until:
		return servedUnended
	case !slices.Contains([]string{ledger.WireChat, ledger.WireCompletions, ledger.WireResponses, ledger.WireMessages}, h.stage):
		return servedNoTalk
	case h.class == exchange.ClassCancelled:
		return servedHungUp
	case h.class != "" || h.status/100 != 2:
		return servedFailed + ledger.Status(&exchange.Exchange{Status: h.status, ErrorClass: h.class})
	case !h.kept:
		return servedNotKept
	case h.wire == "":
		return servedUnread
	}
	return ""
}

// only is the records of some exchanges.
type only struct {
	ledger.Reader
	want map[exchange.ID]int
}

// Scan implements ledger.Reader.
func (o only) Scan(ctx context.Context, fn func(ledger.Record) error) error {
	return o.Reader.Scan(ctx, func(rec ledger.Record) error {
		if _, ok := o.want[rec.Exchange]; !ok {
			return nil
		}
		return fn(rec)
	})
}
