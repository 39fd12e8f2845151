// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// skew is how far the clocks of API servers may be behind ours.
const skew = 5 * time.Minute

// authority is a CA that can sign.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(now time.Time, duration time.Duration) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of a CA: %w", err)
	}
	return certify(key, "Outrigger CA "+now.UTC().Format(time.RFC3339), now, duration)
}

func certify(key *ecdsa.PrivateKey, name string, now time.Time, duration time.Duration) (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"outrigger.dev"}, CommonName: name},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(duration),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := sign("CA", template, key, &authority{cert: template, key: key})
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, nil
}

// issue signs a serving certificate for the hosts, which are DNS names or IP addresses. It expires no later than the CA.
func (a *authority) issue(hosts []string, now time.Time, duration time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of a serving certificate: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"outrigger.dev"}, CommonName: "outrigger"},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(duration),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	leaf, err := sign("serving certificate", template, key, a)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func sign(what string, template *x509.Certificate, key *ecdsa.PrivateKey, by *authority) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("generating a serial number: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return nil, fmt.Errorf("signing a %s: %w", what, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the new %s: %w", what, err)
	}
	return cert, nil
}

// needsSigning reports whether the CA must sign a new serving certificate, and why.
func needsSigning(leaf *x509.Certificate, ca *authority, hosts []string, now time.Time) (bool, string) {
	switch {
	case leaf == nil:
		return true, "there is no certificate yet"
	case leaf.CheckSignatureFrom(ca.cert) != nil:
		return true, "the signing CA changed"
	case !slices.Equal(sorted(hosts), hostsOf(leaf)):
		return true, "the hosts changed"
	case !now.Before(renewal(leaf)):
		return true, "two thirds of its lifetime have passed"
	case now.Before(leaf.NotBefore):
		return true, "the clock is before the start of its validity"
	}
	return false, ""
}

// renewal returns when two thirds of the lifetime of a certificate have passed. Its validity starts skew before it was signed.
func renewal(cert *x509.Certificate) time.Time {
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore.Add(skew)) / 3)
}

func hostsOf(leaf *x509.Certificate) []string {
	hosts := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return sorted(hosts)
}

// sorted returns the hosts sorted, IP addresses in their shortest form.
func sorted(hosts []string) []string {
	out := make([]string, 0, len(hosts))
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			host = ip.String()
		}
		out = append(out, host)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func (a *authority) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of the CA: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// parseAuthority parses a CA in PEM. It returns an error unless the certificate is a CA and the key matches it.
func parseAuthority(cert, key []byte) (*authority, error) {
	certs, err := parseCerts(cert)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 || !certs[0].IsCA {
		return nil, errors.New("must be exactly one CA certificate")
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("the key is not in PEM format")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing the key: %w", err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("the key does not match the certificate")
	}
	return &authority{cert: certs[0], key: private}, nil
}

// parseCerts parses concatenated certificates in PEM. Any other block is an error.
func parseCerts(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("not a certificate in PEM format")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing a certificate: %w", err)
		}
		out = append(out, cert)
		rest = bytes.TrimSpace(rest)
	}
	return out, nil
}
