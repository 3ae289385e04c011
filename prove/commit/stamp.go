package commit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
)

const (
	// maxStamp is how long an authority's response may be.
	maxStamp = 256 << 10
	// demonstration is the organisation in the certificate of a local witness. No
	// third party calls itself that.
	demonstration = "Retort demonstration witness, not a third party"
)

// Authority is a time-stamping authority (RFC 3161) behind a URL.
type Authority struct {
	URL    string
	Client *http.Client // nil: http.DefaultClient
}

// Stamp implements Stamper.
func (a Authority) Stamp(ctx context.Context, digest [32]byte) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, err
	}
	ask := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true, Nonce: nonce}
	body, err := ask.Marshal()
	if err != nil {
		return nil, fmt.Errorf("time-stamp request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("time-stamp request: %w", err)
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	client := a.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("time-stamping authority: %w", err)
	}
	defer resp.Body.Close()
	der, err := io.ReadAll(io.LimitReader(resp.Body, maxStamp+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("time-stamping authority %s: %w", a.URL, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("time-stamping authority %s: it answered %s", a.URL, resp.Status)
	case len(der) > maxStamp:
		return nil, fmt.Errorf("time-stamping authority %s: its answer is longer than %d bytes", a.URL, maxStamp)
	}
	ts, err := timestamp.ParseResponse(der)
	if err != nil {
		return nil, fmt.Errorf("time-stamping authority %s: %w", a.URL, err)
	}
	if ts.Nonce == nil || ts.Nonce.Cmp(nonce) != 0 {
		return nil, fmt.Errorf("time-stamping authority %s: the answer is to another request", a.URL)
	}
	return der, nil
}

// Stamped is what a stamp says.
type Stamped struct {
	Time          time.Time
	Authority     string // as its certificate names it
	Demonstration bool   // by a local witness: not a third party
	Trusted       bool   // its certificate leads to one of the roots that were given
}

// CheckStamp checks that an RFC 3161 response is about a digest and signed by the
// certificate that it brings along, which must be for time stamps. With roots that
// certificate must lead to one of them, unless it is a local witness's.
func CheckStamp(der []byte, digest [32]byte, roots *x509.CertPool) (Stamped, error) {
	ts, err := timestamp.ParseResponse(der)
	if err != nil {
		return Stamped{}, fmt.Errorf("stamp: %w", err)
	}
	switch {
	case ts.HashAlgorithm != crypto.SHA256 || !bytes.Equal(ts.HashedMessage, digest[:]):
		return Stamped{}, errors.New("stamp: it is about something else")
	}
	token, err := pkcs7.Parse(ts.RawToken)
	if err != nil {
		return Stamped{}, fmt.Errorf("stamp: %w", err)
	}
	cert := token.GetOnlySigner() // not any certificate that it brings along
	switch {
	case cert == nil:
		return Stamped{}, errors.New("stamp: it brings no certificate of its one signer, so that its signature cannot be checked")
	case !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageTimeStamping):
		return Stamped{}, errors.New("stamp: its signer's certificate is not for time stamps")
	}
	s := Stamped{Time: ts.Time, Authority: cert.Subject.String(), Demonstration: slices.Contains(cert.Subject.Organization, demonstration)}
	if roots != nil && !s.Demonstration {
		between := x509.NewCertPool()
		for _, c := range ts.Certificates {
			between.AddCert(c)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: ts.Time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}); err != nil {
			return Stamped{}, fmt.Errorf("stamp: %w", err)
		}
		s.Trusted = true
	}
	return s, nil
}

// Witness stamps on this machine, for demonstrations: whoever runs it can set its
// clock, so that its stamps prove nothing to a stranger, and its certificate says so.
type Witness struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	now  func() time.Time
}

// NewWitness makes a witness with a key of its own. now may be nil: time.Now.
func NewWitness(now func() time.Time) (*Witness, error) {
	if now == nil {
		now = time.Now
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("demonstration witness: %w", err)
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, fmt.Errorf("demonstration witness: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{demonstration}, CommonName: "local witness"},
		NotBefore: now().Add(-24 * time.Hour), NotAfter: now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}, // RFC 3161, 2.3
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("demonstration witness: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("demonstration witness: %w", err)
	}
	return &Witness{key, cert, now}, nil
}

// Stamp implements Stamper.
func (w *Witness) Stamp(_ context.Context, digest [32]byte) ([]byte, error) {
	return w.respond(&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:]})
}

func (w *Witness) respond(req *timestamp.Request) ([]byte, error) {
	ts := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce, Time: w.now().UTC().Truncate(time.Second),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, AddTSACertificate: true, // the number that RFC 5612 keeps for examples
	}
	der, err := ts.CreateResponseWithOpts(w.cert, w.key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("demonstration witness: %w", err)
	}
	return der, nil
}

// ServeHTTP implements http.Handler: RFC 3161 over HTTP.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxStamp))
	if err != nil || r.Method != http.MethodPost {
		http.Error(rw, "POST a time-stamp request", http.StatusBadRequest)
		return
	}
	req, err := timestamp.ParseRequest(body)
	if err != nil {
		http.Error(rw, "that is no time-stamp request", http.StatusBadRequest)
		return
	}
	der, err := w.respond(req)
	if err != nil {
		http.Error(rw, "the request cannot be stamped", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = rw.Write(der) // a client that has gone does not read it
}
