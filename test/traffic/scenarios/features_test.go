// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/test/traffic"
	"outrigger.dev/outrigger/test/traffic/load"
)

func sidecars(t *testing.T) {
	installed(t)
	s := begin(t, true, "sidecars", "Pods get a native sidecar or a classic one, as their annotation says, and both kinds serve.")
	s.apply(service(),
		workload{name: "native", version: "v1", annotations: `sidecar.istio.io/nativeSidecar: "true"`}.manifest(),
		workload{name: "classic", version: "v1", annotations: `sidecar.istio.io/nativeSidecar: "false"`}.manifest(),
		client("client", true))
	s.ready()
	s.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=2m")
	for name, field := range map[string]string{"native": "initContainers", "classic": "containers"} {
		s.wantPods("track="+name, 1, "2/2")
		if found := s.kubectl("get", "pods", "-l", "track="+name, "-o", "jsonpath={.items[0].spec."+field+"[*].name}"); !strings.Contains(found, "istio-proxy") {
			t.Errorf("the %s pod has no istio-proxy in %s: %s", name, field, found)
		}
	}
	responses, err := s.inMesh(200)
	if err := s.answers(responses, err); err != nil {
		t.Error(err)
	}
	s.note("%s", traffic.Count(responses))
}

// probed is a container with every kind of probe and a preStop hook, which the sidecar answers on the application's behalf. The hook
// postStart is that of a second container: Kubernetes calls it as soon as its container runs, and starts that one when the first has
// ended its own hook, so that the application listens.
const probed = `startupProbe: {tcpSocket: {port: 7070}, periodSeconds: 1, failureThreshold: 60}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 5}
        livenessProbe: {grpc: {port: 9090}, periodSeconds: 2, timeoutSeconds: 5}
        lifecycle:
          postStart: {exec: {command: [/outrigger, get, "http://127.0.0.1:8080/healthz"]}}
          preStop: {httpGet: {path: /hooks/preStop, port: 8080}}
        ports: [{containerPort: 8080}, {containerPort: 9090}, {containerPort: 7070}]
      - name: second
        image: %s:42
        args: [sleep]
        lifecycle: {postStart: {httpGet: {path: /hooks/postStart, port: 8080}}}`

func strict(t *testing.T) {
	installed(t)
	s := begin(t, true, "strict", "Under STRICT mutual TLS, probes and hooks reach the application, its metrics are merged with the proxy's, a Job ends, and callers without a sidecar are refused.")
	container := fmt.Sprintf(probed, cluster.App)
	s.apply(`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}`, `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: "`+cluster.App+`:42", args: [once]}]`,
		client("outside", false),
		workload{name: "web", version: "v1", hardStop: true, container: container, annotations: `prometheus.io/scrape: "true", prometheus.io/port: "8080", prometheus.io/path: /metrics`}.manifest(),
		workload{name: "waiting", version: "v2", hardStop: true, container: container}.manifest())
	s.goLive([]string{"v1"}, service())
	s.kubectl("wait", "--for=condition=Ready", "pod/outside", "--timeout=2m")
	s.collect(200)

	address := s.kubectl("get", "pods", "-l", "track=web", "-o", "jsonpath={.items[0].status.podIP}")
	if out, err := s.in("outside", "get", s.url()); err == nil {
		t.Errorf("a caller without a sidecar got %q under STRICT", out)
	} else {
		s.note("a caller without a sidecar gets no response")
	}
	if restarts := s.kubectl("get", "pods", "-l", "track=web", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"); strings.Trim(restarts, "0 ") != "" {
		t.Errorf("the probes restarted containers: %s", restarts)
	}
	s.note("HTTP, TCP, and gRPC probes succeed")
	pod := s.kubectl("get", "pods", "-l", "track=waiting", "-o", "jsonpath={.items[0].metadata.name}")
	if calls := s.logUntilDeleted(pod); !slices.Equal(calls, []string{"postStart was called", "preStop was called"}) {
		t.Errorf("the application logs these hooks, instead of both: %q", calls)
	}
	s.note("the postStart and preStop hooks reach the application")
	if metrics, err := s.in("outside", "get", "http://"+address+":15020/stats/prometheus"); err != nil || !strings.Contains(metrics, "traffic_app_requests_total") || !strings.Contains(metrics, "istio_agent") {
		t.Errorf("the merged metrics lack the application's or the proxy's: %v\n%.500s", err, metrics)
	} else {
		s.note("the metrics of application and proxy are merged")
	}
	s.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=2m")
	s.note("a Job with a sidecar completes")
}

// logUntilDeleted deletes a pod whose application has logged a line, and returns the lines that it logs until it ends.
func (s *Scene) logUntilDeleted(pod string) []string {
	s.Helper()
	ctx, stop := context.WithTimeout(root, patience)
	defer stop()
	command := cluster.command(ctx, "kubectl", "logs", "--follow", pod, "-n", s.Namespace, "-c", "web")
	log, err := command.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := command.Start(); err != nil {
		s.Fatal(err)
	}
	// The log of a deleted pod is gone: it must be open before.
	var lines []string
	for scanner := bufio.NewScanner(log); scanner.Scan(); {
		if lines = append(lines, scanner.Text()); len(lines) == 1 {
			s.kubectl("delete", "pod", pod, "--wait=false")
		}
	}
	if err := command.Wait(); err != nil {
		s.Errorf("%s: %v", command, err)
	}
	return lines
}

// in runs the program of the image in a pod.
func (s *Scene) in(pod string, args ...string) (string, error) {
	return cluster.Command(root, nil, "kubectl", append([]string{"exec", pod, "-n", s.Namespace, "-c", "client", "--", "/outrigger"}, args...)...)
}

// ports exposes the Service on port 8066 of the gateway, and with HTTPS.
func ports(t *testing.T) {
	installed(t)
	s := begin(t, true, "ports", "The Service is exposed on another port of the gateway, and with HTTPS; v1 answers all requests.")
	// A second Service of the gateway's pods opens the port, so the existing one stays as it is.
	extra := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: traffic-8066, namespace: %s, labels: {%s: "%s"}}
spec:
  type: NodePort
  selector: {istio: ingressgateway}
  ports: [{name: http-8066, port: 8066, targetPort: 8066}]`, cluster.Gateway.Namespace, runLabel, cluster.Run)
	s.Cleanup(func() {
		s.afterwards("kubectl", "delete", "service/traffic-8066", "secret/traffic-tls", "-n", cluster.Gateway.Namespace, "--ignore-not-found")
	})
	if _, err := cluster.Command(root, []byte(extra), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.apply(service(), workload{name: "first", version: "v1", fixed: true}.manifest(), workload{name: "second", version: "v2", fixed: true}.manifest())
	s.ready()
	s.kubectl("annotate", "service", "web", "outrigger.dev/expose=true", "outrigger.dev/hosts="+s.Host, "outrigger.dev/gateway-port=8066")
	port := s.run("kubectl", "get", "service/traffic-8066", "-n", cluster.Gateway.Namespace, "-o", "jsonpath={.spec.ports[0].nodePort}")
	options := s.gatewayOptions(burst, 5)
	options.URL = fmt.Sprintf("http://%s:%s/hello", cluster.Gateway.Node, port)
	s.wantFrom("v1", "port 8066", options)

	if cluster.Gateway.HTTPS == 0 {
		s.note("HTTPS is not tried: the gateway's Service has no port 443")
		return
	}
	certificate, key, roots := selfSigned(t, s.Host)
	secret := fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: traffic-tls, namespace: %s, labels: {%s: "%s"}}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}`, cluster.Gateway.Namespace, runLabel, cluster.Run, certificate, key)
	if _, err := cluster.Command(root, []byte(secret), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.kubectl("annotate", "service", "web", "outrigger.dev/tls-credential=traffic-tls", "outrigger.dev/gateway-port-")
	options.URL = fmt.Sprintf("https://%s:%d/hello", cluster.Gateway.Node, cluster.Gateway.HTTPS)
	options.TLS = &tls.Config{ServerName: s.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	s.wantFrom("v1", "HTTPS", options)
}

// wantFrom waits until a way through the gateway answers, and wants all of its responses from one version then.
func (s *Scene) wantFrom(version, way string, options load.Options) {
	s.Helper()
	s.eventually(way+" answers", func() error { return s.answers(send(options), root.Err()) })
	options.Total = 200
	counts := traffic.Count(send(options))
	if counts.Versions[version] != counts.Total {
		s.Errorf("%s: %s", way, counts)
	}
	s.note("%s: %s", way, counts)
}

// selfSigned returns a certificate and its key for a Secret, and the pool that trusts it.
func selfSigned(t *testing.T, host string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	encoded := base64.StdEncoding.EncodeToString
	return encoded(text), encoded(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), roots
}

// byHand injects the example without the webhook.
func byHand(t *testing.T) {
	installed(t)
	s := begin(t, true, "by-hand", "outrigger inject -f app.yaml | kubectl apply -f - gives pods their sidecars in a namespace without injection.", "istio-injection=disabled")
	text, err := os.ReadFile(filepath.Join(cluster.Root, "examples", "springbootapp", "app.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.ReplaceAll(string(text), "xjk27400861/springbootapp", cluster.App)
	injected, err := cluster.Command(root, []byte(manifest), "outrigger", "inject", "-n", s.Namespace, "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	s.apply(injected)
	s.ready()
	s.wantPods("app=springbootapp", 2, "2/2")
}

// spans looks for the spans of requests in Jaeger, where the cluster has it as Istio's samples install it.
func spans(t *testing.T) {
	installed(t)
	s := begin(t, true, "spans", "Jaeger has spans under the names of the gateway and of the workload.")
	if found := s.run("kubectl", "get", "service", "tracing", "-n", cluster.Gateway.Namespace, "--ignore-not-found", "-o", "name"); found == "" {
		t.Skipf("there is no Service tracing in namespace %s, as Istio's sample of Jaeger has it", cluster.Gateway.Namespace)
	}
	s.goLive([]string{"v1"}, service(), workload{name: "web", version: "v1"}.manifest())
	s.collect(100)
	for _, name := range []string{"web." + s.Namespace, "istio-ingressgateway." + cluster.Gateway.Namespace} {
		s.eventually("Jaeger knows "+name, func() error {
			text, err := s.in("client", "get", "http://tracing."+cluster.Gateway.Namespace+"/api/services")
			if err != nil {
				return err
			}
			var services struct{ Data []string }
			if err := json.Unmarshal([]byte(text), &services); err != nil {
				return err
			}
			for _, service := range services.Data {
				if service == name {
					return nil
				}
			}
			return fmt.Errorf("it knows %q", services.Data)
		})
		s.note("Jaeger has spans of %s", name)
	}
}
