// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// errNoSource is the error if neither a cluster nor files are set.
var errNoSource = errors.New("no Istio configuration: there is neither a cluster (no --kubeconfig, KUBECONFIG, ~/.kube/config or pod's account) nor " +
	"--injectConfigFile, --valuesFile and --meshConfigFile; Outrigger contains no template, hub or tag")

func (f *istioFlags) fromCluster(ctx context.Context, given fileFacts) (*istioSource, error) {
	cluster, namespace, err := f.kube.connect(func(*rest.Config) {})
	if errors.Is(err, errNoCluster) {
		return nil, errNoSource
	}
	if err != nil {
		return nil, err
	}
	source, name, err := f.read(ctx, cluster)
	if err != nil {
		return nil, f.unreadable(name, err)
	}
	found, err := parse(source, "Istio's configuration in namespace "+f.istioNamespace)
	if err != nil {
		return nil, err
	}
	facts, err := f.facts(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var proxyConfigs networkingv1beta1.ProxyConfigList
	if f.proxyConfigFile != "" {
		proxyConfigs.Items = given.proxyConfigs
	} else if err := cluster.List(ctx, &proxyConfigs); f.gaps != nil && isForbidden(err) {
		f.gaps.AddKind("ProxyConfig", "")
	} else if isForbidden(err) {
		return nil, &permissionError{"list ProxyConfigs in all namespaces", "--proxyConfigFile FILE reads them from a file", err}
	} else if err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) { // without their CRD there are none
		return nil, fmt.Errorf("read ProxyConfig resources: %w", err)
	}
	facts.ProxyConfigs = proxyConfigs.Items
	found.config, found.namespace, found.client = found.config.With(facts), namespace, cluster
	return found, nil
}

// facts reads the other facts that the webhook uses: the versions of the kubelets, unless a flag decides.
func (f *istioFlags) facts(ctx context.Context, cluster client.Reader) (inject.Facts, error) {
	facts := inject.Facts{Nodes: map[string]string{}}
	if f.nativeSidecars == "enabled" || f.nativeSidecars == "disabled" {
		return facts, nil
	}
	var nodes corev1.NodeList
	err := cluster.List(ctx, &nodes)
	if f.gaps != nil && isForbidden(err) {
		f.gaps.AddKind("Node", "")
		return facts, nil
	}
	if isForbidden(err) {
		return facts, &permissionError{"list Nodes, whose versions decide about native sidecars", "--nativeSidecars=enabled or disabled needs none", err}
	}
	if err != nil {
		return facts, fmt.Errorf("read the nodes' kubelets, by which the webhook decides about native sidecars (--nativeSidecars enabled or disabled needs none): %w", err)
	}
	for i := range nodes.Items {
		facts.Nodes[nodes.Items[i].Name] = nodes.Items[i].Status.NodeInfo.KubeletVersion
	}
	return facts, nil
}

// read reads Istio's two ConfigMaps. An error is about the ConfigMap whose name it returns.
func (f *istioFlags) read(ctx context.Context, cluster client.Client) (source inject.Source, name string, err error) {
	var maps [2]corev1.ConfigMap
	injectorName, meshName := f.configMapNames()
	for i, name := range []string{injectorName, meshName} {
		if err := readOne(ctx, cluster, client.ObjectKey{Namespace: f.istioNamespace, Name: name}, &maps[i]); err != nil {
			if revision := f.defaultRevision(ctx, cluster); apierrors.IsNotFound(err) && i == 0 && revision != "" {
				f.revision = revision
				return f.read(ctx, cluster)
			}
			return inject.Source{}, name, err
		}
	}
	injector, mesh := maps[0], maps[1]
	return inject.Source{
		Settings: f.settings(), Config: injector.Data["config"], Values: injector.Data["values"], Mesh: mesh.Data["mesh"],
		Release: cmp.Or(f.release, inject.ReleaseOf(injector.Labels)),
	}, "", nil
}

// defaultRevision returns the revision that the tag "default" names, or "" if there is no such tag, or if a flag names a revision or a
// ConfigMap. Where only revisions are installed, no ConfigMap lacks a suffix.
func (f *istioFlags) defaultRevision(ctx context.Context, cluster client.Client) string {
	tag := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if api.WithRevision("", f.revision) != "" || f.configMap != "" ||
		readOne(ctx, cluster, client.ObjectKey{Name: "istio-revision-tag-default"}, tag) != nil {
		return ""
	}
	return strings.TrimPrefix(api.WithRevision("", tag.Labels[api.LabelRevision]), "-")
}

// configMapNames returns the names of the flags, or else those that Istio uses for the revision.
func (f *istioFlags) configMapNames() (injector, mesh string) {
	injector, mesh = f.configMap, f.meshMap
	if injector == "" {
		injector = api.WithRevision("istio-sidecar-injector", f.revision)
	}
	if mesh == "" {
		mesh = api.WithRevision("istio", f.revision)
	}
	return injector, mesh
}

func (f *istioFlags) unreadable(name string, err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("no Istio configuration: there is no ConfigMap %s in namespace %s; say where Istio is with --istioNamespace and --revision, or give --injectConfigFile, --valuesFile and --meshConfigFile", name, f.istioNamespace)
	}
	if isForbidden(err) {
		return &permissionError{
			fmt.Sprintf("get ConfigMap %s in namespace %s", name, f.istioNamespace),
			"have a user with this permission save Istio's configuration to the files of --injectConfigFile, --valuesFile and --meshConfigFile", err,
		}
	}
	return fmt.Errorf("read ConfigMap %s/%s: %w", f.istioNamespace, name, err)
}

// lookup returns a Namespace of the cluster, or one with only a name if there is no cluster or no such Namespace.
func (s *istioSource) lookup(ctx context.Context, name string) (*corev1.Namespace, error) {
	if given := s.namespaces[name]; given != nil {
		return given, nil
	}
	unknown := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if s.client == nil {
		return unknown, nil
	}
	namespace := &corev1.Namespace{}
	err := s.client.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if isUnreadable(err) {
		return unknown, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Namespace %s: %w", name, err)
	}
	return namespace, nil
}
