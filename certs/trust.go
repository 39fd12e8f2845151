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

// trust is what an API server may trust: the distinct caBundles of the entries of a webhook object. A certificate is trusted if all
// of them verify it.
type trust [][]byte

// trustOf returns the trust of entries with these caBundles.
func trustOf(bundles ...[]byte) trust {
	var out trust
	for _, bundle := range bundles {
		if !slices.ContainsFunc(out, func(one []byte) bool { return bytes.Equal(one, bundle) }) {
			out = append(out, bundle)
		}
	}
	return out
}

func (t trust) has(cert *x509.Certificate) bool {
	for _, bundle := range t {
		if !contains(bundleCerts(bundle), cert) {
			return false
		}
	}
	return len(t) > 0
}

// verify returns the CAs, at least one of each caBundle, with which an API server that calls the host accepts the certificate. It
// returns an error if one of the caBundles does not verify it.
func (t trust) verify(certificate *tls.Certificate, host string, now time.Time) ([]*x509.Certificate, error) {
	if len(t) == 0 {
		return nil, errors.New("the caBundle has not been read yet")
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

// bundleCerts returns the certificates of a caBundle. Like an API server, it ignores everything else.
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

// sightings holds when a replica first saw certificates in some state. The key is the certificate in DER.
type sightings map[string]time.Time

// note returns the sightings when exactly these certificates are seen now.
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

func (t trust) certs() []*x509.Certificate {
	var out []*x509.Certificate
	for _, bundle := range t {
		out = append(out, bundleCerts(bundle)...)
	}
	return out
}

// bundleFor returns the caBundle that an entry must have: the CAs that the source offers, those that it retired within the lease,
// and the foreign CAs that the entry already has and whose lease has not ended. It never adds a foreign CA to an entry.
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

// retired returns the CAs that the source offered within the lease and no longer offers.
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

// noteOffered returns the sightings when the source offers these CAs now. Retired ones keep their time.
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

// sameCerts reports whether two caBundles contain the same certificates. Replicas may order them differently, and must not rewrite
// each other's order.
func sameCerts(a, b []byte) bool {
	left, right := bundleCerts(a), bundleCerts(b)
	return len(left) == len(right) && !slices.ContainsFunc(left, func(cert *x509.Certificate) bool { return !contains(right, cert) })
}

// choice is what to do with the certificate that a source offers.
type choice struct {
	serve bool
	why   string    // the reason, as a clause
	again time.Time // when the choice changes by time alone; zero if never
}

// choose decides whether the offered certificate replaces the served one. While API servers trust the served one, a certificate
// that they do not trust, or whose CA was published less than the overlap ago, is not served. since holds when each CA was first
// seen in the webhook object.
func choose(serving, offered *tls.Certificate, published trust, since sightings, o chooseOptions) choice {
	switch {
	case offered == nil || serving != nil && sameCertificate(serving, offered):
		return choice{}
	case serving == nil:
		return choice{serve: true, why: "no certificate is served yet"}
	}
	_, servedErr := published.verify(serving, o.host, o.now)
	roots, err := published.verify(offered, o.host, o.now)
	switch {
	case err != nil && servedErr == nil:
		return choice{why: fmt.Sprintf("the caBundle does not verify it: %v", err)}
	case servedErr != nil:
		return choice{serve: true, why: fmt.Sprintf("the caBundle does not verify the served one: %v", servedErr)}
	}
	if at := since.earliest(roots).Add(o.overlap); o.now.Before(at) {
		return choice{again: at}
	}
	return choice{serve: true, why: "it is new, and its CA is published"}
}

// chooseOptions holds what a choice depends on besides the certificates.
type chooseOptions struct {
	host    string // that API servers call
	now     time.Time
	overlap time.Duration // how long a CA is published before a certificate that it signed is served
}

// earliest returns when one of the certificates was first seen; the zero time if none was.
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
