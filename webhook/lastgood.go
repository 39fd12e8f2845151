// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// fallBack uses the last good configuration from the ConfigMap if the cluster's is not usable and this process has not seen a good
// one: a new replica must answer as the running ones do. It does not if the unusable one is forbidden to read and has another
// revision than the stored one, because then the default tag was moved to it.
func (c *IstioConfiguration) fallBack(ctx context.Context, problem *api.InjectProblem) error {
	if problem == nil || c.good != nil || c.keptRead {
		return nil
	}
	kept, source, err := c.kept(ctx)
	if err != nil {
		return err
	}
	if problem.Reason == api.InjectIstioConfigurationForbidden && source.Settings.Revision != c.from.revision {
		return nil
	}
	c.good, c.keptRead = kept, true
	if kept != nil {
		c.options.Metrics.loaded(source)
	}
	return nil
}

// The keys of the ConfigMap.
const (
	keyConfig   = "config"
	keyValues   = "values"
	keyMesh     = "mesh"
	keyRelease  = "release"
	keyRevision = "revision"
)

// kept returns the last good configuration of the ConfigMap, and its source; nil if there is none, or none that this build can
// use.
func (c *IstioConfiguration) kept(ctx context.Context) (*inject.Config, inject.Source, error) {
	var source inject.Source
	kept, err := c.options.Client.CoreV1().ConfigMaps(c.options.OwnNamespace).Get(ctx, c.options.LastGoodName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, source, nil
	}
	if err != nil {
		return nil, source, fmt.Errorf("reading ConfigMap %s/%s: %w", c.options.OwnNamespace, c.options.LastGoodName, err)
	}
	if kept.Data[keyConfig] == "" {
		return nil, source, nil
	}
	source = inject.Source{
		Config: kept.Data[keyConfig], Values: kept.Data[keyValues], Mesh: kept.Data[keyMesh], Release: kept.Data[keyRelease], Settings: c.options.Settings,
	}
	source.Settings.Revision = kept.Data[keyRevision]
	config, _ := c.parse(source)
	return config, source, nil
}

// save keeps a good source in the ConfigMap of Options. Other replicas write the same, and the certificate's record of CAs is in its
// annotations: after a conflict it is read again.
func (c *IstioConfiguration) save(ctx context.Context, source inject.Source) error {
	configMaps := c.options.Client.CoreV1().ConfigMaps(c.options.OwnNamespace)
	data := map[string]string{keyConfig: source.Config, keyValues: source.Values, keyMesh: source.Mesh, keyRelease: source.Release, keyRevision: source.Settings.Revision}
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		kept, err := configMaps.Get(ctx, c.options.LastGoodName, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading ConfigMap %s/%s: %w", c.options.OwnNamespace, c.options.LastGoodName, err)
		}
		if maps.Equal(kept.Data, data) {
			return nil
		}
		kept = kept.DeepCopy()
		kept.Data = data
		if _, err := configMaps.Update(ctx, kept, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("writing ConfigMap %s/%s: %w", c.options.OwnNamespace, c.options.LastGoodName, err)
		}
		return nil
	})
	c.saved = err == nil
	return err
}
