// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// mesh reads Istio's configuration as the installation does, from the two ConfigMaps of its revision. Where they cannot be read
// or do not parse, Istio's defaults apply, and the reason is noted.
func (l *live) mesh(ctx context.Context, s *snapshot) routing.Mesh {
	configured, err := l.istioConfig(ctx, s)
	if isForbidden(err) {
		s.gaps.AddKind("ConfigMap", l.config.Istio.Namespace)
		return routing.Mesh{}
	}
	if err != nil {
		s.sentences[fmt.Sprintf("Istio's configuration is not known (%v); its defaults are assumed for the cluster domain and for Ingresses.", err)] = true
		return routing.Mesh{}
	}
	return diagnose.MeshOf(configured)
}

func (l *live) istioConfig(ctx context.Context, s *snapshot) (*inject.Config, error) {
	istio := l.config.Istio
	source, err := istioMaps(ctx, s, istio.Namespace, istio.Revision)
	if apierrors.IsNotFound(err) && api.WithRevision("", istio.Revision) == "" {
		tag := &admissionregistrationv1.MutatingWebhookConfiguration{}
		key := client.ObjectKey{Name: "istio-revision-tag-default"}
		if s.readOne(ctx, key, tag, &admissionregistrationv1.MutatingWebhookConfigurationList{}) == nil && tag.Labels[api.LabelRevision] != "" {
			source, err = istioMaps(ctx, s, istio.Namespace, tag.Labels[api.LabelRevision])
		}
	}
	if err != nil {
		return nil, err
	}
	config, _, err := inject.Parse(source)
	return config, err
}

// istioMaps reads the two ConfigMaps of a revision.
func istioMaps(ctx context.Context, s *snapshot, namespace, revision string) (inject.Source, error) {
	var injector, mesh corev1.ConfigMap
	for name, into := range map[string]*corev1.ConfigMap{"istio-sidecar-injector": &injector, "istio": &mesh} {
		key := client.ObjectKey{Namespace: namespace, Name: api.WithRevision(name, revision)}
		if err := s.readOne(ctx, key, into, &corev1.ConfigMapList{}); err != nil {
			return inject.Source{}, err
		}
	}
	return inject.Source{
		Config: injector.Data["config"], Values: injector.Data["values"], Mesh: mesh.Data["mesh"], Release: inject.ReleaseOf(injector.Labels),
	}, nil
}
