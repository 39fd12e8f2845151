// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"outrigger.dev/outrigger/api"
)

// validators check the values of annotations before injection. The rules are those of Istio's injector.
var validators = map[string]struct {
	check  func(string) error
	advice string
}{
	"sidecar.istio.io/interceptionMode":                     {interceptionMode, "Write REDIRECT, TPROXY or NONE."},
	annotationStatusPort:                                    {port, "Write a port number, or 0 for none."},
	"readiness.status.sidecar.istio.io/initialDelaySeconds": {wholeNumber, "Write a whole number."},
	"readiness.status.sidecar.istio.io/periodSeconds":       {wholeNumber, "Write a whole number."},
	"readiness.status.sidecar.istio.io/failureThreshold":    {wholeNumber, "Write a whole number."},
	"traffic.sidecar.istio.io/includeOutboundIPRanges":      {starOr(cidrs("includeIPRanges")), "Write * or CIDRs separated by commas, without spaces."},
	"traffic.sidecar.istio.io/excludeOutboundIPRanges":      {cidrs("excludeIPRanges"), "Write CIDRs separated by commas, without spaces."},
	"traffic.sidecar.istio.io/includeInboundPorts":          {starOr(portList("includeInboundPorts")), "Write * or port numbers separated by commas."},
	"traffic.sidecar.istio.io/excludeInboundPorts":          {portList("excludeInboundPorts"), "Write port numbers separated by commas."},
	"traffic.sidecar.istio.io/excludeOutboundPorts":         {portList("excludeOutboundPorts"), "Write port numbers separated by commas."},
	"traffic.sidecar.istio.io/excludeInterfaces":            {interfaceNames, interfaceAdvice},
	"traffic.sidecar.istio.io/kubevirtInterfaces":           {interfaceNames, interfaceAdvice},
	"istio.io/reroute-virtual-interfaces":                   {interfaceNames, interfaceAdvice},
	annotationMerge:                                         {boolean, "Write true or false."},
	annotationProxyConfig:                                   {nil, "Write a ProxyConfig as YAML."}, // its fields depend on the release; see check
	"sidecar.istio.io/proxyCPU":                             {quantity, quantityAdvice},
	"sidecar.istio.io/proxyMemory":                          {quantity, quantityAdvice},
	"sidecar.istio.io/proxyCPULimit":                        {quantity, quantityAdvice},
	"sidecar.istio.io/proxyMemoryLimit":                     {quantity, quantityAdvice},
}

const (
	interfaceAdvice = "Write interface names separated by commas: 1 to 15 characters, a letter first, then letters, digits, _ . or -."
	quantityAdvice  = "Write a quantity such as 100m or 128Mi."
)

// validate checks the annotations. A value that the running release of Istio does not check itself causes only a warning.
func (c *Config) validate(pod *corev1.Pod) (faults, warnings []api.InjectProblem) {
	for _, name := range slices.Sorted(maps.Keys(pod.Annotations)) {
		validator, known := validators[name]
		if !known {
			continue
		}
		value := pod.Annotations[name]
		err := c.check(name, value)
		if err == nil {
			continue
		}
		problem := problemOf(pod, api.InjectInvalidAnnotation, api.AnnotationField(name), value,
			fmt.Sprintf("invalid value '%s' for annotation '%s': %v.", api.Shorten(value, 120), name, err), validator.advice)
		if validator.advice == interfaceAdvice && !c.release.validatesInterfaces() {
			warnings = append(warnings, problem)
			continue
		}
		faults = append(faults, problem)
	}
	return faults, warnings
}

func (c *Config) check(name, value string) error {
	if name == annotationProxyConfig {
		return proxyConfig(value, c.release)
	}
	return validators[name].check(value)
}

func interceptionMode(text string) error {
	switch text {
	case "REDIRECT", "TPROXY", "NONE":
		return nil
	}
	return fmt.Errorf("interceptionMode invalid, use REDIRECT,TPROXY,NONE: %s", text)
}

func port(text string) error {
	if _, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16); err != nil {
		return fmt.Errorf("failed parsing port '%s': %w", text, err)
	}
	return nil
}

func wholeNumber(text string) error {
	_, err := strconv.ParseUint(text, 10, 32)
	return err
}

func boolean(text string) error {
	_, err := strconv.ParseBool(text)
	return err
}

func starOr(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "*" {
			return nil
		}
		return check(text)
	}
}

func cidrs(parameter string) func(string) error {
	return func(text string) error {
		if text == "" {
			return nil
		}
		for _, cidr := range strings.Split(text, ",") {
			if _, err := netip.ParsePrefix(cidr); err != nil {
				return fmt.Errorf("%s invalid: failed parsing cidr '%s': %w", parameter, cidr, err)
			}
		}
		return nil
	}
}

func portList(parameter string) func(string) error {
	return func(text string) error {
		if text = strings.TrimSpace(text); text == "" {
			return nil
		}
		for _, item := range strings.Split(text, ",") {
			if err := port(item); err != nil {
				return fmt.Errorf("%s invalid: %w", parameter, err)
			}
		}
		return nil
	}
}

func interfaceNames(text string) error {
	if text == "" {
		return nil
	}
	for _, name := range strings.Split(text, ",") {
		if err := interfaceName(strings.TrimSpace(name)); err != nil {
			return err
		}
	}
	return nil
}

func interfaceName(name string) error {
	switch {
	case name == "":
		return errors.New("empty interface name")
	case len(name) > 15:
		return fmt.Errorf("interface name %q too long (max 15 chars)", name)
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		other := r >= '0' && r <= '9' || strings.ContainsRune("_.-", r)
		if !letter && (i == 0 || !other) {
			return fmt.Errorf("interface name %q contains invalid characters", name)
		}
	}
	return nil
}

func proxyConfig(text string, running release) error {
	level, tree, err := decode(text, &meshconfig.ProxyConfig{}, running)
	if err != nil {
		return fmt.Errorf("failed to convert to apply proxy config: %w", err)
	}
	config := defaultProxyConfig()
	mergeProxyConfig(config, level, tree)
	if faults := proxyConfigFaults(config); len(faults) > 0 {
		return errors.New(strings.Join(faults, "; "))
	}
	return nil
}

func quantity(text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("value contains control characters")
	}
	parsed, err := resource.ParseQuantity(text)
	if err == nil && parsed.Sign() < 0 {
		err = errors.New("a resource must not be negative")
	}
	return err
}
