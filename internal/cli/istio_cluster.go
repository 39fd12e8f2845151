// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	istioclient "istio.io/client-go/pkg/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// errNoSource is the error if neither a cluster nor files are set.
var errNoSource = errors.New("no Istio configuration: there is neither a cluster (no --kubeconfig, KUBECONFIG, ~/.kube/config or pod's account) nor " +
	"--injectConfigFile, --valuesFile and --meshConfigFile; Outrigger contains no template, hub or tag")

func (f *istioFlags) fromCluster(ctx context.Context, given fileFacts) (*istioSource, error) {
	rest, err := f.kube.rest()
	if errors.Is(err, errNoCluster) {
		return nil, errNoSource
	}
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	namespace, _, err := f.kube.loading().Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	source, err := f.read(ctx, client)
	if err != nil {
		return nil, err
	}
	found, err := parse(source, "Istio's configuration in namespace "+f.istioNamespace)
	if err != nil {
		return nil, err
	}
	istio, err := istioclient.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	facts, err := f.facts(ctx, client)
	if err != nil {
		return nil, err
	}
	if f.proxyConfigFile != "" {
		facts.ProxyConfigs = given.proxyConfigs
	} else if facts.ProxyConfigs, err = proxyConfigsOf(ctx, istio); f.gaps != nil && isForbidden(err) {
		f.gaps.AddKind("ProxyConfig", "")
	} else if isForbidden(err) {
		return nil, &permissionError{"list ProxyConfigs in all namespaces", "--proxyConfigFile FILE reads them from a file", err}
	} else if err != nil {
		return nil, err
	}
	found.config, found.namespace, found.client = found.config.With(facts), namespace, client
	return found, nil
}

// facts reads the other facts that the webhook uses: the versions of the kubelets, unless a flag decides.
func (f *istioFlags) facts(ctx context.Context, client kubernetes.Interface) (inject.Facts, error) {
	facts := inject.Facts{Nodes: map[string]string{}}
	if f.nativeSidecars == "enabled" || f.nativeSidecars == "disabled" {
		return facts, nil
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
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
	for _, node := range nodes.Items {
		facts.Nodes[node.Name] = node.Status.NodeInfo.KubeletVersion
	}
	return facts, nil
}

// proxyConfigsOf reads the ProxyConfig resources of a cluster. It returns none if their CRD is not installed.
func proxyConfigsOf(ctx context.Context, istio istioclient.Interface) ([]*networkingv1beta1.ProxyConfig, error) {
	found, err := istio.NetworkingV1beta1().ProxyConfigs(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ProxyConfig resources: %w", err)
	}
	return found.Items, nil
}

// read reads Istio's two ConfigMaps.
func (f *istioFlags) read(ctx context.Context, client kubernetes.Interface) (inject.Source, error) {
	source := inject.Source{Settings: f.settings()}
	configMaps := client.CoreV1().ConfigMaps(f.istioNamespace)
	injectorName, meshName := f.configMapNames()
	injector, err := configMaps.Get(ctx, injectorName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && f.revision == "" && f.configMap == "" {
		// With revisions, no ConfigMap lacks a suffix. The tag "default" names the default revision.
		tag, tagErr := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "istio-revision-tag-default", metav1.GetOptions{})
		if tagErr == nil && tag.Labels["istio.io/rev"] != "" {
			f.revision = tag.Labels["istio.io/rev"]
			return f.read(ctx, client)
		}
	}
	if err != nil {
		return inject.Source{}, f.unreadable(injectorName, err)
	}
	mesh, err := configMaps.Get(ctx, meshName, metav1.GetOptions{})
	if err != nil {
		return inject.Source{}, f.unreadable(meshName, err)
	}
	source.Config, source.Values, source.Mesh = injector.Data["config"], injector.Data["values"], mesh.Data["mesh"]
	if source.Release = f.release; source.Release == "" {
		source.Release = inject.ReleaseOf(injector.Labels)
	}
	return source, nil
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
	namespace, err := s.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return unknown, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Namespace %s: %w", name, err)
	}
	return namespace, nil
}
