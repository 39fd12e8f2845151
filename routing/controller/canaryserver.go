// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"k8s.io/client-go/transport"

	"outrigger.dev/outrigger/api"
)

// The metrics server: its client, the credentials, and which of its responses count.

// maxAnswerBytes limits the response to one query, which is one number.
const maxAnswerBytes = 1 << 20

// The files of routing.metrics.credentials, which are also the keys of the Secret.
const (
	tokenFile = "token"
	caFile    = "ca.crt"
)

// current returns the client with the credentials that exist now: a Secret may be created later.
func (m *CanaryMetrics) current() (promv1.API, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	with := transport.Config{UserAgent: api.Outrigger}
	if folder := m.config.Credentials; folder != "" {
		with.BearerTokenFile = existing(filepath.Join(folder, tokenFile))
		ca, hasCA, err := readCA(filepath.Join(folder, caFile))
		if err != nil {
			return nil, fmt.Errorf("credentials of the metrics server: %w", err)
		}
		with.TLS.CAData = ca // not its path: a corrected file must apply at once
		if with.BearerTokenFile == "" && !hasCA {
			return nil, m.missingCredentials()
		}
	}
	m.isMissingLogged = false
	if m.server != nil && with.BearerTokenFile == m.with.BearerTokenFile && bytes.Equal(with.TLS.CAData, m.with.TLS.CAData) {
		return m.server, nil
	}
	roundTripper, err := transport.New(&with)
	if err != nil {
		return nil, fmt.Errorf("credentials of the metrics server: %s: %w", filepath.Join(m.config.Credentials, caFile), err)
	}
	server, err := clientOf(m.config.PrometheusURL, roundTripper)
	if err != nil {
		return nil, err
	}
	m.server, m.with = server, with
	return m.server, nil
}

// existing returns the path of a file that exists, or "".
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// readCA returns the certificates in a file, or false if the file does not exist. An empty file is an error: without certificates, the
// system's CAs would be trusted.
func readCA(path string) (ca []byte, has bool, err error) {
	switch ca, err = os.ReadFile(path); { //nolint:gosec // the chart mounts it
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case len(bytes.TrimSpace(ca)) == 0:
		return nil, false, fmt.Errorf("%s is empty; it must contain PEM certificates", path)
	}
	return ca, true, nil
}

// missingCredentials returns the error for a folder without credentials, and logs it once. A Secret whose keys have other names is mounted
// as such a folder. Without the error, queries would be sent without credentials.
func (m *CanaryMetrics) missingCredentials() error {
	err := fmt.Errorf("credentials of the metrics server: %s has neither of the files %s and %s; name the keys of the Secret routing.metrics.secretName like that",
		m.config.Credentials, tokenFile, caFile)
	if !m.isMissingLogged {
		m.isMissingLogged = true
		m.log.Error(err, "Canaries cannot be evaluated")
	}
	return err
}

// logTo sets the logger, and warns if credentials are sent in plain text.
func (m *CanaryMetrics) logTo(logger logr.Logger) {
	if m == nil {
		return
	}
	m.log = logger
	if server, err := url.Parse(m.config.PrometheusURL); err == nil && server.Scheme == "http" && m.config.Credentials != "" {
		server.User = nil
		m.log.Info("Warning: routing.metrics.prometheusURL starts with http://, so the credentials of the metrics server are sent in plain text. Use an https:// URL.",
			"prometheusURL", server.String(), "credentials", m.config.Credentials)
	}
}

// directAnswers ends a response that is too long, and rejects redirects: the API client would follow them, and the transport adds the
// token to each request, whatever its host.
type directAnswers struct{ http.RoundTripper }

func (d directAnswers) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := d.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 == 3 {
		_ = response.Body.Close() // it is not read
		to := "no address"
		if location, err := response.Location(); err == nil {
			location.User = nil
			to = location.String()
		}
		return nil, fmt.Errorf("it redirects to %s (status %d), and redirects are not followed; set routing.metrics.prometheusURL to the final address", to, response.StatusCode)
	}
	defer func() { _ = response.Body.Close() }() // the rest beyond the limit is not read
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	if hasSeriesWithoutValue(body) {
		return nil, errors.New("a series of the response has no value")
	}
	return response, nil
}

// hasSeriesWithoutValue reports whether a series has fewer than a time and a value, which the API client reads as 0.
func hasSeriesWithoutValue(body []byte) bool {
	var answer struct {
		Data struct {
			Result []struct {
				Value []any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false // another type, or no answer
	}
	for _, series := range answer.Data.Result {
		if n := len(series.Value); n > 0 && (n != 2 || series.Value[1] == nil) {
			return true
		}
	}
	return false
}
