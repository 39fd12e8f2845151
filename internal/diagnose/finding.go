// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// Finding is one line of the answer.
type Finding struct {
	State string
	Text  string
}

// OK returns the finding of a check that succeeded.
func OK(format string, args ...any) Finding { return Finding{CheckOK, fmt.Sprintf(format, args...)} }

// Note returns a finding that is neither a success nor a failure.
func Note(format string, args ...any) Finding {
	return Finding{CheckNote, fmt.Sprintf(format, args...)}
}

// Warned returns a finding about a risk.
func Warned(format string, args ...any) Finding {
	return Finding{CheckWarning, fmt.Sprintf(format, args...)}
}

// Failed returns the finding of a check that failed.
func Failed(format string, args ...any) Finding {
	return Finding{CheckFailed, fmt.Sprintf(format, args...)}
}

// CheckTrust checks the caBundle of every entry.
func CheckTrust(object *admissionregistrationv1.MutatingWebhookConfiguration, now time.Time) Finding {
	var until time.Time
	for _, entry := range object.Webhooks {
		if len(entry.ClientConfig.CABundle) == 0 {
			return Failed("entry %s of MutatingWebhookConfiguration %s has no caBundle: no replica has published one yet", entry.Name, object.Name)
		}
		last, err := lastOf(entry.ClientConfig.CABundle)
		if err != nil {
			return Failed("entry %s of MutatingWebhookConfiguration %s: its caBundle is not a list of certificates: %v", entry.Name, object.Name, err)
		}
		if !now.Before(last) {
			return Failed("entry %s of MutatingWebhookConfiguration %s: every certificate of its caBundle has expired, the last one at %s", entry.Name, object.Name, last.Format(time.RFC3339))
		}
		if until.IsZero() || last.Before(until) {
			until = last
		}
	}
	return OK("MutatingWebhookConfiguration %s: %d entries, caBundle until %s", object.Name, len(object.Webhooks), until.Format(time.DateOnly))
}

// lastOf returns when the last certificate of a bundle expires.
func lastOf(bundle []byte) (time.Time, error) {
	var last time.Time
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, err
		}
		if certificate.NotAfter.After(last) {
			last = certificate.NotAfter
		}
	}
	if last.IsZero() {
		return time.Time{}, errors.New("there is no PEM block in it")
	}
	return last, nil
}

// UncoveredKeys returns the annotations of exposure that a policy does not name.
func UncoveredKeys(policy *admissionregistrationv1.ValidatingAdmissionPolicy) []string {
	text, err := json.Marshal(policy.Spec)
	if err != nil {
		return api.ExposureKeys()
	}
	return slices.DeleteFunc(api.ExposureKeys(), func(key string) bool {
		return strings.Contains(string(text), `\"`+key+`\"`) || strings.Contains(string(text), `'`+key+`'`)
	})
}

// WhyNotReady returns why a pod is not ready, empty if it is: what a container waits for, or else its first condition that is false.
func WhyNotReady(pod *corev1.Pod) string {
	says := func(reason, message string) string {
		return strings.Trim(reason+": "+api.Shorten(message, 200), ": ")
	}
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		return ""
	}
	for _, status := range pod.Status.ContainerStatuses {
		switch {
		case status.State.Waiting != nil && status.LastTerminationState.Terminated != nil:
			return says(status.State.Waiting.Reason, status.State.Waiting.Message) + "; kubectl logs -n " + pod.Namespace + " " + pod.Name + " --previous"
		case status.State.Waiting != nil:
			return says(status.State.Waiting.Reason, status.State.Waiting.Message)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status == corev1.ConditionFalse {
			return says(condition.Reason, condition.Message)
		}
	}
	return "its phase is " + string(pod.Status.Phase)
}

// IsExcludedByName reports whether an entry does not match because of the name of the namespace.
func IsExcludedByName(entries []Entry) bool {
	return slices.ContainsFunc(entries, func(v Entry) bool { return strings.Contains(v.Why, corev1.LabelMetadataName+"=") })
}

// The states of a Finding.
const (
	CheckOK      = "ok"
	CheckNote    = "note"
	CheckWarning = "warning"
	CheckFailed  = "FAILED"
)
