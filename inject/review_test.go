// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// replica returns the JSON of the n-th pod of a Deployment as the API server sends it, changed by an overlay.
func replica(t testing.TB, n int, overlay string) []byte {
	t.Helper()
	suffix := string(rune('b'+n%7)) + string(rune('k'+n/7%7)) + "2x9"
	text := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: shop-7c9d-%[1]s
  generateName: shop-7c9d-
  namespace: demo
  uid: 0b0c1de4-91cb-4b0e-8b6a-%012[2]d
  creationTimestamp: "2026-11-24T08:00:%02[3]dZ"
  labels: {app: shop, pod-template-hash: 7c9d}
  managedFields: [{manager: kube-controller-manager, operation: Update, time: "2026-11-24T08:00:%02[3]dZ"}]
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: shop-7c9d, uid: 5a1d9f5e-7f67-4a39-8c07-3a7f0c6b7f11, controller: true}]
spec:
  containers:
  - name: app
    image: registry.example/shop:1
    volumeMounts: [{name: kube-api-access-%[1]s, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]
  volumes: [{name: kube-api-access-%[1]s, projected: {sources: [{serviceAccountToken: {path: token}}]}}]
`, suffix, n, n%60)
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(overlay), pod); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// FuzzReplicaOf finds the own parts of any text, JSON or not: they are within it, sorted, and do not overlap.
func FuzzReplicaOf(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a","uid":"b"},"spec":{"volumes":[{"name":"kube-api-access-abcde"}]}}`))
	f.Add([]byte(`{"metadata":{"name":"\`))
	f.Fuzz(func(t *testing.T, text []byte) {
		last := 0
		for _, s := range replicaSpans(text) {
			if s.from < last || s.to < s.from || s.to > len(text) {
				t.Fatalf("%s: spans %v", text, replicaSpans(text))
			}
			last = s.to
		}
		replica := ReplicaOf(Received{JSON: text}, "")
		if got := len(replica.Key) + len(replica.Omitted); got < len(text) {
			t.Errorf("%q lost something: %q %q", text, replica.Key, replica.Omitted)
		}
	})
}
