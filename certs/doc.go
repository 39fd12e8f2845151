// Package certs keeps the certificate that the API server must trust alive and published.
//
// A Secret holds a CA and nothing else. Every replica reads it, signs a short-lived serving certificate of its own in
// memory and writes the CA into the webhook object. A new CA stands there beside the old one before anything is signed
// with it, and the old one stays until its last serving certificate has ended.
package certs
