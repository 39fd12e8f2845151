// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	admissionregistrationinformers "k8s.io/client-go/informers/admissionregistration/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// informers returns informers for all objects that the certificate depends on. Each watches one object by name, which is all that the
// permissions allow. The object need not exist yet.
func (k *Keeper) informers() []cache.SharedIndexInformer {
	o := k.options
	named := func(name string) func(*metav1.ListOptions) {
		return func(l *metav1.ListOptions) {
			l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}
	}
	out := []cache.SharedIndexInformer{
		coreinformers.NewFilteredSecretInformer(o.Client, o.Namespace, 0, nil, named(o.SecretName)),
		admissionregistrationinformers.NewFilteredMutatingWebhookConfigurationInformer(o.Client, 0, nil, named(o.WebhookConfiguration)),
	}
	switch {
	case o.Source == CertManager: // cert-manager publishes the CA; its informers need the clients of all of its kinds
		certificates, only := o.Certificates.Certificates(o.Namespace), named(o.CertificateName)
		listWatch := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) {
				only(&l)
				return certificates.List(ctx, l)
			},
			WatchFuncWithContext: func(ctx context.Context, l metav1.ListOptions) (watch.Interface, error) {
				only(&l)
				return certificates.Watch(ctx, l)
			},
		}
		out = append(out, cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(listWatch, o.Client), &cmapi.Certificate{}, 0, nil))
	case o.Validator != "":
		out = append(out, admissionregistrationinformers.NewFilteredValidatingWebhookConfigurationInformer(o.Client, 0, nil, named(o.Validator)))
	}
	return out
}

// wakeOn sends to the channel at every change, and stores the states of webhook objects.
func (k *Keeper) wakeOn(wake chan<- struct{}) cache.ResourceEventHandler {
	send := func(object any) {
		k.repairs.saw(webhookObjectOf(object), k.options.Now())
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    send,
		UpdateFunc: func(_, object any) { send(object) },
		DeleteFunc: func(any) { send(nil) },
	}
}
