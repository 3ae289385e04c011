package recipe

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"retort/exchange"
	"retort/importer"
	"retort/ledger"
	"retort/report"
	"retort/teach/dataset"
	"retort/teach/task"
	"retort/watch/gateway"
)

// familyServed is the family of problems that a gateway's accounts have asked.
const familyServed = "served"

// ReadsLedger reports whether some of the recipe's prompts are in the ledger.
func (r *Recipe) ReadsLedger() bool {
	return slices.ContainsFunc(r.Prompts, func(p Prompts) bool { return p.Served != nil })
}

func (r *Recipe) validateServed(p *Prompts, path string) error {
	bad, here := r.src.errorf, path+"."+familyServed
	switch key := cmp.Or(p.fileKey(), p.importKey()); {
	case p.Family != "" || p.File != "" || p.Imported != "":
		return bad(path, "served, imported, family and file exclude each other")
	case p.Consent != nil:
		return bad(path+".consent", "accounts are asked one by one; record what they agreed to with `retort accounts consent ACCOUNT --basis FILE`")
	case p.Turns != "":
		return bad(path+".turns", "a served request holds its conversation and has one answer; leave turns out")
	case key != "" && key != "terms":
		return bad(path+"."+key, "a served request is taken as it stands; leave %s out", key)
	case !reflect.ValueOf(p.Params).IsZero():
		return bad(path, "served requests have no difficulty to set; leave those keys out")
	case p.Samples != 0:
		return bad(path+".samples", "nothing is asked; a served request has the answer that it has")
	case p.Heldout.File != "":
		return bad(path+".heldout.file", "give the number of requests that are held out")
	case slices.Contains(p.Served.Account, ""):
		return bad(here+".account", "name an account: its hash, the beginning of one, or its name")
	case slices.Contains(p.Served.Model, ""):
		return bad(here+".model", "name a model, or a pattern such as `gpt-*`")
	}
	during, err := r.spanOf(p.Served, here, time.Now())
	if s := p.Served; err == nil && s.Since != "" && s.Until != "" && relative.MatchString(s.Since) == relative.MatchString(s.Until) {
		err = r.inOrder(&during, here) // of other spans it shows when they are resolved
	}
	return err
}

// servedSource is what a gateway recorded, as a source of prompts.
type servedSource struct {
	span          *span
	resolved      time.Time
	named         []string // accounts that the recipe names, as hashes; nil: all
	exchanges     int      // in the span, of those accounts and models
	others        int      // in the span, of other accounts or models
	conversations int
	accounts      []*servedAccount // whoever asked most first
	refused       map[string]int   // exchanges that are not learned from, by reason
	repeated      int              // exchanges whose conversation was asked before
	teachers      []dataset.Teacher
	consents      map[string]ledger.Consent
	members       string // digest of the exchanges that are to be read, whether their bodies are there or not
	read          string // digest of those that were read
}

// servedAccount is an account that asked in a span.
type servedAccount struct {
	hash      string
	exchanges int
	consent   string // what is recorded; "" if nothing is
}

// ConsentError says that none of the accounts has agreed to its exchanges being
// used.
type ConsentError struct{ at *Error }

// Error implements error.
func (e *ConsentError) Error() string { return e.at.Error() }

// fromServed reads a source out of what the gateway recorded: its problems, their
// answers, and what cannot be learned from.
func (r *Recipe) fromServed(ctx context.Context, where *place, s *promptSource, i int, seed uint64) error {
	p, path := &r.Prompts[i], at("prompts", i)
	if where == nil || where.ws == nil {
		return r.src.errorf(path+".served", "what a gateway recorded is in a workspace, and none is open here")
	}
	if err := where.resolve(ctx, r); err != nil {
		return err
	}
	during, err := where.span(i)
	if err != nil {
		return err
	}
	in := &servedSource{span: during, resolved: where.spans.Resolved, refused: map[string]int{}, consents: where.log.consents}
	if in.named, err = r.accountsOf(where, i); err != nil {
		return err
	}
	picked := in.pick(where.log, p.Served.Model)
	gone := in.refused[servedErased] > 0 && where.done(stageReport) // of a finished run nothing is read again
	if err := r.something(where, in, picked, path+".served"); err != nil && !gone {
		return err
	}
	s.name, s.task, s.judged = familyServed, conversations{familyServed}, false
	s.given = &given{endpoint: fmt.Sprintf("gateway:%d", i), items: map[string]*givenItem{}, refused: map[string]int{}, served: in}
	rows, err := r.servedTerms(s.given, picked, i)
	if err != nil {
		return err
	}
	said, err := r.readServed(ctx, where, s, picked, rows)
	if err != nil {
		return err
	}
	for reason, n := range in.refused {
		s.given.refused["served_"+reason] += n
	}
	var problems []task.Problem
	talk := map[string]string{} // the conversation of a problem
	roots := conversationsIn(said)
	all := map[int]bool{}
	for k, x := range said {
		all[roots[k]] = true
		if x.taken {
			problems = append(problems, x.problem)
			talk[x.problem.ID] = strconv.Itoa(roots[k])
		}
	}
	in.conversations = len(all)
	if len(problems) == 0 && !gone {
		return r.src.errorf(path+".served", "of %d exchanges %s none can be learned from: %s", in.exchanges, in.span, report.FormatCounts(in.refused))
	}
	if p.Heldout.Count > len(problems) && !gone {
		return r.src.errorf(path+".heldout", "the gateway served %d different requests %s that can be learned from; %d cannot be held out", len(problems), in.span, p.Heldout.Count)
	}
	s.holdOut(problems, p.Heldout.Count, seed, func(q *task.Problem) string { return talk[q.ID] })
	return nil
}

// accountsOf finds the accounts that a source names. Errors do not repeat what
// stands there: it may be a name.
func (r *Recipe) accountsOf(where *place, i int) ([]string, error) {
	words := r.Prompts[i].Served.Account
	if len(words) == 0 {
		return nil, nil
	}
	keys, err := gateway.OpenKeys(where.ws)
	if err != nil {
		return nil, err
	}
	secret, err := where.ws.AccountKey()
	if err != nil {
		return nil, err
	}
	_, table, err := keys.List()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, a := range table {
		known[a.Hash] = true
	}
	for hash := range where.log.accounts {
		known[hash] = true
	}
	var out []string
	for k, word := range words {
		path := at(at("prompts", i)+".served.account", k)
		if hash := exchange.HashAccount(secret, word); known[hash] {
			out = append(out, hash)
			continue
		}
		var like []string
		for hash := range known {
			if len(word) >= 8 && strings.HasPrefix(hash, strings.ToLower(word)) {
				like = append(like, hash)
			}
		}
		switch len(like) {
		case 1:
			out = append(out, like[0])
		case 0:
			return nil, r.src.errorf(path, "no account has this name, this hash, or a hash that begins so (at least 8 digits, in quotes where none of them is a letter); `retort keys list` shows them")
		default:
			return nil, r.src.errorf(path, "it begins the hashes of %d accounts: give more digits", len(like))
		}
	}
	return out, nil
}

// pick chooses what is to be read, in the order in which it was asked, and counts
// everything else.
func (in *servedSource) pick(log *gatewayLog, models Words) (picked []*servedHead) {
	fits := patterns(models)
	members, accounts := sha256.New(), map[string]*servedAccount{}
	until := in.span.Until.UnixNano()
	for _, h := range log.heads {
		ended := in.span.holds(h)
		if !ended && !in.span.began(h) {
			continue
		}
		withheld := h.stage == gateway.StageWithheld // which has no account
		if !fits(h.model) && !fits(h.answered) || !withheld && in.named != nil && !slices.Contains(in.named, h.account) {
			in.others++
			continue
		}
		in.exchanges++
		if !withheld {
			a := accounts[h.account]
			if a == nil {
				a = &servedAccount{hash: h.account, consent: log.consents[h.account].Consent}
				accounts[h.account] = a
				in.accounts = append(in.accounts, a)
			}
			a.exchanges++
		}
		why := h.why(log, until)
		if why == "" && !ended { // it was under way
			why = servedUnended
		}
		if why == "" {
			members.Write(h.id[:])
			if h.erased {
				why = servedErased
			}
		}
		if why != "" {
			in.refused[why]++
			continue
		}
		picked = append(picked, h)
	}
	in.members = hex.EncodeToString(members.Sum(nil))
	slices.SortStableFunc(in.accounts, func(a, b *servedAccount) int { return cmp.Compare(b.exchanges, a.exchanges) })
	return picked
}

// agreed counts the accounts that have agreed.
func (in *servedSource) agreed() (n int) {
	for _, a := range in.accounts {
		if a.consent == ledger.ConsentRecorded {
			n++
		}
	}
	return n
}

// patterns reports what one of some patterns fits, in which * stands for
// anything; none of them fits all.
func patterns(list []string) func(string) bool {
	var forms []*regexp.Regexp
	for _, p := range list {
		forms = append(forms, regexp.MustCompile("^"+strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*")+"$"))
	}
	return func(s string) bool {
		return len(forms) == 0 || slices.ContainsFunc(forms, func(f *regexp.Regexp) bool { return f.MatchString(s) })
	}
}

// something says what is missing where nothing is to be read.
func (r *Recipe) something(where *place, in *servedSource, picked []*servedHead, path string) error {
	bad := r.src.errorf
	switch {
	case len(picked) > 0:
		return nil
	case len(where.log.heads) == 0:
		return bad(path, "this workspace's ledger has no exchange that a gateway served; have clients ask through `retort gateway FILE` with a key of `retort keys create ACCOUNT`, and run again")
	case in.exchanges == 0:
		first, last := where.log.extent()
		return bad(path, "the gateway served nothing %s of the accounts and models that are asked for (%s exchanges of others); what it recorded ended from %s to %s: give other times, or leave account or model out",
			in.span, report.FormatCount(int64(in.others)), when(first), when(last))
	case in.agreed() > 0:
		return bad(path, "of %s exchanges %s none can be learned from: %s", report.FormatCount(int64(in.exchanges)), in.span, report.FormatCounts(in.refused))
	case len(in.accounts) == 0:
		return bad(path, "all of the %s exchanges %s are answers that nobody was served", report.FormatCount(int64(in.exchanges)), in.span)
	}
	var who []string
	for _, a := range in.accounts {
		who = append(who, fmt.Sprintf("%.12s (%s%s)", a.hash, report.FormatCount(int64(a.exchanges)), a.tookBack()))
	}
	if len(who) > 8 {
		who = append(who[:8], fmt.Sprintf("and %d others", len(who)-8))
	}
	return &ConsentError{bad(path, "of the accounts that asked in the span none has agreed to its exchanges being used: %s. Where one has, record it: retort accounts consent %.12s --basis FILE",
		strings.Join(who, ", "), in.accounts[0].hash)}
}

// tookBack says so where an account had agreed or was asked, and has not.
func (a *servedAccount) tookBack() string {
	if a.consent == "" || a.consent == ledger.ConsentRecorded {
		return ""
	}
	return ", recorded as " + a.consent
}

// readServed reads the exchanges that were picked, in their order. They stay
// where they are in the ledger: they are known by their ids.
func (r *Recipe) readServed(ctx context.Context, where *place, s *promptSource, picked []*servedHead, rows map[exchange.ID]*servedTerm) ([]saidThere, error) {
	in := s.given.served
	want := make(map[exchange.ID]int, len(picked))
	for k, h := range picked {
		want[h.id] = k
	}
	read := make([]*exchange.Exchange, len(picked))
	items := make([]*importer.Item, len(picked))
	why := make([]string, len(picked))
	reader, err := ledgerOf(where.ws)
	if err == nil && reader != nil && len(picked) > 0 {
		err = ledger.Exchanges(ctx, only{reader, want}, func(e *exchange.Exchange) error {
			k := want[e.ID]
			if h := picked[k]; int64(len(e.ResponseBody)) != h.bytes || e.ErrorClass == exchange.ClassUnended {
				why[k] = servedDamaged
				return nil
			}
			it, refusal := importer.Served(e.RequestBody, e.Answer)
			if refusal != nil {
				why[k] = refusal.Reason
				return nil
			}
			t := rows[e.ID]
			items[k], read[k] = it, light(e)
			read[k].TermsID, read[k].TermsBasis = t.row.ID, t.basis
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read what the gateway served: %w", err)
	}
	digest := sha256.New()
	var out []saidThere
	for k, e := range read {
		if e == nil {
			in.refused[cmp.Or(why[k], servedDamaged)]++
			continue
		}
		digest.Write(e.ID[:])
		q := problemOf(familyServed, items[k])
		if sp := r.StudentPrompt; sp != nil && sp.System == drop {
			q.Student = slices.DeleteFunc(slices.Clone(q.Messages), func(m exchange.Message) bool { return m.Role == "system" })
		}
		one := saidThere{problem: q, account: e.Account, answer: e.Answer}
		if one.taken = s.take(q, items[k], e); !one.taken {
			in.repeated++
		}
		out = append(out, one)
	}
	in.read = hex.EncodeToString(digest.Sum(nil))
	return out, nil
}

// servedPeople are the accounts whose prompts are in some examples.
func (g *given) servedPeople(rows []dataset.Example) []dataset.People {
	counts := map[string]int{}
	for _, e := range rows {
		if it := g.items[e.Problem]; it != nil {
			counts[it.exchange.Account]++
		}
	}
	var out []dataset.People
	for _, a := range g.served.accounts {
		if n := counts[a.hash]; n > 0 {
			c := g.served.consents[a.hash]
			out = append(out, dataset.People{Source: gateway.Source(a.hash[:min(12, len(a.hash))]), Rows: n, Consent: c.Consent, Basis: c.Basis})
		}
	}
	return out
}

// underTerms is a person's correction of an answer under that answer's terms,
// which a gateway does not record.
func (g *given) underTerms(human, of *exchange.Exchange) *exchange.Exchange {
	if g == nil || g.served == nil || human == nil || human.TermsID != "" {
		return human
	}
	out := *human
	out.TermsID, out.TermsBasis = of.TermsID, of.TermsBasis
	return &out
}

// summary says what the source comes to, in a line.
func (in *servedSource) summary() string {
	used := in.exchanges
	for _, n := range in.refused {
		used -= n
	}
	return fmt.Sprintf("%s of %s exchanges %s; %d of %d accounts agreed", report.FormatCount(int64(used)), report.FormatCount(int64(in.exchanges)), in.span, in.agreed(), len(in.accounts))
}

// collectBasis is the basis of the collect stage: corrections, and which exchanges
// consent and the span let a served source read. That bodies were erased since
// changes nothing of what is done.
func (r *run) collectBasis() (string, error) {
	basis, err := r.corrected()
	if err != nil || !r.ReadsLedger() {
		return basis, err
	}
	h := sha256.New()
	fmt.Fprintln(h, basis)
	for _, s := range r.sources {
		if s.given != nil && s.given.served != nil {
			fmt.Fprintln(h, s.given.served.members)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readNow digests which exchanges the served sources were read from; "" without
// any.
func (r *run) readNow() string {
	var parts []string
	for _, s := range r.sources {
		if s.given != nil && s.given.served != nil {
			parts = append(parts, s.given.served.read)
		}
	}
	return strings.Join(parts, " ")
}

// checkErased ends a run that cannot come to its end as it began: exchanges that
// its dataset came from have been erased since.
func (r *run) checkErased(f *funnel) error {
	if f.Served == r.readNow() {
		return nil
	}
	if _, err := os.Stat(r.statePath(stageReport)); err == nil {
		return nil
	}
	return fmt.Errorf("exchanges that the dataset was made from were erased since, or cannot be read any more, so that the run cannot be finished as it began; remove %s to make it from those that are left", r.dir)
}

// keptYAML is the recipe as its run keeps it: accounts by their hashes.
func (r *run) keptYAML() ([]byte, error) {
	kept := *r.Recipe
	kept.Prompts = slices.Clone(r.Prompts)
	for i := range kept.Prompts {
		if s, g := kept.Prompts[i].Served, r.sources[i].given; s != nil && s.Account != nil {
			named := *s
			named.Account = g.served.named
			kept.Prompts[i].Served = &named
		}
	}
	return kept.YAML()
}

// givenBy says who gave the answers of a recipe that asks nobody.
func (r *run) givenBy() string {
	var parts, models []string
	file := false
	for _, s := range r.sources {
		if s.given == nil {
			continue
		}
		file = file || s.given.file != nil
		if s.given.served != nil {
			for _, m := range s.given.models {
				if !slices.Contains(models, m) {
					models = append(models, m)
				}
			}
		}
	}
	if file {
		parts = append(parts, "imported conversations")
	}
	if r.ReadsLedger() {
		text := "what this workspace's gateway served"
		if n := len(models); n > 3 {
			models = append(models[:3], fmt.Sprintf("%d others", n-3))
		}
		if len(models) > 0 {
			text += " (" + strings.Join(models, ", ") + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " and ")
}
