// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// violations returns the reasons for which Envoy would reject a message: the generated validation of the message and of
// every message packed into it, such as the filters of a listener, and rules that Envoy's code has beyond it.
func violations(message proto.Message) []error {
	var faults []error
	add := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	add(validateAll(message))
	walk(message.ProtoReflect(), func(m protoreflect.Message) {
		switch m := m.Interface().(type) {
		case *anypb.Any:
			packed, err := m.UnmarshalNew()
			if err != nil {
				add(fmt.Errorf("unpacking %s: %w", m.TypeUrl, err))
				return
			}
			faults = append(faults, violations(packed)...)
		case *routev3.RouteConfiguration:
			add(repeatedDomains(m))
			for _, text := range unprintable(m) {
				add(fmt.Errorf("%q is not printable", text))
			}
		case *routev3.WeightedCluster:
			add(sumOfWeights(m))
		case *listenerv3.Listener:
			add(repeatedChains(m))
		case *matcherv3.RegexMatcher:
			if _, err := regexp.Compile(m.Regex); err != nil {
				add(err)
			}
		case *corev3.HeaderValueOption:
			if rest := substitutions.ReplaceAllString(m.GetHeader().GetValue(), ""); strings.Contains(rest, "%") {
				add(fmt.Errorf("header %s: %q is not a format that Envoy can substitute", m.GetHeader().GetKey(), m.GetHeader().GetValue()))
			}
		}
	})
	return faults
}

// validateAll runs the validation that protoc-gen-validate generated from Envoy's API, if the type has any.
func validateAll(message proto.Message) error {
	if validated, has := message.(interface{ ValidateAll() error }); has {
		return validated.ValidateAll()
	}
	return nil
}

// substitutions are the uses of % that Envoy understands in a header that it adds.
var substitutions = regexp.MustCompile(`%%|%[A-Z0-9_]+(\([^)]*\))?(:\d+)?%`)

// repeatedDomains reports domains that belong to two virtual hosts.
func repeatedDomains(routes *routev3.RouteConfiguration) error {
	var errs []error
	seen := map[string]bool{}
	for _, host := range routes.VirtualHosts {
		for _, domain := range host.Domains {
			domain = strings.ToLower(domain)
			if seen[domain] {
				errs = append(errs, fmt.Errorf("domain %s belongs to two virtual hosts", domain))
			}
			seen[domain] = true
		}
	}
	return errors.Join(errs...)
}

// sumOfWeights reports weights whose sum is 0 or more than 32 bits hold.
func sumOfWeights(clusters *routev3.WeightedCluster) error {
	var sum uint64
	for _, c := range clusters.Clusters {
		sum += uint64(c.GetWeight().GetValue())
	}
	if sum == 0 || sum >= 1<<32 {
		return fmt.Errorf("the weights add up to %d", sum)
	}
	return nil
}

// repeatedChains reports two filter chains of a listener that match the same connections.
func repeatedChains(listener *listenerv3.Listener) error {
	for i, chain := range listener.FilterChains {
		for _, earlier := range listener.FilterChains[:i] {
			if proto.Equal(chain.FilterChainMatch, earlier.FilterChainMatch) {
				return fmt.Errorf("filter chains %q and %q match the same connections", earlier.Name, chain.Name)
			}
		}
	}
	return nil
}

// unprintable returns every text in a message that is not valid UTF-8 or contains a control character. The generated
// validation looks for them in header values alone; a path that contains one is rejected by Envoy's HTTP parser.
func unprintable(message proto.Message) []string {
	var out []string
	walk(message.ProtoReflect(), func(m protoreflect.Message) {
		m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			if field.Kind() != protoreflect.StringKind || field.IsMap() {
				return true
			}
			var texts []string
			if field.IsList() {
				for i := range value.List().Len() {
					texts = append(texts, value.List().Get(i).String())
				}
			} else {
				texts = append(texts, value.String())
			}
			for _, text := range texts {
				if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
					out = append(out, text)
				}
			}
			return true
		})
	})
	return out
}

// walk visits a message and all messages in it, those in lists and maps included.
func walk(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, item protoreflect.Value) bool {
					walk(item.Message(), visit)
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				walk(value.List().Get(i).Message(), visit)
			}
		default:
			walk(value.Message(), visit)
		}
		return true
	})
}
