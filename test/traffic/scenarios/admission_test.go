// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"outrigger.dev/outrigger/test/traffic/load"
)

// How often a pod is created, as a dry run: it passes all webhooks, and runs nowhere. A busy API server slows this, as it slows the
// controllers that create pods.
const (
	admissionsPerSecond  = 10
	admissionsConcurrent = 5
)

// admission creates pods while Outrigger is upgraded, replicas are deleted and killed, and certificate and CA are replaced.
func admission(t *testing.T) {
	installed(t)
	s := begin(t, true, "admission", "Pods are created all the while: none is refused, and each has its sidecar.")
	s.permit("", []string{"with a sidecar"})
	s.record.Start = time.Now()
	s.startFlow("pods created", s.createPods)
	s.collect(50)
	s.step("helm upgrade", func() { s.upgrade("--set", "podAnnotations.traffic-test=admission") })
	s.collect(50)
	if cluster.Operator {
		s.step("a replica is deleted", func() { s.deleteReplica() })
		s.collect(50)
		s.step("a replica is killed", func() { s.deleteReplica("--grace-period=0", "--force") })
		s.collect(50)
	}
	before := s.expiries()
	s.step("the CA is due", func() {
		s.run("kubectl", "patch", "secret", "outrigger-ca", "-n", system, "-p", dueCA(t))
		s.eventually("the CA is replaced", func() error { return s.replaced(before, "ca") })
	})
	s.note("the CA is replaced")
	after := s.expiries()
	s.step("certificates renewed", func() {
		s.eventually("every replica has a new certificate", func() error { return s.replaced(after, "serving") })
	})
	s.note("every replica has renewed its certificate")
	s.collect(100)
}

// deleteReplica deletes a replica of Outrigger, and waits for another one in its place.
func (s *Scene) deleteReplica(flags ...string) {
	s.Helper()
	pods, err := cluster.Client.CoreV1().Pods(system).List(root, metav1.ListOptions{LabelSelector: replicaSelector})
	if err != nil {
		s.Fatal(err)
	}
	// A replica that an upgrade replaces may be gone before it is deleted.
	at := slices.IndexFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp == nil })
	if at < 0 {
		s.Fatalf("all %d replicas are being deleted", len(pods.Items))
	}
	s.run("kubectl", append([]string{"delete", "pod", pods.Items[at].Name, "-n", system}, flags...)...)
	s.run("kubectl", "rollout", "status", "deployment/outrigger", "-n", system, "--timeout=2m")
}

// createPods creates pods until the context ends.
func (s *Scene) createPods(ctx context.Context, take func(load.Response)) error {
	tick := time.NewTicker(time.Second / admissionsPerSecond)
	defer tick.Stop()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "created-", Namespace: s.Namespace},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: cluster.App + ":42"}}},
	}
	ended := make(chan load.Response, admissionsConcurrent)
	running := 0
	for {
		select {
		case r := <-ended:
			running--
			take(r)
			continue
		case <-tick.C:
			if running == admissionsConcurrent {
				continue
			}
			running++
			go func() { ended <- s.createPod(pod) }()
			continue
		case <-ctx.Done():
		}
		for range running {
			take(<-ended)
		}
		return nil
	}
}

// createPod creates one pod and reports it as a response.
func (s *Scene) createPod(pod *corev1.Pod) load.Response {
	r := load.Response{Sent: time.Now()}
	created, err := cluster.Client.CoreV1().Pods(s.Namespace).Create(root, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	r.Latency = time.Since(r.Sent)
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		r.Status, r.Error = int(status.Status().Code), err.Error()
		s.Log(err)
	case err != nil:
		r.Error = err.Error()
		s.Log(err)
	default:
		r.Status, r.Version = 201, "without a sidecar"
		if slices.ContainsFunc(slices.Concat(created.Spec.InitContainers, created.Spec.Containers), func(c corev1.Container) bool { return c.Name == "istio-proxy" }) {
			r.Version = "with a sidecar"
		}
	}
	return r
}

// expiries returns when the certificates of each replica expire, as its metrics say: "pod serving" and "pod ca".
func (s *Scene) expiries() map[string]string {
	out := map[string]string{}
	for _, pod := range s.replicas() {
		metrics, err := cluster.Command(root, nil, "kubectl", "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:8080/proxy/metrics", system, pod))
		if err != nil {
			continue // it is starting or ending
		}
		for line := range strings.Lines(metrics) {
			for _, kind := range []string{"serving", "ca"} {
				if value, found := strings.CutPrefix(line, fmt.Sprintf("outrigger_certificate_expiry_timestamp_seconds{certificate=%q} ", kind)); found {
					out[pod+" "+kind] = strings.TrimSpace(value)
				}
			}
		}
	}
	return out
}

// replaced returns an error until every replica has a certificate of the kind that expires at another time than before.
func (s *Scene) replaced(before map[string]string, kind string) error {
	now := s.expiries()
	found := 0
	for key, value := range now {
		if !strings.HasSuffix(key, " "+kind) {
			continue
		}
		if found++; before[key] == value {
			return fmt.Errorf("%s expires at %s as before", key, value)
		}
	}
	if found < 2 {
		return fmt.Errorf("%d replicas say when theirs expires", found)
	}
	return nil
}

// dueCA returns a patch of the Secret with a CA that is valid and due for replacement, as one from an old backup.
func dueCA(t *testing.T) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "due"}, NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return fmt.Sprintf(`{"data":{"ca.crt":%q,"ca.key":%q}}`, encode("CERTIFICATE", certificate), encode("PRIVATE KEY", key))
}
