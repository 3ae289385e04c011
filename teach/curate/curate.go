// Package curate decides which of a teacher's answers become training
// examples, and counts every one that does not under the reason why.
//
// A Curator is offered candidates in prompt order. Each lands in exactly one
// bucket: kept, or the first of these reasons that applies.
//
//	error_CLASS      no answer came (exchange.ErrorClass)
//	terms            the terms that it was obtained under do not allow this use
//	finish_REASON    the answer did not end as accepted: finish_length, …
//	empty_answer     an answer without any text
//	empty_reasoning  reasoning is required and none came
//	wrong, …         the verifier's reason (task.Verdict), where only correct answers are kept
//	contaminated     it is, or contains a piece of, a held-out problem
//	duplicate        an example kept before has the same problem; of several
//	                 answers asked to one problem, the same answer
//	near_duplicate   an example kept before has nearly the same prompt
//
// For problems with exact identity (task.Task.VerifiableIdentity) duplicates
// and contamination go by that identity and nothing else: their prompts are
// alike by design. Other prompts are compared by their words, with text masked
// that all prompts of a source share.
//
// A person's correction stands in place of what it corrects: its text becomes
// the example, of origin human and under the same terms. It need not please the
// verifiers, but all other rules hold for it.
//
// Decisions depend on the candidates, their order and the options alone, and
// touch neither disk nor network: curating again what a ledger holds costs
// nothing and gives the same examples. Curate asks nobody, verifies nothing
// and writes no files; a Curator is not safe for concurrent use.
package curate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"retort/exchange"
	"retort/internal/text"
	"retort/ledger"
	"retort/teach/dataset"
	"retort/teach/task"
)

// The reasons for a refusal that are whole. Those that begin with
// ErrorPrefix and FinishPrefix continue with a class and a finish reason, and
// a verdict's own reason is used as it is.
const (
	ReasonTerms          = "terms"
	ReasonEmptyAnswer    = "empty_answer"
	ReasonEmptyReasoning = "empty_reasoning"
	ReasonContaminated   = "contaminated"
	ReasonDuplicate      = "duplicate"
	ReasonNearDuplicate  = "near_duplicate"

	ErrorPrefix  = "error_"
	FinishPrefix = "finish_"
)

// Keep says which verdicts an example may have.
type Keep string

// What is kept. An answer that nobody can judge (task.ReasonNoGold) is kept in
// both cases, as unverified.
const (
	KeepCorrect Keep = "correct"
	KeepAll     Keep = "all"
)

// Reasoning says what becomes of the text that a teacher writes before its
// answer.
type Reasoning string

// What becomes of reasoning. Require is Keep for a teacher that is known to
// reason: an answer that came without is refused, since it would teach the
// student to skip the reasoning.
const (
	ReasoningKeep    Reasoning = "keep"
	ReasoningDrop    Reasoning = "drop"
	ReasoningRequire Reasoning = "require"
)

// Verdicts of examples that no verifier found correct.
const (
	VerdictUnverified = "unverified" // nobody could judge it
	VerdictCorrected  = "corrected"  // a person wrote it; verifiers disagree, or cannot judge it
)

// Options are the rules. The zero value keeps correct answers with whatever
// reasoning they have, if they ended with "stop".
type Options struct {
	Keep           Keep
	NearDuplicates float64 // Jaccard similarity from which two prompts are nearly the same; 0 turns this off
	Decontaminate  bool    // refuse what overlaps with held-out problems
	Reasoning      Reasoning
	FinishReasons  []string // how an answer may end; default "stop"
	// Gate returns an error if examples obtained under these terms may not be
	// used; nil lets all pass.
	Gate func(termsID string) error
}

// Text is a prompt as it is compared with others.
type Text struct {
	Source string // the prompt source; text that its prompts share is masked
	Family string
	ID     string // the problem's identity
	Exact  bool   // two texts ask the same thing if and only if their IDs are equal
	Prompt string
	Masked string // what is particular to this prompt (task.Task.Mask)
}

// TextOf describes a problem of a task.
func TextOf(source string, t task.Task, p task.Problem) Text {
	said := p.Particular()
	return Text{source, p.Family, p.ID, t.VerifiableIdentity(), said, t.Mask(said)}
}

// Candidate is a prompt and what came of asking it.
type Candidate struct {
	Text
	Row      string             // where in its source the problem stands
	RowID    string             // the row's own id there
	Sample   int                // which of several answers to the problem it is, from 0
	Messages []exchange.Message // what the student is to read
	Tools    string             // JSON array of the tools that were offered; empty if none
	Rejected string             // an answer to the same prompt that is not as good
	Exchange *exchange.Exchange // what the teacher answered; nil if nothing was recorded
	// Correction is what a person wrote in place of the teacher's answer, an
	// exchange of origin human (see ledger.Corrections); nil if nobody did.
	Correction *exchange.Exchange
	Err        error          // why the teacher gave no answer, if it gave none
	Verdict    task.Verdict   // on the content of Answered; looked at only if an answer came
	Checks     []ledger.Check // what each verifier found about it
}

// Answered is the exchange whose answer counts: a person's correction, else
// the teacher's; nil if there is neither.
func (x *Candidate) Answered() *exchange.Exchange {
	if x.Correction != nil {
		return x.Correction
	}
	return x.Exchange
}

// Decision is what becomes of a candidate.
type Decision struct {
	Kept    bool
	Reason  string           // the bucket; "" if kept
	Detail  string           // for people: what it is a duplicate of, what was wrong
	Example *dataset.Example // set if kept; its Index counts kept examples
}

// Sample is a refused candidate, for a report.
type Sample struct {
	Source   string      `json:"source"`
	Family   string      `json:"family"`
	Problem  string      `json:"problem"`
	Row      string      `json:"row,omitempty"`
	Exchange exchange.ID `json:"exchange,omitzero"`
	Prompt   string      `json:"prompt"`
	Answer   string      `json:"answer,omitempty"`
	Detail   string      `json:"detail,omitempty"`
}

// samplesPerReason is how many refused candidates, and how many identity
// claims, are remembered; the first ones are.
const samplesPerReason = 3

// Curator holds the rules and what was kept so far.
type Curator struct {
	opt     Options
	shared  map[string]*text.Shared // by source
	heldout struct {
		byID    map[string]bool
		texts   []Text
		overlap *text.OverlapIndex
	}
	kept     []string // the problem of each kept example
	byID     map[string]int
	byPrompt map[string]int
	said     map[string]bool // what was kept: see saying
	near     *text.NearIndex

	offered int
	refused map[string]int
	samples map[string][]Sample
	leaks   map[string]*dataset.Leak

	corrections  int
	verifiers    map[string]dataset.Outcomes
	checkSamples map[string][]Sample
}

// New makes a curator. Held-out texts are those that no example may overlap
// with; they are needed only if the options say Decontaminate, and also teach
// the curator which words the prompts of a source share.
func New(opt Options, heldout []Text) (*Curator, error) {
	if opt.Keep == "" {
		opt.Keep = KeepCorrect
	}
	if opt.Reasoning == "" {
		opt.Reasoning = ReasoningKeep
	}
	if len(opt.FinishReasons) == 0 {
		opt.FinishReasons = []string{"stop"}
	}
	if opt.Keep != KeepCorrect && opt.Keep != KeepAll {
		return nil, fmt.Errorf("curate: keep %q: want %s or %s", opt.Keep, KeepCorrect, KeepAll)
	}
	if !slices.Contains([]Reasoning{ReasoningKeep, ReasoningDrop, ReasoningRequire}, opt.Reasoning) {
		return nil, fmt.Errorf("curate: reasoning %q: want %s, %s or %s", opt.Reasoning, ReasoningKeep, ReasoningDrop, ReasoningRequire)
	}
	c := &Curator{
		opt: opt, byID: map[string]int{}, byPrompt: map[string]int{}, said: map[string]bool{}, shared: map[string]*text.Shared{},
		refused: map[string]int{}, samples: map[string][]Sample{}, leaks: map[string]*dataset.Leak{},
		verifiers: map[string]dataset.Outcomes{}, checkSamples: map[string][]Sample{},
	}
	if opt.NearDuplicates != 0 {
		near, err := text.NewNearIndex(opt.NearDuplicates)
		if err != nil {
			return nil, fmt.Errorf("curate: %w", err)
		}
		c.near = near
	}
	c.holdOut(heldout)
	return c, nil
}

// holdOut indexes the held-out texts and learns what each source shares.
func (c *Curator) holdOut(heldout []Text) {
	c.heldout.byID = map[string]bool{}
	c.heldout.overlap = text.NewOverlapIndex()
	bySource := map[string][][]string{}
	for _, h := range heldout {
		c.heldout.byID[identity(h)] = true
		if !h.Exact {
			bySource[h.Source] = append(bySource[h.Source], text.Words(h.Masked))
		}
	}
	for source, texts := range bySource {
		c.shared[source] = text.LearnShared(texts)
	}
	for _, h := range heldout {
		if !h.Exact {
			c.heldout.overlap.Add(len(c.heldout.texts), c.words(h))
			c.heldout.texts = append(c.heldout.texts, h)
		}
	}
}

// Offer decides on the next candidate in prompt order.
func (c *Curator) Offer(x Candidate) Decision {
	c.offered++
	c.noteChecks(x)
	d := c.judge(x)
	if d.Reason != "" {
		c.refuse(x, d)
		return d
	}
	d.Kept = true
	d.Example = c.example(x)
	if x.Correction != nil {
		c.corrections++
	}
	index := len(c.kept)
	c.kept = append(c.kept, x.ID)
	c.byID[identity(x.Text)] = index
	c.said[saying(x)] = true
	if !x.Exact {
		c.byPrompt[text.Normalize(x.Prompt)] = index
	}
	c.noteIdentity(d.Example)
	return d
}

// Offered returns how many candidates were offered.
func (c *Curator) Offered() int { return c.offered }

// Kept returns how many of them were kept. With Refused it adds up to Offered.
func (c *Curator) Kept() int { return len(c.kept) }

// Refused returns how many candidates each reason turned away.
func (c *Curator) Refused() map[string]int { return maps.Clone(c.refused) }

// Samples returns the first refused candidates of each reason.
func (c *Curator) Samples() map[string][]Sample { return cloned(c.samples) }

// Corrections returns how many kept examples hold a person's answer.
func (c *Curator) Corrections() int { return c.corrections }

// Verifiers returns what each verifier found, over all candidates that were
// offered with checks: also those that another reason turned away first.
func (c *Curator) Verifiers() map[string]dataset.Outcomes { return maps.Clone(c.verifiers) }

// VerifierSamples returns the first candidates that each verifier failed.
func (c *Curator) VerifierSamples() map[string][]Sample { return cloned(c.checkSamples) }

func cloned(m map[string][]Sample) map[string][]Sample {
	out := make(map[string][]Sample, len(m))
	for name, s := range m {
		out[name] = slices.Clone(s)
	}
	return out
}

// IdentityLeaks counts the kept examples in which the teacher says who it is,
// by pattern, in the patterns' order. They are kept: whether a student may
// call itself by its teacher's name is for its builder to decide.
func (c *Curator) IdentityLeaks() []dataset.Leak {
	leaks := []dataset.Leak{}
	for _, name := range text.IdentityPatterns() {
		if l, ok := c.leaks[name]; ok {
			leaks = append(leaks, *l)
		}
	}
	return leaks
}

// saying names an answer to a problem, its reasoning included.
func saying(x Candidate) string {
	a := x.Answered().Answer
	return identity(x.Text) + "\x00" + text.Normalize(a.Reasoning) + "\x00" + text.Normalize(a.Content)
}

func identity(t Text) string { return t.Family + "\x00" + t.ID }

// judge finds the first reason to refuse a candidate.
func (c *Curator) judge(x Candidate) Decision {
	for _, rule := range []func(Candidate) (string, string){
		c.judgeExchange, c.judgeAnswer, c.judgeVerdict, c.judgeContamination, c.judgeRepetition,
	} {
		if reason, detail := rule(x); reason != "" {
			return Decision{Reason: reason, Detail: detail}
		}
	}
	return Decision{}
}

func (c *Curator) judgeExchange(x Candidate) (reason, detail string) {
	e := x.Answered()
	if e == nil || !e.OK() || x.Err != nil && x.Correction == nil {
		class, detail := exchange.ErrorClass("unknown"), ""
		var failed *exchange.Error
		switch {
		case e != nil && e.ErrorClass != "":
			class, detail = e.ErrorClass, e.ErrorText
		case errors.As(x.Err, &failed):
			class, detail = failed.Class, failed.Error()
		case x.Err != nil:
			detail = x.Err.Error()
		case e != nil:
			detail = fmt.Sprintf("HTTP status %d", e.Status)
		}
		return ErrorPrefix + string(class), detail
	}
	if c.opt.Gate != nil {
		if err := c.opt.Gate(e.TermsID); err != nil {
			return ReasonTerms, err.Error()
		}
	}
	return "", ""
}

func (c *Curator) judgeAnswer(x Candidate) (reason, detail string) {
	a := x.Answered().Answer
	if x.Correction == nil && !slices.Contains(c.opt.FinishReasons, a.FinishReason) {
		return FinishPrefix + cmp.Or(a.FinishReason, "missing"), ""
	}
	if strings.TrimSpace(a.Content) == "" && len(a.ToolCalls) == 0 {
		return ReasonEmptyAnswer, ""
	}
	if c.opt.Reasoning == ReasoningRequire && strings.TrimSpace(a.Reasoning) == "" {
		return ReasonEmptyReasoning, ""
	}
	return "", ""
}

// judgeVerdict lets a person's correction pass whatever the verifiers say: its
// verdict then tells that they disagree.
func (c *Curator) judgeVerdict(x Candidate) (reason, detail string) {
	v := x.Verdict
	if v.Correct || v.Reason == task.ReasonNoGold || c.opt.Keep == KeepAll || x.Correction != nil {
		return "", ""
	}
	if v.Answer != "" {
		detail = fmt.Sprintf("answered %q", v.Answer)
	}
	return cmp.Or(v.Reason, task.ReasonWrong), detail
}

func (c *Curator) judgeContamination(x Candidate) (reason, detail string) {
	if !c.opt.Decontaminate {
		return "", ""
	}
	if c.heldout.byID[identity(x.Text)] {
		return ReasonContaminated, "it is held-out problem " + x.ID
	}
	if x.Exact {
		return "", ""
	}
	if p, ok := task.Parse(x.Prompt); ok && c.heldout.byID[identity(Text{Family: p.Family, ID: p.ID})] {
		return ReasonContaminated, "it is held-out problem " + p.ID
	}
	if len(c.heldout.texts) == 0 {
		return "", ""
	}
	if o, ok := c.heldout.overlap.Find(c.words(x.Text)); ok {
		return ReasonContaminated, c.overlapText("its prompt", o)
	}
	a := x.Answered().Answer
	for _, part := range []struct{ name, text string }{
		{"its reasoning", a.Reasoning}, {"its answer", a.Content},
	} {
		words := c.shared[x.Source].Mask(text.Words(part.text))
		if len(words) < text.ShortWords {
			continue // "yes" is an answer, not a leak of a prompt that reads "yes"
		}
		if o, ok := c.heldout.overlap.Find(words); ok {
			return ReasonContaminated, c.overlapText(part.name, o)
		}
	}
	return "", ""
}

func (c *Curator) overlapText(part string, o text.Overlap) string {
	h := c.heldout.texts[o.ID]
	return fmt.Sprintf("%s shares %q with held-out problem %s", part, o.Words, h.ID)
}

func (c *Curator) judgeRepetition(x Candidate) (reason, detail string) {
	earlier, repeated := c.byID[identity(x.Text)]
	if repeated && x.Sample > 0 { // asked again on purpose
		if c.said[saying(x)] {
			return ReasonDuplicate, fmt.Sprintf("the answer of example %d, or an earlier one, to the same problem", earlier)
		}
		return "", ""
	}
	if !repeated && !x.Exact {
		earlier, repeated = c.byPrompt[text.Normalize(x.Prompt)]
	}
	if repeated {
		return ReasonDuplicate, fmt.Sprintf("of example %d, problem %s", earlier, c.kept[earlier])
	}
	if c.near == nil || x.Exact {
		return "", ""
	}
	// Everything else has been decided: if this is no near-duplicate it is
	// kept, so that the index holds kept examples only.
	if n, ok := c.near.Add(len(c.kept), c.words(x.Text)); ok {
		return ReasonNearDuplicate, fmt.Sprintf("%.2f similar to example %d, problem %s", n.Jaccard, n.ID, c.kept[n.ID])
	}
	return "", ""
}

func (c *Curator) words(t Text) []string {
	return c.shared[t.Source].Mask(text.Words(t.Masked))
}

func (c *Curator) example(x Candidate) *dataset.Example {
	from := x.Answered()
	e := &dataset.Example{
		Index: len(c.kept), Source: x.Source, Family: x.Family, Problem: x.ID, Row: x.Row,
		RowID: x.RowID, Prompt: slices.Clone(x.Messages), Tools: x.Tools,
		Answer: from.Answer.Content, ToolCalls: slices.Clone(from.Answer.ToolCalls), Rejected: x.Rejected,
		Origin: from.Origin, TermsID: from.TermsID, ExchangeID: from.ID, Key: from.Key,
	}
	if c.opt.Reasoning != ReasoningDrop {
		e.Reasoning = from.Answer.Reasoning
	}
	switch {
	case x.Verdict.Correct:
		e.Verdict = task.ReasonCorrect
	case x.Correction != nil:
		e.Verdict = VerdictCorrected
	case x.Verdict.Reason == task.ReasonNoGold || x.Verdict.Reason == "":
		e.Verdict = VerdictUnverified
	default:
		e.Verdict = x.Verdict.Reason
	}
	// What a person found not good enough is the worse half of a preference pair.
	if x.Correction != nil && x.Exchange != nil && e.Rejected == "" && x.Exchange.Answer.Content != e.Answer {
		e.Rejected = x.Exchange.Answer.Content
	}
	return e
}

func (c *Curator) refuse(x Candidate, d Decision) {
	c.refused[d.Reason]++
	if len(c.samples[d.Reason]) < samplesPerReason {
		c.samples[d.Reason] = append(c.samples[d.Reason], sample(x, d.Detail))
	}
}

func sample(x Candidate, detail string) Sample {
	s := Sample{Source: x.Source, Family: x.Family, Problem: x.ID, Row: x.Row, Prompt: x.Prompt, Detail: detail}
	if e := x.Answered(); e != nil {
		s.Exchange, s.Answer = e.ID, e.Answer.Content
	}
	return s
}

// noteChecks counts what each verifier found.
func (c *Curator) noteChecks(x Candidate) {
	for _, check := range x.Checks {
		n := c.verifiers[check.Verifier]
		switch check.Outcome {
		case ledger.OutcomePass:
			n.Pass++
		case ledger.OutcomeSkip:
			n.Skip++
		case ledger.OutcomeFail:
			n.Fail++
		default:
			n.Error++
		}
		c.verifiers[check.Verifier] = n
		if check.Outcome == ledger.OutcomePass || check.Outcome == ledger.OutcomeSkip || len(c.checkSamples[check.Verifier]) == samplesPerReason {
			continue
		}
		detail := check.Reason
		if check.Detail != "" {
			detail += ": " + check.Detail
		}
		c.checkSamples[check.Verifier] = append(c.checkSamples[check.Verifier], sample(x, detail))
	}
}

// noteIdentity looks for identity claims in what the student will learn to
// say; each pattern counts once per example.
func (c *Curator) noteIdentity(e *dataset.Example) {
	seen := map[string]bool{}
	for _, part := range []string{e.Reasoning, e.Answer} {
		for _, claim := range text.FindIdentity(part) {
			if seen[claim.Pattern] {
				continue
			}
			seen[claim.Pattern] = true
			l := c.leaks[claim.Pattern]
			if l == nil {
				l = &dataset.Leak{Pattern: claim.Pattern}
				c.leaks[claim.Pattern] = l
			}
			l.Count++
			if len(l.Samples) < samplesPerReason {
				l.Samples = append(l.Samples, claim.Snippet)
			}
		}
	}
}
