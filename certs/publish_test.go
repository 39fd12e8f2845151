// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"errors"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubetesting "k8s.io/client-go/testing"
)

const validatorName = "outrigger-validator"

func (c *cluster) withValidator(t *testing.T) *cluster {
	t.Helper()
	_, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: validatorName},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "workloads.outrigger.dev"}, {Name: "services.outrigger.dev"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) validatorBundles(t *testing.T) [][]byte {
	t.Helper()
	object, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), validatorName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, entry := range object.Webhooks {
		out = append(out, entry.ClientConfig.CABundle)
	}
	return out
}

func TestTheValidatorTrustsWhatTheInjectorTrusts(t *testing.T) {
	c := newCluster().withValidator(t)
	keeper := c.replica(t)
	keeper.options.Validator = validatorName
	same := func(when string) {
		t.Helper()
		look(t, keeper)
		want := c.bundles(t)[0]
		for i, got := range c.validatorBundles(t) {
			if len(got) == 0 || !bytes.Equal(got, want) {
				t.Errorf("%s: entry %d has another caBundle than the injector", when, i)
			}
		}
	}
	same("at first")
	before := c.validatorBundles(t)[0]
	c.advance(61 * time.Hour) // two thirds of the CA's time
	same("with the next CA beside it")
	if bytes.Equal(before, c.validatorBundles(t)[0]) {
		t.Error("the next CA was not published")
	}
	c.ClearActions()
	same("again")
	for _, action := range c.Actions() {
		if action.Matches("patch", "validatingwebhookconfigurations") {
			t.Error("an unchanged caBundle was written again")
		}
	}
}

// Warnings must never cost injection its certificate.
func TestAValidatorThatFailsKeepsNobodyFromBeingReady(t *testing.T) {
	for name, refuse := range map[string]bool{"it is not there": false, "it may not be written": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			if refuse {
				c.withValidator(t)
				c.PrependReactor("patch", "validatingwebhookconfigurations", func(kubetesting.Action) (bool, runtime.Object, error) {
					return true, nil, errors.New("not for you")
				})
			}
			keeper := c.replica(t)
			keeper.options.Validator = validatorName
			_, err := keeper.reconcile(t.Context())
			if (err != nil) != refuse {
				t.Errorf("got %v", err)
			}
			if !keeper.Verified() {
				t.Error("it is not ready")
			}
			c.trusted(t, keeper)
		})
	}
}
