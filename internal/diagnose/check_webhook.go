// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
)

// CheckTrust checks the entries of the webhook object and their caBundles.
func CheckTrust(object *admissionregistrationv1.MutatingWebhookConfiguration, now time.Time) Finding {
	if len(object.Webhooks) == 0 {
		return Failed("MutatingWebhookConfiguration %s has no entries, so the API server does not call Outrigger", object.Name)
	}
	until, problem := TrustedUntil(object, now)
	if problem != "" {
		return Failed("MutatingWebhookConfiguration %s: %s", object.Name, problem)
	}
	return OK("MutatingWebhookConfiguration %s: %d entries, caBundle until %s", object.Name, len(object.Webhooks), until.Format(time.DateOnly))
}

// TrustedUntil returns when the API server can no longer call an entry, because the last CA in its caBundle expires. If it already
// cannot call one, problem says why.
func TrustedUntil(object *admissionregistrationv1.MutatingWebhookConfiguration, now time.Time) (until time.Time, problem string) {
	for _, entry := range object.Webhooks {
		bundle := entry.ClientConfig.CABundle
		last := lastExpiry(bundle)
		switch {
		case len(bundle) == 0:
			return time.Time{}, fmt.Sprintf("entry %s has no caBundle: no CA has been published yet", entry.Name)
		case last.IsZero():
			return time.Time{}, fmt.Sprintf("entry %s: no PEM block of its caBundle is a certificate", entry.Name)
		case !now.Before(last):
			return last, fmt.Sprintf("entry %s: every CA in its caBundle has expired, the last one at %s", entry.Name, last.Format(time.RFC3339))
		case until.IsZero() || last.Before(until):
			until = last
		}
	}
	return until, ""
}

// lastExpiry returns when the last certificate of a bundle expires. Like the API server, it ignores other PEM blocks.
func lastExpiry(bundle []byte) time.Time {
	var last time.Time
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil && ca.NotAfter.After(last) {
			last = ca.NotAfter
		}
	}
	return last
}

// WebhookURL returns the address to which the API server sends its reviews.
func WebhookURL(to admissionregistrationv1.WebhookClientConfig) (string, error) {
	if to.URL != nil {
		return *to.URL, nil
	}
	if to.Service == nil {
		return "", errors.New("it has neither a url nor a service")
	}
	host := fmt.Sprintf("%s.%s.svc", to.Service.Name, to.Service.Namespace)
	target := url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(ptr.Deref(to.Service.Port, 443)))), Path: ptr.Deref(to.Service.Path, "")}
	return target.String(), nil
}

// ReviewOf returns the review that the API server sends for a dry run of the creation of a pod.
func ReviewOf(pod *corev1.Pod, uid types.UID) admissionv1.AdmissionReview {
	return admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: uid, Namespace: pod.Namespace, Operation: admissionv1.Create, DryRun: ptr.To(true),
			Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object: runtime.RawExtension{Object: pod},
		},
	}
}

// WebhookResponse is what a webhook responded to ReviewOf a pod that requests a sidecar.
type WebhookResponse struct {
	URL        string
	StatusCode int
	Status     string // "500 Internal Server Error"
	Body       []byte
	ValidUntil time.Time // of the serving certificate
}

// CheckResponse checks that the webhook injects. uid is that of the review.
func CheckResponse(r WebhookResponse, uid types.UID, webhook api.WebhookConfig) Finding {
	trusted := fmt.Sprintf("%s: its certificate, until %s, verifies by the caBundle", r.URL, r.ValidUntil.Format(time.RFC3339))
	if r.StatusCode == 401 && webhook.ClientCA != "" {
		return Note("%s; it requires a client certificate (webhook.clientCA), which the API server must be configured to present", trusted)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(r.Body, &review); r.StatusCode != 200 || err != nil || review.Response == nil || review.Response.UID != uid {
		return Failed("%s responds %s: %s", r.URL, r.Status, api.Shorten(string(r.Body), 300))
	}
	switch response := review.Response; {
	case !response.Allowed && response.Result != nil && strings.HasPrefix(response.Result.Message, string(api.InjectNoIstioConfiguration)):
		return Note("%s responds, but has nothing to inject yet: %s", r.URL, response.Result.Message)
	case !response.Allowed && response.Result != nil:
		return Failed("%s denies a pod that requests a sidecar: %s", r.URL, response.Result.Message)
	case !bytes.Contains(response.Patch, []byte(api.ProxyContainer)):
		return Failed("%s injects no sidecar into a pod that requests one: %s", r.URL, strings.Join(response.Warnings, "; "))
	}
	return OK("%s, and a pod gets its sidecar", trusted)
}
