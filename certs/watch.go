// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// informers returns informers for all objects that the certificate depends on.
func (k *Keeper) informers() []cache.SharedIndexInformer {
	o := k.options
	secrets := o.Client.CoreV1().Secrets(o.Namespace)
	webhooks := o.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	out := []cache.SharedIndexInformer{
		k.informerOf(&corev1.Secret{}, o.SecretName,
			func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) { return secrets.List(ctx, l) }, secrets.Watch),
		k.informerOf(&admissionregistrationv1.MutatingWebhookConfiguration{}, o.WebhookConfiguration,
			func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) { return webhooks.List(ctx, l) }, webhooks.Watch),
	}
	if o.Source == CertManager {
		certificates := o.Certificates.Certificates(o.Namespace)
		return append(out, k.informerOf(&cmapi.Certificate{}, o.CertificateName,
			func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) {
				return certificates.List(ctx, l)
			}, certificates.Watch))
	}
	if o.Validator != "" {
		validators := o.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
		out = append(out, k.informerOf(&admissionregistrationv1.ValidatingWebhookConfiguration{}, o.Validator,
			func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) {
				return validators.List(ctx, l)
			}, validators.Watch))
	}
	return out
}

// informerOf watches one object by name, which is all that the permissions allow. The object need not exist yet.
func (k *Keeper) informerOf(object runtime.Object, name string,
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
	watching func(context.Context, metav1.ListOptions) (watch.Interface, error),
) cache.SharedIndexInformer {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return watching(ctx, o)
		},
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(listWatch, k.options.Client), object, 0, cache.Indexers{})
}

// wakeOn sends to the channel at every change, after it called saw with the object.
func wakeOn(wake chan<- struct{}, saw func(object any)) cache.ResourceEventHandler {
	send := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { saw(object); send() },
		UpdateFunc: func(_, object any) { saw(object); send() },
		DeleteFunc: func(any) { send() },
	}
}
