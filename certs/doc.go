// SPDX-License-Identifier: Apache-2.0

// Package certs provides the webhook's serving certificate and publishes its CA in the webhook objects.
//
// Create a Keeper with New, run Keeper.Start on every replica, use Keeper.GetCertificate in the tls.Config of the server, and
// Keeper.Ready as its readiness check.
//
// By default, a Secret holds only a CA. Every replica reads it, signs its own short-lived serving certificate in memory, and
// writes the CA to the webhook objects. Alternatively, a Secret holds the certificate itself, managed by the user or by
// cert-manager, which also publishes the CA.
//
// For every source, a new CA is published beside the old one before a certificate that it signed is served, the old CA stays
// published until its last certificate has expired, and a certificate that API servers do not trust never replaces one that
// they trust.
package certs
