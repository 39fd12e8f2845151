// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/internal/diagnose"
)

// called sends a review to the webhook as the API server does: to the same address, with the same CAs.
func (c *checker) called(ctx context.Context, entry admissionregistrationv1.MutatingWebhook) diagnose.Finding {
	target, err := diagnose.WebhookURL(entry.ClientConfig)
	if err != nil {
		return diagnose.Failed("entry %s: %v", entry.Name, err)
	}
	uid := uuid.NewUUID()
	body, err := json.Marshal(diagnose.ReviewOf(c.pod(metav1.NamespaceDefault), uid))
	if err != nil {
		return diagnose.Failed("%v", err)
	}
	response, err := post(ctx, target, body, entry)
	if err != nil {
		return diagnose.Failed("%v", err)
	}
	return diagnose.CheckResponse(response, uid, c.config.Webhook)
}

func post(ctx context.Context, target string, body []byte, entry admissionregistrationv1.MutatingWebhook) (diagnose.WebhookResponse, error) {
	out := diagnose.WebhookResponse{URL: target}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(entry.ClientConfig.CABundle)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	httpClient := &http.Client{Transport: transport, Timeout: time.Duration(ptr.Deref(entry.TimeoutSeconds, 10)) * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := httpClient.Do(request)
	if err != nil {
		return out, fmt.Errorf("the webhook does not answer at %s: %w", target, err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	if out.Body, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return out, fmt.Errorf("read the response of %s: %w", target, err)
	}
	out.StatusCode, out.Status = response.StatusCode, response.Status
	if response.TLS != nil { // nil for a URL with http, which the API server refuses
		out.ValidUntil = response.TLS.PeerCertificates[0].NotAfter
	}
	return out, nil
}
