// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/inject"
)

func configMap(name string, labels, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name, Labels: labels}, Data: data}
}

func TestConfigurationIsReadFromTheCluster(t *testing.T) {
	unsuffixed := []client.Object{
		configMap("istio-sidecar-injector", map[string]string{"app.kubernetes.io/version": "1.31.1"}, map[string]string{"config": "c", "values": "v"}),
		configMap("istio", nil, map[string]string{"mesh": "m"}),
	}
	canary := []client.Object{
		configMap("istio-sidecar-injector-canary", map[string]string{"helm.sh/chart": "istiod-1.30.3"}, map[string]string{"config": "c2", "values": "v2"}),
		configMap("istio-canary", nil, map[string]string{"mesh": "m2"}),
	}
	tag := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{
		Name: "istio-revision-tag-default", Labels: map[string]string{"istio.io/rev": "canary"},
	}}
	fromCanary := inject.Source{Config: "c2", Values: "v2", Mesh: "m2", Release: "1.30.3", Settings: inject.Settings{Revision: "canary"}}
	for _, c := range []struct {
		what     string
		revision string
		objects  []client.Object
		want     inject.Source
		fault    string
	}{
		{
			what: "the default revision", objects: unsuffixed,
			want: inject.Source{Config: "c", Values: "v", Mesh: "m", Release: "1.31.1"},
		},
		{what: "a revision by name", revision: "canary", objects: append(canary, unsuffixed...), want: fromCanary},
		{what: "the default tag where only a revision is installed", objects: append([]client.Object{tag}, canary...), want: fromCanary},
		{what: "nothing there", fault: "there is no ConfigMap istio-sidecar-injector in namespace istio-system"},
		{what: "no mesh", objects: unsuffixed[:1], fault: "there is no ConfigMap istio in namespace istio-system"},
		{what: "a tag that points nowhere", objects: []client.Object{tag}, fault: "there is no ConfigMap istio-sidecar-injector-canary"},
	} {
		t.Run(c.what, func(t *testing.T) {
			flags := istioFlags{istioNamespace: "istio-system", revision: c.revision}
			got, name, err := flags.read(t.Context(), newLiveStage(t, c.objects...).client)
			if err != nil {
				err = flags.unreadable(name, err)
			}
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("got %v, want %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigFileMayBeTheKeyTheConfigMapOrATemplate(t *testing.T) {
	const key = "policy: enabled\ntemplates:\n  sidecar: |\n    {{ if true }}\n"
	const template = "metadata:\n  labels:\n    {{ if true }}\n"
	for what, c := range map[string]struct{ text, want string }{
		"the key":       {key, key},
		"the ConfigMap": {"kind: ConfigMap\napiVersion: v1\ndata:\n  config: |\n    policy: enabled\n", "policy: enabled\n"},
		"a template":    {template, "defaultTemplates:\n- sidecar\npolicy: enabled\ntemplates:\n  sidecar: |\n    metadata:\n      labels:\n        {{ if true }}\n"},
	} {
		got, err := keyOf("f", "config", c.text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, wholeConfig(got)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	if _, err := keyOf("f", "config", "kind: ConfigMap\nmetadata: {name: istio}\ndata: {mesh: x}\n"); err == nil || err.Error() != `f: ConfigMap istio has no key "config"` {
		t.Errorf("got %v", err)
	}
}
