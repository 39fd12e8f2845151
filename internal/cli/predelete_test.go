// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// TestPreDelete is about the order, and about what is another release's; the rest is shown on a real cluster.
func TestPreDelete(t *testing.T) {
	labels := map[string]string{"app.kubernetes.io/name": "outrigger"}
	mutating := func(name string) client.Object {
		return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: defaultSystemNamespace, Name: "outrigger"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: defaultSystemNamespace, Name: "outrigger-1", Labels: labels}}
	s := newLiveStage(t, mutating("outrigger-sidecar-injector"), mutating("outrigger-sidecar-injector-canary"), mutating("istio-sidecar-injector"),
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-validator"}}, deployment, pod)

	under := s.client.(client.WithWatch)
	s.client = interceptor.NewClient(under, interceptor.Funcs{ // the cluster in memory knows no patch of a scale
		SubResourcePatch: func(ctx context.Context, _ client.Client, subResource string, object client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
			if subResource != "scale" {
				return errors.New("not its scale but " + subResource)
			}
			scaled := object.DeepCopyObject().(*appsv1.Deployment)
			scaled.Spec.Replicas = ptr.To[int32](0)
			return under.Update(ctx, scaled)
		},
	})

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.preDelete(ctx, "outrigger", s.writing(dryRunNone)); err == nil || !strings.Contains(err.Error(), "1 pods of Deployment outrigger have not ended") {
		t.Errorf("with a pod that does not end: %v", err)
	}
	s.printed("mutatingwebhookconfiguration/outrigger-sidecar-injector deleted: Outrigger no longer injects new pods\n",
		"validatingwebhookconfiguration/outrigger-validator deleted: Outrigger no longer warns when objects are created or changed\n", "deployment/outrigger in namespace outrigger-system scaled to 0")
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil || *deployment.Spec.Replicas != 0 {
		t.Errorf("the Deployment has %d replicas, %v", *deployment.Spec.Replicas, err)
	}

	if err := s.client.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := s.preDelete(t.Context(), "outrigger", s.writing(dryRunNone)); err != nil {
		t.Errorf("run again: %v", err)
	}
	s.printed("no routes to remove")
	var left admissionregistrationv1.MutatingWebhookConfigurationList
	if err := s.client.List(t.Context(), &left); err != nil || len(left.Items) != 2 {
		t.Errorf("%d webhook objects of others are left, %v", len(left.Items), err)
	}
}
