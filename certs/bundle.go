// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"
)

// The keys of the Secret.
const (
	keyCert          = "ca.crt"         // the CA that signs
	keyKey           = "ca.key"         // its key
	keyNextCert      = "next.crt"       // the CA that will sign
	keyNextKey       = "next.key"       // its key
	keyNextPublished = "next.published" // when every entry of the webhook object had it; RFC 3339
	keyOldCerts      = "old.crt"        // CAs that no longer sign
	keyOldUntil      = "old.until"      // when the last certificate that they signed expires; RFC 3339
)

// bundle is the content of the Secret.
type bundle struct {
	current       *authority // nil before the first start
	next          *authority // nil unless the CA is being rotated
	nextPublished time.Time  // zero if next is not published yet
	old           []*x509.Certificate
	oldUntil      time.Time
}

// parseBundle parses the data of the Secret. A Secret without data is an empty bundle.
func parseBundle(data map[string][]byte) (bundle, error) {
	var b bundle
	var err error
	if len(data[keyCert]) > 0 || len(data[keyKey]) > 0 {
		if b.current, err = parseAuthority(data[keyCert], data[keyKey]); err != nil {
			return bundle{}, fmt.Errorf("key %s: %w", keyCert, err)
		}
	}
	if len(data[keyNextCert]) > 0 {
		if b.next, err = parseAuthority(data[keyNextCert], data[keyNextKey]); err != nil {
			return bundle{}, fmt.Errorf("key %s: %w", keyNextCert, err)
		}
	}
	if b.old, err = parseCerts(data[keyOldCerts]); err != nil {
		return bundle{}, fmt.Errorf("key %s: %w", keyOldCerts, err)
	}
	if b.nextPublished, err = parseTime(data[keyNextPublished]); err != nil {
		return bundle{}, fmt.Errorf("key %s: %w", keyNextPublished, err)
	}
	if b.oldUntil, err = parseTime(data[keyOldUntil]); err != nil {
		return bundle{}, fmt.Errorf("key %s: %w", keyOldUntil, err)
	}
	return b, nil
}

func parseTime(text []byte) (time.Time, error) {
	if len(text) == 0 {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, string(text))
}

func (b bundle) data() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, item := range []struct {
		authority *authority
		cert, key string
	}{{b.current, keyCert, keyKey}, {b.next, keyNextCert, keyNextKey}} {
		if item.authority == nil {
			continue
		}
		key, err := item.authority.keyPEM()
		if err != nil {
			return nil, err
		}
		out[item.cert], out[item.key] = certPEM(item.authority.cert), key
	}
	if b.next != nil && !b.nextPublished.IsZero() {
		out[keyNextPublished] = []byte(b.nextPublished.UTC().Format(time.RFC3339))
	}
	if len(b.old) > 0 {
		out[keyOldUntil] = []byte(b.oldUntil.UTC().Format(time.RFC3339))
	}
	for _, cert := range b.old {
		out[keyOldCerts] = append(out[keyOldCerts], certPEM(cert)...)
	}
	return out, nil
}

// trusted returns the caBundle that verifies every certificate that is served now or soon: the CA that signs, the next one, and
// the previous ones. Expired CAs are omitted.
func (b bundle) trusted(now time.Time) []byte {
	var out []byte
	add := func(cert *x509.Certificate) {
		if text := certPEM(cert); now.Before(cert.NotAfter) && !bytes.Contains(out, text) {
			out = append(out, text...)
		}
	}
	if b.current != nil {
		add(b.current.cert)
	}
	if b.next != nil {
		add(b.next.cert)
	}
	for _, cert := range b.old {
		add(cert)
	}
	return out
}

// step is one change of the bundle.
type step string

const (
	nothing step = ""
	create  step = "create"  // create a CA that signs at once
	prepare step = "prepare" // create the next CA
	promote step = "promote" // sign with the next CA
	forget  step = "forget"  // remove the old CAs
)

// dueStep returns the next change of the bundle that is due, and why. overlap is how long the next CA is published before it
// signs.
func dueStep(b bundle, now time.Time, overlap time.Duration) (step, string) {
	switch {
	case b.current == nil:
		return create, "there is no CA yet"
	case !now.Before(b.current.cert.NotAfter):
		return create, "the CA expired"
	case b.next != nil && !b.nextPublished.IsZero() && !now.Before(b.nextPublished.Add(overlap)):
		return promote, "the next CA is published everywhere"
	case b.next == nil && !now.Before(renewal(b.current.cert)):
		return prepare, "two thirds of the CA's lifetime have passed"
	case len(b.old) > 0 && !now.Before(b.oldUntil):
		return forget, "the certificates of the old CA have expired"
	}
	return nothing, ""
}

func (b bundle) after(s step, now time.Time, caDuration, leafDuration time.Duration) (bundle, error) {
	switch s {
	case create, prepare:
		made, err := newAuthority(now, caDuration)
		if err != nil {
			return bundle{}, err
		}
		if s == prepare {
			b.next, b.nextPublished = made, time.Time{}
			return b, nil
		}
		return b.replace(made, now.Add(leafDuration)), nil
	case promote:
		return b.replace(b.next, now.Add(leafDuration)), nil
	case forget:
		b.old, b.oldUntil = nil, time.Time{}
	}
	return b, nil
}

// replace returns the bundle with another CA that signs. The previous one stays trusted until the given time.
func (b bundle) replace(with *authority, until time.Time) bundle {
	out := bundle{current: with, old: b.old, oldUntil: b.oldUntil}
	if b.current != nil {
		out.old = append([]*x509.Certificate{b.current.cert}, b.old...)
		out.oldUntil = until
	}
	return out
}

// nextChange returns when the result of dueStep changes by time alone; zero if it does not.
func (b bundle) nextChange(overlap time.Duration) time.Time {
	if b.current == nil {
		return time.Time{}
	}
	at := renewal(b.current.cert)
	if b.next != nil {
		at = b.nextPublished.Add(overlap)
		if b.nextPublished.IsZero() {
			at = b.current.cert.NotAfter
		}
	}
	if len(b.old) > 0 && b.oldUntil.Before(at) {
		at = b.oldUntil
	}
	return at
}
