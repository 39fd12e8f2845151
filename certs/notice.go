// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NoticeReason is the reason of an Event about the certificate, recorded on the webhook object.
type NoticeReason string

// The reasons. Each has a row in docs/reference/troubleshooting.md.
const (
	NoticeContested  NoticeReason = "Contested"             // another client keeps changing the caBundle back
	NoticeFailed     NoticeReason = "CertificateFailed"     // it cannot be read, renewed, or published
	NoticeMismatch   NoticeReason = "CertificateMismatch"   // the published caBundle does not verify the served certificate
	NoticeNotTrusted NoticeReason = "CertificateNotTrusted" // a new one is not served, because the caBundle does not verify it
	NoticeExpiring   NoticeReason = "CertificateExpiring"   // it expires soon and has not been renewed
	NoticeRecovered  NoticeReason = "CertificateRecovered"  // none of these applies any longer
)

// NoticeReasons returns all of them.
func NoticeReasons() []NoticeReason {
	return []NoticeReason{NoticeContested, NoticeFailed, NoticeMismatch, NoticeNotTrusted, NoticeExpiring, NoticeRecovered}
}

// Notice is a report to the user.
type Notice struct {
	About   corev1.ObjectReference // the webhook object
	Warning bool
	Reason  NoticeReason
	Note    string // sentences; identical on replicas with the same problem
}

// Reporter delivers a notice, for example as an Event.
type Reporter func(context.Context, Notice) error

// state is what one reconcile found, as far as it matters to the user.
type state struct {
	failed   string // the text of an error, or the problem of the source
	mismatch string // why the endpoint does not verify
	refused  string // why the offered certificate is not served
	// contested names the client that keeps reverting a caBundle, as a sentence without its period.
	contested string
	// notBefore and notAfter are the validity of the served certificate; zero if there is none.
	notBefore, notAfter time.Time
}

// problem returns the most urgent problem; an empty reason if there is none.
func (s state) problem(now time.Time) (NoticeReason, string) {
	switch {
	case s.contested != "":
		return NoticeContested, s.contested + ". Outrigger repairs a caBundle that does not verify its certificate once a second, and any other change after growing waits of up to 5 minutes. Exclude the field webhooks[*].clientConfig.caBundle from that tool."
	case s.mismatch != "":
		return NoticeMismatch, "The API server does not trust the served certificate: " + s.mismatch + "."
	case s.failed != "":
		return NoticeFailed, "The certificate cannot be maintained: " + s.failed + "."
	case s.refused != "":
		return NoticeNotTrusted, "A new certificate is available, but the old one is still served: " + s.refused + "."
	case !s.notAfter.IsZero() && !now.Before(s.notAfter.Add(-expiryWarning(s.notBefore, s.notAfter))):
		return NoticeExpiring, fmt.Sprintf("The certificate expires at %s and has not been renewed.", s.notAfter.UTC().Format(time.RFC3339))
	}
	return "", ""
}

// expiryWarning returns how long before its expiry a certificate is reported: the last tenth of its lifetime, at most a week. Every
// source renews earlier.
func expiryWarning(notBefore, notAfter time.Time) time.Duration {
	return min(notAfter.Sub(notBefore)/10, 7*24*time.Hour)
}

// reportDelay is how long a problem must last before it is reported: installations, rotations, and restarts of an API server cause
// short ones.
const reportDelay = 30 * time.Second

// reported is what a replica knows about the current problem and its last report.
type reported struct {
	reason NoticeReason // of the current problem; empty if there is none
	since  time.Time
	last   NoticeReason // of the last warning; empty after the recovery was reported
}

// next returns the notice that is due, if any, and otherwise when one may be due by time alone.
func (m reported) next(s state, now time.Time) (_ reported, reason NoticeReason, note string, again time.Time) {
	reason, note = s.problem(now)
	if reason != m.reason {
		m.reason, m.since = reason, now
	}
	switch {
	case reason == m.last:
		return m, "", "", time.Time{}
	case now.Before(m.since.Add(reportDelay)):
		return m, "", "", m.since.Add(reportDelay)
	case reason == "":
		m.last = ""
		return m, NoticeRecovered, "The problem with the certificate is resolved.", time.Time{}
	}
	m.last = reason
	return m, reason, note, time.Time{}
}
