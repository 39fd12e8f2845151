// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NoticeReason is why the user is told about the certificate, the reason of an Event on the webhook object.
type NoticeReason string

// The reasons. Each has a row in docs/reference/troubleshooting.md.
const (
	NoticeContested  NoticeReason = "Contested"             // another client keeps changing the caBundle back
	NoticeFailed     NoticeReason = "CertificateFailed"     // it cannot be read, renewed or published
	NoticeMismatch   NoticeReason = "CertificateMismatch"   // what is served is not trusted by what is published
	NoticeNotTrusted NoticeReason = "CertificateNotTrusted" // a new one is not served, because the caBundle does not verify it
	NoticeExpiring   NoticeReason = "CertificateExpiring"   // it ends soon, and nobody has renewed it
	NoticeRecovered  NoticeReason = "CertificateRecovered"  // none of these any more
)

// NoticeReasons returns all of them.
func NoticeReasons() []NoticeReason {
	return []NoticeReason{NoticeContested, NoticeFailed, NoticeMismatch, NoticeNotTrusted, NoticeExpiring, NoticeRecovered}
}

// Notice is what the user is told.
type Notice struct {
	About   corev1.ObjectReference // the webhook object
	Warning bool
	Reason  NoticeReason
	Note    string // sentences; the same on every replica where the cause is
}

// Teller writes a notice down where the user finds it.
type Teller func(context.Context, Notice) error

// state is what one look found, as far as the user may hear of it.
type state struct {
	failed   string // an error's text, or what the source says is wrong
	mismatch string // why our own endpoint is not trusted
	refused  string // why the offered certificate is not served
	// contested says who keeps changing a caBundle back, as a sentence without its end.
	contested string
	// begins and ends are those of the certificate that is served; zero if there is none.
	begins, ends time.Time
}

// trouble returns the first that holds, the most urgent one; no reason if all is well.
func (s state) trouble(now time.Time) (NoticeReason, string) {
	switch {
	case s.contested != "":
		return NoticeContested, s.contested + ". Outrigger repairs a caBundle that does not verify its certificate once a second, and any other change after growing waits of up to 5 minutes. Exclude the field webhooks[*].clientConfig.caBundle from that tool."
	case s.mismatch != "":
		return NoticeMismatch, "The API server does not trust the certificate that is served: " + s.mismatch + "."
	case s.failed != "":
		return NoticeFailed, "The certificate cannot be kept up: " + s.failed + "."
	case s.refused != "":
		return NoticeNotTrusted, "A new certificate is there, but the old one is served on: " + s.refused + "."
	case !s.ends.IsZero() && !now.Before(s.ends.Add(-closeToEnd(s.begins, s.ends))):
		return NoticeExpiring, fmt.Sprintf("The certificate ends at %s, and there is no new one.", s.ends.UTC().Format(time.RFC3339))
	}
	return "", ""
}

// closeToEnd is for how long a certificate is called close to its end: the last tenth of its time, a week at most.
// Every source renews earlier.
func closeToEnd(begins, ends time.Time) time.Duration {
	return min(ends.Sub(begins)/10, 7*24*time.Hour)
}

// toldAfter is how long trouble must last before it is told: an installation, a rotation and an API server that restarts
// all have moments of it.
const toldAfter = 30 * time.Second

// memory is what a replica remembers of what it told.
type memory struct {
	reason NoticeReason // of the trouble that there is
	since  time.Time
	told   NoticeReason // of the last warning; empty after it was told that all is well
}

// next returns what is to be told, if anything, and when to look again for it.
func (m memory) next(s state, now time.Time) (_ memory, reason NoticeReason, note string, again time.Time) {
	reason, note = s.trouble(now)
	if reason != m.reason {
		m.reason, m.since = reason, now
	}
	switch {
	case reason == m.told:
		return m, "", "", time.Time{}
	case now.Before(m.since.Add(toldAfter)):
		return m, "", "", m.since.Add(toldAfter)
	case reason == "":
		m.told = ""
		return m, NoticeRecovered, "The certificate is in order again.", time.Time{}
	}
	m.told = reason
	return m, reason, note, time.Time{}
}
