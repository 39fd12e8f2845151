// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"

	"outrigger.dev/outrigger/api"
)

func (s *facts) serviceRef() api.ObjectRef {
	return api.ObjectRef{Kind: "Service", Namespace: s.Service.Namespace, Name: s.Service.Name}
}

// report adds a Problem about the Service.
func (s *planner) report(reason api.RouteReason, message, advice string) {
	s.problems = append(s.problems, api.RouteProblem{Object: s.serviceRef(), Reason: reason, Message: message, Advice: advice})
}

// reportAbout adds a Problem about an annotation of the Service or, if the Service has none of its own, of its Namespace.
func (s *planner) reportAbout(key, value string, reason api.RouteReason, message, advice string) {
	object := api.ObjectWith(key, s.Service, s.Namespace)
	if object.Kind == "Namespace" {
		message += AffectedService(s.Service.Name)
	}
	s.problems = append(s.problems, api.RouteProblem{
		Object: object, Field: api.AnnotationField(key), Value: value, Reason: reason, Message: message, Advice: advice,
	})
}

// AffectedService is the end of a message about a Namespace: the Service to which it applies.
func AffectedService(name string) string { return " Affected Service: " + name + "." }

// annotate returns the command that writes annotations of the Service.
func (s *facts) annotate(pairs ...string) string {
	return fmt.Sprintf("kubectl annotate service -n %s %s %s --overwrite", s.Service.Namespace, s.Service.Name, strings.Join(pairs, " "))
}

// deciding names the two commands that decide which versions have traffic.
func (s *facts) deciding(versions []string) string {
	if len(versions) == 0 {
		return ""
	}
	shares := make([]string, len(versions))
	for i, version := range versions {
		shares[i] = fmt.Sprintf("%s=%d", version, 100/len(versions))
	}
	advice := "Decide with " + s.annotate(api.AnnotationDefaultVersion+"="+versions[0])
	if len(versions) > 1 {
		advice += " or " + s.annotate(api.AnnotationWeights+"="+strings.Join(shares, ","))
	}
	return advice + "."
}
