// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/internal/manifest"
)

func templateOf(t *testing.T, text string) (*manifest.Object, *manifest.Template, []byte) {
	t.Helper()
	stream, err := manifest.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	object := stream.Objects()[0]
	template, err := object.Template()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := template.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return object, template, raw
}

const anyTemplate = `{metadata: {name: ignored, creationTimestamp: null, labels: {app: web}, annotations: {a: b}, unknown: 1}, spec: {containers: [{name: web, odd: 1.50}], odd: x}}`

func TestControllerPodHasTheOwnerThatTheControllerGives(t *testing.T) {
	yes := true
	owner := func(apiVersion, kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, Controller: &yes}}
	}
	for _, c := range []struct {
		what, text, generateName string
		owner                    []metav1.OwnerReference
		label                    string
	}{
		{"Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-6b7f9d5c84-", owner("apps/v1", "ReplicaSet", "web-6b7f9d5c84"), "pod-template-hash"},
		{"Rollout", "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-6b7f9d5c84-", owner("apps/v1", "ReplicaSet", "web-6b7f9d5c84"), "rollouts-pod-template-hash"},
		{"ReplicaSet", "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-", owner("apps/v1", "ReplicaSet", "web"), ""},
		{"DaemonSet", "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-", owner("apps/v1", "DaemonSet", "web"), ""},
		{"StatefulSet", "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-", owner("apps/v1", "StatefulSet", "web"), ""},
		{"Job", "{apiVersion: batch/v1, kind: Job, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-", owner("batch/v1", "Job", "web"), ""},
		{"CronJob", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: web}, spec: {jobTemplate: {spec: {template: " + anyTemplate + "}}}}", "web-29000000-", owner("batch/v1", "Job", "web-29000000"), ""},
		{"ReplicationController", "{apiVersion: v1, kind: ReplicationController, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-", owner("v1", "ReplicationController", "web"), ""},
		{"DeploymentConfig", "{apiVersion: apps.openshift.io/v1, kind: DeploymentConfig, metadata: {name: web}, spec: {template: " + anyTemplate + "}}", "web-1-", owner("v1", "ReplicationController", "web-1"), "deploymentconfig"},
		{"PodTemplate", "{apiVersion: v1, kind: PodTemplate, metadata: {name: web}, template: " + anyTemplate + "}", "web-", nil, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			object, template, raw := templateOf(t, c.text)
			assumed, err := assume(object, template.Path, raw, "shop")
			if err != nil {
				t.Fatal(err)
			}
			labels := map[string]string{"app": "web"}
			switch c.label {
			case "":
			case "deploymentconfig":
				labels[c.label] = "web"
			default:
				labels[c.label] = "6b7f9d5c84" // as inject.Generated assumes it
			}
			want := metav1.ObjectMeta{GenerateName: c.generateName, Namespace: "shop", OwnerReferences: c.owner, Labels: labels, Annotations: map[string]string{"a": "b"}}
			if diff := cmp.Diff(want, assumed.pod.ObjectMeta); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNothingAssumedIsWritten(t *testing.T) {
	for what, text := range map[string]string{
		"a template":              "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: " + anyTemplate + "}}",
		"a bare template":         "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [{name: a}]}}}}",
		"an empty label map":      "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {metadata: {labels: {}}, spec: {containers: [{name: a}]}}}}",
		"a hash of its own":       "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {metadata: {labels: {pod-template-hash: x}}, spec: {containers: [{name: a}]}}}}",
		"a Pod":                   "{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {a: b}, finalizers: [x/y]}, spec: {containers: [{name: a}]}}",
		"a Pod without metadata":  "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}",
		"a Pod with a namespace":  "{apiVersion: v1, kind: Pod, metadata: {namespace: shop}, spec: {containers: [{name: a}]}}",
		"a Pod with a status too": "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}, status: {phase: Running}}",
	} {
		t.Run(what, func(t *testing.T) {
			object, template, raw := templateOf(t, text)
			assumed, err := assume(object, template.Path, raw, "shop")
			if err != nil {
				t.Fatal(err)
			}
			if assumed.pod.Namespace != "shop" {
				t.Errorf("namespace %q", assumed.pod.Namespace)
			}
			written, err := assumed.undo(assumed.raw)
			if err != nil {
				t.Fatal(err)
			}
			var before, after any
			if err := json.Unmarshal(raw, &before); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(written, &after); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
		})
	}
}
