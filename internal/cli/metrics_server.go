// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing/controller"
)

// The user's machine reaches a metrics server that is a Service of the cluster through the API server's proxy for Services, with the user's
// permissions. It reaches any other server directly, without credentials.

// metricsService is a Service that routing.metrics.prometheusURL names.
type metricsService struct {
	scheme, namespace, name, port string
	isCertain                     bool // no host outside of the cluster has such a name
}

func (s metricsService) String() string { return "Service " + s.namespace + "/" + s.name }

// resource returns the resourceName of services/proxy in a Role.
func (s metricsService) resource() string { return s.scheme + ":" + s.name + ":" + s.port }

// metricsServiceOf returns the Service that a URL names as the controller's pod resolves it: NAME in its own namespace, NAME.NAMESPACE,
// NAME.NAMESPACE.svc, or NAME.NAMESPACE.svc.DOMAIN.
func metricsServiceOf(address *url.URL, domain, home string) (metricsService, bool) {
	host, isAbsolute := strings.CutSuffix(strings.ToLower(address.Hostname()), ".")
	labels := strings.SplitN(host, ".", 4)
	if net.ParseIP(host) != nil || host == "localhost" || isAbsolute && len(labels) < 4 {
		return metricsService{}, false
	}
	out := metricsService{scheme: address.Scheme, name: labels[0], namespace: home, port: cmp.Or(address.Port(), map[string]string{"https": "443"}[address.Scheme], "80")}
	if len(labels) > 1 {
		out.namespace = labels[1]
	}
	if len(labels) > 2 {
		out.isCertain = true
		if labels[2] != "svc" || len(labels) > 3 && labels[3] != domain {
			return metricsService{}, false
		}
	}
	for _, label := range []string{out.name, out.namespace} {
		if len(validation.IsDNS1123Label(label)) > 0 {
			return metricsService{}, false
		}
	}
	return out, true
}

// metricsSource is a metrics server as the user's machine reaches it.
type metricsSource struct {
	server *controller.MetricsClient
	name   string // that the page shows
}

// maxOwnQueries is how many queries the user's machine sends at once.
const maxOwnQueries = 4

// metricsSource returns the metrics server of the installation's configuration, which must name one. It sends no request.
func (f *clusterFlags) metricsSource(config api.RoutingConfig) (*metricsSource, error) {
	address, err := addressWithoutCredentials(config.Metrics.PrometheusURL)
	if err != nil {
		return nil, err
	}
	config.Metrics.PrometheusURL = address.String()
	direct := &withoutCredentials{http.DefaultTransport}
	out, through := &metricsSource{name: address.Scheme + "://" + address.Host}, http.RoundTripper(direct)
	if service, is := metricsServiceOf(address, config.ClusterDomain, f.system); is {
		cluster, err := f.kube.rest()
		if err != nil {
			return nil, err
		}
		base, _, err := rest.DefaultServerUrlFor(cluster)
		if err != nil {
			return nil, err
		}
		proxied, err := rest.TransportFor(cluster)
		if err != nil {
			return nil, err
		}
		out.name, through = service.String(), &throughProxy{base, service, proxied, direct}
	}
	config.Metrics.MaxConcurrentQueries = min(config.Metrics.MaxConcurrentQueries, maxOwnQueries)
	out.server, err = controller.NewMetricsClient(config, through)
	return out, err
}

// addressWithoutCredentials returns the URL of routing.metrics.prometheusURL without its user name and password, so that no error of a client
// contains them. For the same reason, the error for an invalid URL does not quote it.
func addressWithoutCredentials(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" {
		return nil, errors.New("routing.metrics.prometheusURL is not a URL with a host. Example: http://prometheus.monitoring:9090")
	}
	address.User = nil
	return address, nil
}

// metricsRefusal is the reason, as a clause, why the metrics server cannot be queried.
type metricsRefusal struct {
	message string
	err     error // of the API server; nil if the metrics server refuses
}

func (e *metricsRefusal) Error() string { return e.message }

func (e *metricsRefusal) Unwrap() error { return e.err }

// withoutCredentials sends requests without credentials. Those of the URL or of a file are the controller's.
type withoutCredentials struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *withoutCredentials) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.User = nil
	request.Header.Del("Authorization")
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	return answered(response)
}

// answered returns a response of the metrics server, or an error if the server requires credentials.
func answered(response *http.Response) (*http.Response, error) {
	if response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusForbidden {
		return response, nil
	}
	_ = response.Body.Close() // it is not read
	return nil, &metricsRefusal{message: fmt.Sprintf("the metrics server requires credentials (status %d), and the dashboard has none: it never uses those of Outrigger", response.StatusCode)}
}

// throughProxy sends requests to a Service through the API server's proxy for Services. Each request is a GET, because another method
// requires another permission. If there is no such Service, and its name can be that of another host, requests go to that host directly.
type throughProxy struct {
	cluster *url.URL // the API server
	service metricsService
	proxied http.RoundTripper // with the user's credentials, to the API server only
	direct  *withoutCredentials
}

// RoundTrip implements http.RoundTripper.
func (t *throughProxy) RoundTrip(request *http.Request) (*http.Response, error) {
	form := []byte(request.URL.RawQuery)
	if request.Body != nil {
		var err error
		form, err = io.ReadAll(request.Body)
		if closed := request.Body.Close(); err != nil || closed != nil {
			return nil, errors.Join(err, closed)
		}
	}
	response, err := t.proxied.RoundTrip(t.proxiedRequest(request, string(form)))
	if err != nil {
		return nil, err
	}
	refusal, err := statusOf(response)
	if err != nil {
		return nil, err
	}
	switch {
	case refusal == nil:
		return answered(response)
	case apierrors.IsNotFound(refusal) && !t.service.isCertain:
		again := request.Clone(request.Context())
		if request.Body != nil {
			again.Body = io.NopCloser(bytes.NewReader(form))
		}
		return t.direct.RoundTrip(again)
	}
	return nil, t.refused(refusal)
}

// proxiedRequest returns the request to the API server. It cleans the path, so that no URL reaches anything but the Service.
func (t *throughProxy) proxiedRequest(request *http.Request, form string) *http.Request {
	out := (&http.Request{Method: http.MethodGet, Header: http.Header{"Accept": {"application/json"}}}).WithContext(request.Context())
	base := *t.cluster
	base.Path = strings.TrimSuffix(base.Path, "/") + "/" // so that the result begins with a slash
	out.URL = base.JoinPath("api/v1/namespaces", t.service.namespace, "services", t.service.resource(), "proxy", path.Clean("/"+request.URL.Path))
	out.URL.RawQuery = form
	return out
}

// maxStatusBytes limits how much of an error response is read.
const maxStatusBytes = 1 << 20

// statusOf returns the error in a response if the API server sent it, not the metrics server. Otherwise, refusal is nil.
func statusOf(response *http.Response) (refusal, err error) {
	if response.StatusCode < 400 {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxStatusBytes))
	_ = response.Body.Close() // the rest beyond the limit is not read
	if err != nil {
		return nil, err
	}
	status := metav1.Status{}
	if json.Unmarshal(text, &status) == nil && status.Kind == "Status" && status.APIVersion == "v1" {
		return &apierrors.StatusError{ErrStatus: status}, nil
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	return nil, nil
}

// refused returns why the API server does not proxy a request.
func (t *throughProxy) refused(err error) error {
	out := &metricsRefusal{err: err}
	switch {
	case apierrors.IsForbidden(err):
		out.message = fmt.Sprintf("no permission to get services/proxy %s in namespace %s; a Role with the resource services/proxy, this resourceName, and the verb get grants it", t.service.resource(), t.service.namespace)
	case apierrors.IsUnauthorized(err):
		out.message = "the API server rejects your credentials: " + api.Shorten(err.Error(), 300)
	case apierrors.IsNotFound(err):
		out.message = fmt.Sprintf("namespace %s has no Service %s, which routing.metrics.prometheusURL names", t.service.namespace, t.service.name)
	default:
		out.message = fmt.Sprintf("the API server cannot reach %s: %s", t.service, api.Shorten(err.Error(), 300))
	}
	return out
}
