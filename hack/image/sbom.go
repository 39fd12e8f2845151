// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// bom writes the bill of materials of one binary: what the binary itself says it was linked from, with the licenses. It has
// no serial number, which would be another one each time.
func (m modules) bom(r Recipe, platform v1.Platform) ([]byte, error) {
	program := component(m.main)
	program.Type = cyclonedx.ComponentTypeApplication
	program.PackageURL += "?goarch=" + platform.Architecture + "&goos=" + platform.OS
	library := component(module{path: "std", version: m.goVersion, licenses: []string{"BSD-3-Clause"}})
	components, uses := []cyclonedx.Component{library}, []string{library.BOMRef}
	for _, part := range m.parts {
		c := component(part)
		components, uses = append(components, c), append(uses, c.BOMRef)
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp:  r.Created.UTC().Format(time.RFC3339),
		Lifecycles: &[]cyclonedx.Lifecycle{{Phase: cyclonedx.LifecyclePhasePostBuild}},
		Component:  &program,
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: program.BOMRef, Dependencies: &uses}}
	var out bytes.Buffer
	err := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
	return out.Bytes(), err
}

func component(m module) cyclonedx.Component {
	purl := fmt.Sprintf("pkg:golang/%s@%s", m.path, strings.ReplaceAll(m.version, "+", "%2B"))
	out := cyclonedx.Component{
		BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: m.path, Version: m.version, Scope: cyclonedx.ScopeRequired, PackageURL: purl,
	}
	licenses := cyclonedx.Licenses{}
	for _, id := range m.licenses {
		licenses = append(licenses, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
	}
	out.Licenses = &licenses
	// The hash of go.sum: the SHA-256 over the hashes of the module's files.
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.sum, "h1:")); err == nil && len(sum) == 32 {
		out.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	}
	return out
}
