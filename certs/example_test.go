// SPDX-License-Identifier: Apache-2.0

package certs_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"outrigger.dev/outrigger/certs"
)

// A Keeper serves HTTPS with a certificate that it renews, and publishes its CA to the entries of a webhook object.
func Example() {
	keeper, err := certs.New(certs.Options{
		Client:    fake.NewClientset(), // a client of the cluster
		Namespace: "outrigger-system", SecretName: "outrigger-ca", WebhookConfiguration: "outrigger-sidecar-injector",
		Hosts:      []string{"outrigger.outrigger-system.svc"},
		CADuration: 10 * 365 * 24 * time.Hour, LeafDuration: 24 * time.Hour, Overlap: time.Minute,
		Endpoint: "127.0.0.1:10250",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = tls.Config{GetCertificate: keeper.GetCertificate, MinVersion: tls.VersionTLS12} // of the server at Endpoint

	ctx, stop := context.WithCancel(context.Background())
	stop() // a program runs Start until it ends
	fmt.Println(keeper.Start(ctx))
	fmt.Println(keeper.Ready(nil))
	// Output:
	// <nil>
	// the endpoint has not been verified against the published caBundle yet
}
