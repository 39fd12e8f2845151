// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"

	"outrigger.dev/outrigger/api"
)

// RESTConfig returns how to reach the API server: with the kubeconfig file, or else KUBECONFIG, or else the pod's ServiceAccount.
func RESTConfig(kubeconfig, version string, limits api.RequestConfig) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster: there is no --kubeconfig, no KUBECONFIG, and no ServiceAccount of a pod")
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.UserAgent = "outrigger/" + version
	// The limits are far above what a large cluster needs at the start. They stop a runaway loop. Each client has its own, so routing
	// never uses up the requests of the certificate.
	config.QPS, config.Burst = float32(limits.QPS), limits.Burst
	return config, nil
}

// NewCluster returns the caches and clients that all parts share. It sends no request yet.
func NewCluster(cluster *rest.Config, config api.Config, logger logr.Logger) (ctrlcluster.Cluster, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return ctrlcluster.New(cluster, func(o *ctrlcluster.Options) {
		o.Scheme, o.Logger, o.MapperProvider = scheme, logger, NewRESTMapper
		o.Cache = cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			// Only our own webhook object, because our permissions name it.
			ByObject: map[client.Object]cache.ByObject{
				&admissionregistrationv1.MutatingWebhookConfiguration{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, config.WebhookConfigurationName())},
			},
		}
	})
}

// NewLeaseLock returns the Lease of the leader. Its holder has the name of this process's pod, so that users see which pod leads.
func NewLeaseLock(cluster *rest.Config, election api.LeaderElectionConfig, key types.NamespacedName, labels map[string]string) (resourcelock.Interface, error) {
	cluster = rest.CopyConfig(cluster)
	cluster.Timeout = election.RenewDeadline / 2 // a request that hangs must not cost the leadership
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return resourcelock.NewWithLabels(resourcelock.LeasesResourceLock, key.Namespace, key.Name, client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: Instance() + "_" + string(uuid.NewUUID())}, labels)
}

// Synced returns nil if the caches of all kinds that were requested at the start are complete.
func Synced(shared ctrlcluster.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if !shared.GetCache().WaitForCacheSync(ctx) {
		return errors.New("not complete yet")
	}
	return nil
}

// Instance returns the name under which this process reports: that of its pod, or else of its host.
func Instance() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return api.Outrigger // an Event needs a reporter
	}
	return name
}
