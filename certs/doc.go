// SPDX-License-Identifier: Apache-2.0

// Package certs keeps the certificate that the API server must trust alive and published.
//
// By default a Secret holds a CA and nothing else. Every replica reads it, signs a short-lived serving certificate of its
// own in memory and writes the CA into the webhook object. Or the certificate is in a Secret that somebody else keeps:
// its user, or cert-manager, which then publishes the CA as well.
//
// Whatever the source, a new CA stands in the webhook object beside the old one before anything that it signed is served,
// the old one stays until its last certificate is gone, and what API servers do not trust does not take the place of what
// they do.
package certs
