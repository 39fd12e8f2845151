// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// trust is what an API server may trust: the different caBundles that the entries of a webhook object have. A
// certificate is trusted if every one of them verifies it.
type trust [][]byte

// trustOf returns the trust of entries that have these caBundles.
func trustOf(bundles ...[]byte) trust {
	var out trust
	for _, bundle := range bundles {
		if !slices.ContainsFunc(out, func(one []byte) bool { return bytes.Equal(one, bundle) }) {
			out = append(out, bundle)
		}
	}
	return out
}

// has returns whether every caBundle holds the certificate.
func (t trust) has(cert *x509.Certificate) bool {
	for _, bundle := range t {
		if !contains(bundleCerts(bundle), cert) {
			return false
		}
	}
	return len(t) > 0
}

// verify returns the CAs, one or more of each caBundle, by which an API server that asks for the host accepts the
// certificate; an error if one of the caBundles does not verify it.
func (t trust) verify(certificate *tls.Certificate, host string, now time.Time) ([]*x509.Certificate, error) {
	if len(t) == 0 {
		return nil, errors.New("no caBundle is known yet")
	}
	intermediates := x509.NewCertPool()
	for _, der := range certificate.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(cert)
		}
	}
	var roots []*x509.Certificate
	for _, bundle := range t {
		pool := x509.NewCertPool()
		for _, cert := range bundleCerts(bundle) {
			pool.AddCert(cert)
		}
		chains, err := certificate.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: pool, Intermediates: intermediates, CurrentTime: now})
		if err != nil {
			return nil, err
		}
		for _, chain := range chains {
			roots = append(roots, chain[len(chain)-1])
		}
	}
	return roots, nil
}

// bundleCerts reads the certificates of a caBundle as an API server does: what is none is passed over.
func bundleCerts(bundle []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return out
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" && !contains(out, cert) {
			out = append(out, cert)
		}
	}
}

func contains(certs []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(certs, cert.Equal)
}

// sightings remember since when a replica has seen certificates in a certain state. The key is the certificate in DER.
type sightings map[string]time.Time

// note returns the sightings after these, and only these, certificates are seen now.
func (s sightings) note(certs []*x509.Certificate, now time.Time) sightings {
	out := sightings{}
	for _, cert := range certs {
		since, known := s[string(cert.Raw)]
		if !known {
			since = now
		}
		out[string(cert.Raw)] = since
	}
	return out
}

// certs returns the certificates of all caBundles.
func (t trust) certs() []*x509.Certificate {
	var out []*x509.Certificate
	for _, bundle := range t {
		out = append(out, bundleCerts(bundle)...)
	}
	return out
}

// bundleFor returns the caBundle that an entry must have: the CAs that the source offers, those that it offered until a
// moment ago, and those foreign CAs that the entry has already and whose lease has not ended. A foreign CA never comes
// into an entry this way.
func bundleFor(entry, trusted []byte, retired []*x509.Certificate, records ledger, now time.Time) []byte {
	out := bytes.Clone(trusted)
	added := bundleCerts(trusted)
	add := func(cert *x509.Certificate) {
		if !contains(added, cert) && now.Before(cert.NotAfter) {
			added = append(added, cert)
			out = append(out, certPEM(cert)...)
		}
	}
	for _, cert := range retired {
		add(cert)
	}
	for _, cert := range bundleCerts(entry) {
		if records.leased(cert, now) {
			add(cert)
		}
	}
	return out
}

// retired returns the CAs that the source offered within the lease, and does not offer any more.
func (s sightings) retired(ours []*x509.Certificate, now time.Time) []*x509.Certificate {
	var out []*x509.Certificate
	for der, last := range s {
		cert, err := x509.ParseCertificate([]byte(der))
		if err == nil && !contains(ours, cert) && now.Before(last.Add(lease)) {
			out = append(out, cert)
		}
	}
	slices.SortFunc(out, func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	return out
}

// noteOffered returns the sightings after the source offers these CAs now. Those that it retired keep their time.
func noteOffered(retired []*x509.Certificate, before sightings, ours []*x509.Certificate, now time.Time) sightings {
	out := sightings{}
	for _, cert := range retired {
		out[string(cert.Raw)] = before[string(cert.Raw)]
	}
	for _, cert := range ours {
		out[string(cert.Raw)] = now
	}
	return out
}

// sameCerts tells whether two caBundles say the same. Their order says nothing, and two replicas may put them in
// different ones: to write only that would have them write in turn.
func sameCerts(a, b []byte) bool {
	left, right := bundleCerts(a), bundleCerts(b)
	return len(left) == len(right) && !slices.ContainsFunc(left, func(cert *x509.Certificate) bool { return !contains(right, cert) })
}

// choice is what to do with the certificate that a source offers.
type choice struct {
	serve bool
	why   string    // in a sentence
	again time.Time // when the choice will be another one by time alone; zero if never
}

// choose tells whether the offered certificate must take the place of the one that is served. One that API servers do
// not trust, or may not have heard yet that they should, is not served while the old one is trusted. since says since
// when each CA is published.
func choose(serving, offered *tls.Certificate, published trust, since sightings, o chooseOptions) choice {
	switch {
	case offered == nil || serving != nil && sameCertificate(serving, offered):
		return choice{}
	case serving == nil:
		return choice{serve: true, why: "there is none yet"}
	}
	_, servedErr := published.verify(serving, o.host, o.now)
	roots, err := published.verify(offered, o.host, o.now)
	switch {
	case err != nil && servedErr == nil:
		return choice{why: fmt.Sprintf("the caBundle does not verify it: %v", err)}
	case servedErr != nil:
		return choice{serve: true, why: fmt.Sprintf("the caBundle does not verify the one before: %v", servedErr)}
	}
	if at := since.earliest(roots).Add(o.overlap); o.now.Before(at) {
		return choice{again: at}
	}
	return choice{serve: true, why: "it is newer, and its CA is published"}
}

// chooseOptions are the facts that a choice depends on beside the certificates.
type chooseOptions struct {
	host    string // for which API servers ask
	now     time.Time
	overlap time.Duration // how long a CA is published before something that it signed is served
}

// earliest returns since when one of the certificates has been seen; the zero time if none has.
func (s sightings) earliest(certs []*x509.Certificate) time.Time {
	var out time.Time
	for _, cert := range certs {
		if at, seen := s[string(cert.Raw)]; seen && (out.IsZero() || at.Before(out)) {
			out = at
		}
	}
	return out
}

func sameCertificate(a, b *tls.Certificate) bool {
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
}
