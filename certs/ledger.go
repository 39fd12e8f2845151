// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

const (
	// lease is how long a CA that this source does not offer stays in the entries that have it: the CA that was replaced
	// in the Secret, or that of replicas with another source while the source changes.
	lease = 10 * time.Minute
	// absentRetention is how long a CA stays in the ledger after it was removed from every entry.
	absentRetention = 24 * time.Hour
	// maxRecords limits the ledger. A foreign CA beyond it has no lease.
	maxRecords = 100
)

// record is what all replicas know about one CA. A CA is foreign to a replica if the replica's source does not offer it.
//
//	unknown ── in an entry ──▶ seen ── in no entry ──▶ absent ── 24 hours ──▶ unknown
//	                            ▲                        │
//	                            └── in every entry, as replicas and cainjector write it: firstSeen = now
//
// A CA that returns to some entries only is seen again with the firstSeen it had.
type record struct {
	FirstSeen   time.Time `json:"firstSeen,omitzero"`   // as a foreign CA
	AbsentSince time.Time `json:"absentSince,omitzero"` // since when no entry has it
	Offered     time.Time `json:"offered,omitzero"`     // when the source of a replica last offered it
}

func (r record) expires() time.Time {
	if r.Offered.After(r.FirstSeen) {
		return r.Offered.Add(lease)
	}
	return r.FirstSeen.Add(lease)
}

// ledger holds the records by the SHA-256 fingerprint of the CA, in hex.
type ledger map[string]record

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// parseLedger parses a ledger in JSON. Empty text is an empty ledger.
func parseLedger(text string) (ledger, error) {
	out := ledger{}
	if text == "" {
		return out, nil
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return ledger{}, err
	}
	return out, nil
}

func (l ledger) text() (string, error) {
	text, err := json.Marshal(l)
	return string(text), err
}

// leased reports whether a foreign CA may stay in the entries that have it.
func (l ledger) leased(cert *x509.Certificate, now time.Time) bool {
	known, is := l[fingerprint(cert)]
	return is && now.Before(known.expires())
}

// observation is what one reconcile saw in the webhook objects.
type observation struct {
	ours    []*x509.Certificate   // the CAs that the source offers
	foreign []*x509.Certificate   // the other CAs of all entries
	entries [][]*x509.Certificate // the CAs of each entry of the mutating webhook object
}

func (s observation) everywhere(cert *x509.Certificate) bool {
	return !slices.ContainsFunc(s.entries, func(entry []*x509.Certificate) bool { return !contains(entry, cert) })
}

// needsRecord reports whether the observation may change the ledger.
func (l ledger) needsRecord(s observation) bool {
	if len(s.foreign) > 0 {
		return true
	}
	for _, known := range l {
		if known.AbsentSince.IsZero() && !known.FirstSeen.IsZero() {
			return true
		}
	}
	return false
}

// observe returns the ledger after an observation.
func (l ledger) observe(s observation, now time.Time) ledger {
	now = now.UTC().Truncate(time.Second)
	out := ledger{}
	for key, known := range l {
		out[key] = known.notAfter(now)
	}
	present := map[string]bool{}
	for _, cert := range s.foreign {
		present[fingerprint(cert)] = true
		out.see(cert, s, now)
	}
	for _, cert := range s.ours {
		key := fingerprint(cert)
		present[key] = true
		// Who offers a CA matters only while the source changes; nothing is written otherwise.
		if known := out[key]; len(s.foreign) > 0 && !now.Before(known.Offered.Add(lease/2)) {
			known.Offered, known.AbsentSince = now, time.Time{}
			out[key] = known
		}
	}
	for key, known := range out {
		switch {
		case present[key]:
		case known.AbsentSince.IsZero():
			known.AbsentSince = now
			out[key] = known
		case !now.Before(known.AbsentSince.Add(absentRetention)):
			delete(out, key)
		}
	}
	out.trim(present)
	return out
}

// see records a foreign CA that an entry has now.
func (l ledger) see(cert *x509.Certificate, s observation, now time.Time) {
	key := fingerprint(cert)
	known := l[key]
	returned := !known.AbsentSince.IsZero()
	switch {
	case known.FirstSeen.IsZero(), returned && s.everywhere(cert):
		known.FirstSeen, known.AbsentSince = now, time.Time{}
	case returned && now.Before(known.expires()):
		known.AbsentSince = time.Time{}
	}
	l[key] = known
}

// notAfter returns the record with no time after now, so that a clock that is ahead does not extend a lease.
func (r record) notAfter(now time.Time) record {
	for _, at := range []*time.Time{&r.FirstSeen, &r.AbsentSince, &r.Offered} {
		if at.After(now) {
			*at = now
		}
	}
	return r
}

// trim removes records beyond maxRecords: those of absent CAs first, then the most recent ones.
func (l ledger) trim(present map[string]bool) {
	if len(l) <= maxRecords {
		return
	}
	keys := slices.SortedFunc(maps.Keys(l), func(a, b string) int {
		if present[a] != present[b] {
			if present[a] {
				return -1
			}
			return 1
		}
		return cmp.Or(l[a].FirstSeen.Compare(l[b].FirstSeen), cmp.Compare(a, b))
	})
	for _, key := range keys[maxRecords:] {
		delete(l, key)
	}
}

// next returns when the first lease of a foreign CA ends, or when this replica must record again what it offers; zero if never.
func (l ledger) next(s observation, now time.Time) time.Time {
	var times []time.Time
	for _, cert := range s.foreign {
		times = append(times, l[fingerprint(cert)].expires())
	}
	for _, cert := range s.ours {
		if known := l[fingerprint(cert)]; len(s.foreign) > 0 && !known.Offered.IsZero() {
			times = append(times, known.Offered.Add(lease/2))
		}
	}
	return soonest(slices.DeleteFunc(times, func(at time.Time) bool { return !now.Before(at) })...)
}

// mergedWith returns the ledger with the records that only the other one has.
func (l ledger) mergedWith(other ledger) ledger {
	out := ledger{}
	maps.Copy(out, other)
	maps.Copy(out, l)
	return out
}
