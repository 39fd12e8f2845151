// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

func mustAuthority(t *testing.T, now time.Time, duration time.Duration) *authority {
	t.Helper()
	a, err := newAuthority(now, duration)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNeedsSigningSaysWhenAndWhy(t *testing.T) {
	ca, other := mustAuthority(t, start, 1000*time.Hour), mustAuthority(t, start, 1000*time.Hour)
	hosts := []string{"outrigger.outrigger-system.svc", "127.0.0.1"}
	certificate, err := ca.issue(hosts, start, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		leaf  *x509.Certificate
		ca    *authority
		hosts []string
		after time.Duration
		why   string // "" = not due
	}{
		"fresh":              {certificate.Leaf, ca, hosts, 0, ""},
		"other order":        {certificate.Leaf, ca, []string{hosts[1], hosts[0]}, 0, ""},
		"just before":        {certificate.Leaf, ca, hosts, 15*time.Hour + 55*time.Minute, ""},
		"two thirds over":    {certificate.Leaf, ca, hosts, 16 * time.Hour, "two thirds"},
		"ended":              {certificate.Leaf, ca, hosts, 25 * time.Hour, "two thirds"},
		"none":               {nil, ca, hosts, 0, "no certificate yet"},
		"signing CA changed": {certificate.Leaf, other, hosts, 0, "signing CA changed"},
		"another host":       {certificate.Leaf, ca, []string{"webhook.example"}, 0, "hosts changed"},
		"one host more":      {certificate.Leaf, ca, append([]string{"b"}, hosts...), 0, "hosts changed"},
		"the clock is back":  {certificate.Leaf, ca, hosts, -time.Hour, "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			is, why := needsSigning(test.leaf, test.ca, test.hosts, start.Add(test.after))
			if is != (test.why != "") || !strings.Contains(why, test.why) {
				t.Errorf("got %v %q, want why %q", is, why, test.why)
			}
		})
	}
}

func TestIssueMakesACertificateThatVerifiesForItsHostsOnly(t *testing.T) {
	ca := mustAuthority(t, start, 1000*time.Hour)
	certificate, err := ca.issue([]string{"a.svc", "::1"}, start, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for host, want := range map[string]bool{"a.svc": true, "::1": true, "b.svc": false, "127.0.0.1": false} {
		_, err := certificate.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: start})
		if (err == nil) != want {
			t.Errorf("host %s: got %v, want verified %v", host, err, want)
		}
	}
	late, err := ca.issue([]string{"a.svc"}, start.Add(999*time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !late.Leaf.NotAfter.Equal(ca.cert.NotAfter) {
		t.Errorf("a certificate ends at %v, after its CA %v", late.Leaf.NotAfter, ca.cert.NotAfter)
	}
}

func TestParseAuthorityRefuses(t *testing.T) {
	ca, other := mustAuthority(t, start, time.Hour), mustAuthority(t, start, time.Hour)
	key, err := ca.keyPEM()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.issue([]string{"a"}, start, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseAuthority(certPEM(ca.cert), key); err != nil {
		t.Fatalf("a good one is refused: %v", err)
	}
	for name, test := range map[string]struct {
		cert, key []byte
		want      string
	}{
		"no certificate":      {nil, key, "exactly one CA certificate"},
		"garbage":             {[]byte("x"), key, "not a certificate in PEM"},
		"a key in its place":  {key, key, "not a certificate in PEM"},
		"two certificates":    {append(certPEM(ca.cert), certPEM(other.cert)...), key, "exactly one CA certificate"},
		"no CA":               {certPEM(leaf.Leaf), key, "exactly one CA certificate"},
		"no key":              {certPEM(ca.cert), nil, "not in PEM format"},
		"key unreadable":      {certPEM(ca.cert), bytes.Replace(key, key[40:48], []byte("AAAAAAAA"), 1), "key"},
		"key of another cert": {certPEM(other.cert), key, "does not match the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAuthority(test.cert, test.key)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A bundle lives through a whole change of CA. At every step what may be served verifies against what is published.
func TestBundleLifecycle(t *testing.T) {
	const caDuration, leafDuration = 90 * time.Hour, 24 * time.Hour
	now := start
	b := bundle{}
	advance := func(want step) {
		t.Helper()
		due, why := dueStep(b, now, time.Minute)
		if due != want {
			t.Fatalf("at %v: due %q (%s), want %q", now.Sub(start), due, why, want)
		}
		var err error
		if b, err = b.after(due, now, caDuration, leafDuration); err != nil {
			t.Fatal(err)
		}
		data, err := b.data()
		if err != nil {
			t.Fatal(err)
		}
		if b, err = parseBundle(data); err != nil {
			t.Fatalf("a bundle does not survive the Secret: %v", err)
		}
	}
	trusts := func(authorities ...*authority) {
		t.Helper()
		var want []byte
		for _, a := range authorities {
			want = append(want, certPEM(a.cert)...)
		}
		if !bytes.Equal(b.trusted(now), want) {
			t.Fatalf("at %v: the caBundle is not that of the %d CAs expected", now.Sub(start), len(authorities))
		}
	}
	advance(create)
	first := b.current
	trusts(first)
	advance(nothing)
	now = start.Add(61 * time.Hour)
	advance(prepare)
	trusts(first, b.next)
	if !b.current.cert.Equal(first.cert) {
		t.Fatal("the next CA signs before it is published")
	}
	now = now.Add(5 * time.Minute)
	advance(nothing) // nobody has said that it is published
	b.nextPublished = now
	now = now.Add(time.Minute - time.Second)
	advance(nothing)
	now = now.Add(time.Second)
	advance(promote)
	trusts(b.current, first)
	if b.current.cert.Equal(first.cert) {
		t.Fatal("the next CA was not promoted")
	}
	now = now.Add(leafDuration - time.Second)
	advance(nothing)
	trusts(b.current, first)
	now = now.Add(time.Second)
	advance(forget)
	trusts(b.current)
	now = b.current.cert.NotAfter
	advance(create)
	trusts(b.current)
}
