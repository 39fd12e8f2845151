// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustIssue(t *testing.T, ca *authority, at time.Time) *tls.Certificate {
	t.Helper()
	certificate, err := ca.issue([]string{ownHost}, at, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestChooseServesNothingThatIsNotTrustedWhileTheOldIs(t *testing.T) {
	now := start.Add(time.Hour)
	old, next := mustAuthority(t, start, 1000*time.Hour), mustAuthority(t, start, 1000*time.Hour)
	serving, renewed, byNext := mustIssue(t, old, start), mustIssue(t, old, now), mustIssue(t, next, now)
	tomorrow := mustIssue(t, old, now.Add(24*time.Hour))
	elsewhere, err := old.issue([]string{"another.svc"}, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	both := append(certPEM(old.cert), certPEM(next.cert)...)
	onlyOld, onlyNext := trustOf(certPEM(old.cert)), trustOf(certPEM(next.cert))
	long := sightings{string(old.cert.Raw): start, string(next.cert.Raw): start}
	justNow := sightings{string(old.cert.Raw): start, string(next.cert.Raw): now.Add(-time.Second)}
	for name, test := range map[string]struct {
		serving, offered *tls.Certificate
		published        trust
		since            sightings
		serve            bool
		why              string
		again            time.Time
	}{
		"nothing is offered":                        {serving, nil, onlyOld, long, false, "", time.Time{}},
		"it is served already":                      {serving, serving, onlyOld, long, false, "", time.Time{}},
		"the first one":                             {nil, byNext, onlyOld, long, true, "no certificate is served yet", time.Time{}},
		"the first one, nothing known":              {nil, byNext, nil, nil, true, "no certificate is served yet", time.Time{}},
		"renewed by the same CA":                    {serving, renewed, onlyOld, long, true, "it is new", time.Time{}},
		"its CA is not published":                   {serving, byNext, onlyOld, long, false, "does not verify it", time.Time{}},
		"its CA is published nowhere, nor the old":  {serving, byNext, trustOf(nil), nil, true, "the served one", time.Time{}},
		"its CA was published just now":             {serving, byNext, trustOf(both), justNow, false, "", now.Add(59 * time.Second)},
		"its CA has been published for long":        {serving, byNext, trustOf(both), long, true, "it is new", time.Time{}},
		"its CA is published, the old no more":      {serving, byNext, onlyNext, justNow, true, "the served one", time.Time{}},
		"one entry does not have its CA":            {serving, byNext, trustOf(both, certPEM(old.cert)), long, false, "does not verify it", time.Time{}},
		"it begins tomorrow":                        {serving, tomorrow, onlyOld, long, false, "does not verify it", time.Time{}},
		"it is for another host":                    {serving, elsewhere, onlyOld, long, false, "another.svc", time.Time{}},
		"it is for another host, the old is ending": {mustIssue(t, old, start.Add(-48*time.Hour)), elsewhere, onlyOld, long, true, "the served one", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := choose(test.serving, test.offered, test.published, test.since, chooseOptions{host: ownHost, now: now, overlap: time.Minute})
			if got.serve != test.serve || !got.again.Equal(test.again) || !strings.Contains(got.why, test.why) || (got.why == "") != (test.why == "") {
				t.Errorf("got %+v, want serve %v, again %v, why %q", got, test.serve, test.again, test.why)
			}
		})
	}
}

// cert-manager's CA is renewed with the same key: every certificate of either verifies what the key has signed.
func TestACAThatKeepsItsKeyNeedsNoOverlap(t *testing.T) {
	old := mustAuthority(t, start, 1000*time.Hour)
	renewed, err := certify(old.key, old.cert.Subject.CommonName, start.Add(time.Hour), 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	before, after := mustIssue(t, old, start), mustIssue(t, renewed, start.Add(time.Hour))
	for _, bundle := range [][]byte{certPEM(old.cert), certPEM(renewed.cert)} {
		for _, certificate := range []*tls.Certificate{before, after} {
			if _, err := trustOf(bundle).verify(certificate, ownHost, start.Add(2*time.Hour)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBundleForTakesNoForeignCAFromElsewhere(t *testing.T) {
	now := start.Add(time.Hour)
	ours, retired := mustAuthority(t, start, 1000*time.Hour).cert, mustAuthority(t, start, 1000*time.Hour).cert
	leased, expired, unknown := mustAuthority(t, start, 1000*time.Hour).cert, mustAuthority(t, start, 1000*time.Hour).cert, mustAuthority(t, start, 1000*time.Hour).cert
	ended := mustAuthority(t, start.Add(-time.Hour), time.Minute).cert
	records := ledger{
		fingerprint(leased): {FirstSeen: now.Add(-lease + time.Second)}, fingerprint(expired): {FirstSeen: now.Add(-lease)}, fingerprint(ended): {FirstSeen: now},
	}
	for name, test := range map[string]struct{ entry, want []byte }{
		"an empty entry":                    {nil, pemOf(ours, retired)},
		"an entry with a foreign CA":        {pemOf(leased), pemOf(ours, retired, leased)},
		"a foreign CA whose lease is over":  {pemOf(expired, ours), pemOf(ours, retired)},
		"a foreign CA that has no record":   {pemOf(unknown, ours), pemOf(ours, retired)},
		"a foreign CA that has ended":       {pemOf(ended, ours), pemOf(ours, retired)},
		"text that is no certificate":       {append([]byte("nothing\n"), pemOf(leased)...), pemOf(ours, retired, leased)},
		"everything that it must have":      {pemOf(ours, retired, leased), pemOf(ours, retired, leased)},
		"a retired CA that it already had ": {pemOf(retired), pemOf(ours, retired)},
	} {
		if got := bundleFor(test.entry, pemOf(ours), []*x509.Certificate{retired}, records, now); !bytes.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.want)
		}
	}
}

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, certPEM(cert)...)
	}
	return out
}

func TestBundlePatchTestsNamesAndWritesOnlyWhatDiffers(t *testing.T) {
	a, b := certPEM(mustAuthority(t, start, time.Hour).cert), certPEM(mustAuthority(t, start, time.Hour).cert)
	wanted, turned := slices.Concat(a, b), slices.Concat(b, a)
	patch, err := bundlePatch([]entry{{"right", wanted, wanted}, {"empty", nil, wanted}, {"in another order", turned, wanted}, {"one less", a, wanted}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"op":"test","path":"/webhooks/1/name","value":"empty"},{"op":"add","path":"/webhooks/1/clientConfig/caBundle","value":"LS0t`,
		`{"op":"test","path":"/webhooks/3/name","value":"one less"},{"op":"test","path":"/webhooks/3/clientConfig/caBundle","value":"LS0t`,
	} {
		if !strings.Contains(string(patch), want) {
			t.Errorf("the patch does not say %s:\n%s", want, patch)
		}
	}
	if got := strings.Count(string(patch), `"op"`); got != 5 {
		t.Errorf("the patch has %d operations, want 5:\n%s", got, patch)
	}
	if patch, err := bundlePatch([]entry{{"right", wanted, wanted}, {"in another order", turned, wanted}}); err != nil || patch != nil {
		t.Errorf("got %s, %v for nothing to do", patch, err)
	}
}
