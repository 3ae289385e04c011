package evidence

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"

	"retort/exchange"
	"retort/prove/expose"
)

// Checked is a pack that verifies.
type Checked struct {
	Manifest Manifest
	Frame    *expose.Frame
	Terms    []byte
	Results  *Results
	// Rendered says that the report was rendered anew and is the same to the byte: where
	// another version of this program made it, it need not be. Its figures are those of
	// the results in any case, which were computed anew.
	Rendered bool
}

// Verify checks a pack against a public key that the reader trusts, without a network.
// A rotation of keys leads from one to the other. roots are certificates of
// time-stamping authorities; nil leaves stamps untraced: their signatures are checked,
// not who made them. The error is a *Failure, which names the part.
func Verify(file []byte, key string, roots *x509.CertPool) (*Checked, error) {
	parts, err := unarchive(file)
	if err != nil {
		return nil, err
	}
	if len(parts) < 2 || parts[0].name != partManifest || parts[1].name != partNote {
		return nil, failed("archive", "it does not begin with %s and %s", partManifest, partNote)
	}
	data := map[string][]byte{}
	for i, p := range parts[2:] {
		if i >= len(partNames) || p.name != partNames[i] {
			return nil, failed("archive", "part %q has no place here", p.name)
		}
		data[p.name] = p.data
	}
	x := &contents{roots: roots}
	// The rotations are needed to know whose signature counts. They are signed
	// themselves.
	if err := decode(data[partKeys], &x.keys); err != nil {
		return nil, failed(partKeys, "%v", err)
	}
	if x.trusted, err = trusted(key, x.keys); err != nil {
		return nil, err
	}
	m := &x.manifest
	if err := decode(parts[0].data, m); err != nil {
		return nil, failed(partManifest, "%v", err)
	}
	text, err := openByAny(string(parts[1].data), x.trusted)
	if err != nil {
		return nil, failed(partNote, "%v", err)
	}
	if text != manifestText(parts[0].data) {
		return nil, failed(partManifest, "it is not the one that was signed")
	}
	if err := m.check(x, data); err != nil {
		return nil, err
	}
	if err := x.read(data); err != nil {
		return nil, err
	}
	var stated Results
	if err := decode(data[partResults], &stated); err != nil {
		return nil, failed(partResults, "%v", err)
	}
	found, err := x.compute(stated.Grid)
	if err != nil {
		return nil, err
	}
	if err := same(found, &stated); err != nil {
		return nil, failed(partResults, "%v", err)
	}
	page, err := render(m, x.frame, &stated)
	if err != nil {
		return nil, failed(partReport, "%v", err)
	}
	return &Checked{*m, x.frame, data[partTerms], found, bytes.Equal(page, data[partReport])}, nil
}

// check checks the manifest against the parts.
func (m *Manifest) check(x *contents, data map[string][]byte) error {
	switch {
	case m.Version != Version:
		return failed(partManifest, "version %d is not known to this program; it reads %d", m.Version, Version)
	case x.trusted[m.Signer] == nil:
		return failed(partManifest, "it names another signer")
	case m.Disclosure != DiscloseFull && m.Disclosure != DiscloseHashed:
		return failed(partManifest, "disclosure %q is not known", m.Disclosure)
	case len(m.Files) != len(partNames):
		return failed(partManifest, "it lists %d parts, not %d", len(m.Files), len(partNames))
	}
	for i, f := range m.Files {
		p, ok := data[partNames[i]]
		switch {
		case f.Name != partNames[i]:
			return failed(partManifest, "it lists %q where %s belongs", f.Name, partNames[i])
		case !ok:
			return failed(f.Name, "it is missing")
		case int64(len(p)) != f.Bytes || sha(p) != f.SHA256:
			return failed(f.Name, "it is not the one that was signed")
		}
	}
	return nil
}

// read reads the parts.
func (x *contents) read(data map[string][]byte) (err error) {
	if x.frame, err = expose.ParseFrame(data[partFrame]); err != nil {
		return failed(partFrame, "%v", err)
	}
	if x.raw, err = splitLines(data[partLog]); err != nil {
		return failed(partLog, "%v", err)
	}
	if err := decode(data[partHeads], &x.heads); err != nil {
		return failed(partHeads, "%v", err)
	}
	if x.coins, err = readCoins(data[partCoins]); err != nil {
		return failed(partCoins, "%v", err)
	}
	x.scores = data[partScores]
	if x.lines, err = expose.ParseLines(x.scores); err != nil {
		return failed(partScores, "%v", err)
	}
	if err := decode(data[partIdentity], &x.said); err != nil {
		return failed(partIdentity, "%v", err)
	}
	terms, err := exchange.CanonicalJSON(data[partTerms])
	if err != nil || !bytes.Equal(terms, data[partTerms]) {
		return failed(partTerms, "it is not canonical JSON")
	}
	return nil
}

func readCoins(b []byte) ([]coin, error) {
	lines, err := splitLines(b)
	if err != nil {
		return nil, err
	}
	coins := make([]coin, len(lines))
	for i, l := range lines {
		if err := decode(l, &coins[i]); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return coins, nil
}

// same compares figures that were computed anew with those that a pack states.
func same(found, stated *Results) error {
	switch {
	case found.Examined != stated.Examined || found.Coins != stated.Coins || found.Leaves != stated.Leaves || found.Served != stated.Served || !maps.Equal(found.Void, stated.Void):
		return fmt.Errorf("it counts %d coins in %d leaves, and there are %d in %d, or their voids or the frames examined differ", stated.Coins, stated.Leaves, found.Coins, found.Leaves)
	case found.Stamp.Size != stated.Stamp.Size || found.Stamp.Time != stated.Stamp.Time || found.Stamp.Authority != stated.Stamp.Authority || found.Stamp.Demonstration != stated.Stamp.Demonstration:
		return errors.New("it states another stamp")
	case len(found.Outcomes) != len(stated.Outcomes) || len(found.Findings) != len(stated.Findings) || len(found.Identity) != len(stated.Identity):
		return errors.New("it states more or fewer outcomes")
	case !near(found.Power, stated.Power):
		return fmt.Errorf("it states a power of %v, which is %v", stated.Power, found.Power)
	}
	for i, a := range found.Outcomes {
		b := stated.Outcomes[i]
		if !near(a.LogP, b.LogP) || !near(a.LogE, b.LogE) || !near(a.LogBest, b.LogBest) || !near(a.Adjusted, b.Adjusted) {
			return fmt.Errorf("%s, %s: it states a log p of %v and a log e of %v, which are %v and %v", b.Model, b.Subject, b.LogP, b.LogE, a.LogP, a.LogE)
		}
		b.LogP, b.LogE, b.LogBest, b.Adjusted = a.LogP, a.LogE, a.LogBest, a.Adjusted
		if a != b {
			return fmt.Errorf("%s, %s: it states %+v, which is %+v", b.Model, b.Subject, b, a)
		}
	}
	for i, a := range found.Findings {
		b := stated.Findings[i]
		if !near(a.LogP, b.LogP) || !near(a.LogE, b.LogE) {
			return fmt.Errorf("finding %d: its figures are not those of its outcome", i+1)
		}
		b.LogP, b.LogE = a.LogP, a.LogE
		if a != b {
			return fmt.Errorf("finding %d says %q, the figures say %q", i+1, b.What, a.What)
		}
	}
	if !slices.Equal(found.Identity, stated.Identity) {
		return errors.New("it states another likelihood ratio")
	}
	return nil
}

// Report renders the report of a pack that verifies, from the figures that were
// computed.
func (c *Checked) Report() ([]byte, error) { return render(&c.Manifest, c.Frame, c.Results) }
