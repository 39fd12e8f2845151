// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

const (
	// refusedAgain is how soon a refused write is tried again although nothing changed: the policy or permission behind the
	// refusal can change without the Service.
	refusedAgain = 5 * time.Minute
	// maxRefusalBytes is how much of the API server's message is kept.
	maxRefusalBytes = 400
)

// refused are the writes of one plan that the API server rejected. What depends on a rejected write is not tried.
type refused struct {
	problems        []api.RouteProblem
	destinationRule bool     // a DestinationRule: routes may need its subsets
	gateways        []string // as a VirtualService names them, namespace/name
}

// blocks reports whether a change must wait for a rejected one: a removal, because what remains may still need the object; a route if
// a DestinationRule was rejected; and a route that is bound to a rejected Gateway.
func (r refused) blocks(change routing.Change) bool {
	return len(r.problems) > 0 && (r.destinationRule || change.Action == routing.Delete || change.Removes || r.bound(change.Object))
}

// bound reports whether an object is a route that is bound to a rejected Gateway.
func (r refused) bound(object routing.Object) bool {
	route, is := object.(*networkingv1.VirtualService)
	return is && slices.ContainsFunc(route.Spec.Gateways, func(gateway string) bool {
		if !strings.Contains(gateway, "/") {
			gateway = route.Namespace + "/" + gateway
		}
		return slices.Contains(r.gateways, gateway)
	})
}

// add records a rejected write.
func (r *refused) add(kind string, change routing.Change, status metav1.Status) {
	object := api.ObjectRef{Kind: kind, Namespace: change.Object.GetNamespace(), Name: change.Object.GetName()}
	verb := map[routing.Action]string{routing.Create: "create", routing.Apply: "update", routing.Delete: "delete"}[change.Action]
	r.destinationRule = r.destinationRule || kind == "DestinationRule"
	if kind == "Gateway" {
		r.gateways = append(r.gateways, object.Namespace+"/"+object.Name)
	}
	r.problems = append(r.problems, api.RouteProblem{
		Object: object, Reason: api.RouteWriteRefused,
		Message: fmt.Sprintf("The API server refuses to %s it: %s. What exists is unchanged.", verb, strings.TrimSuffix(api.Shorten(status.Message, maxRefusalBytes), ".")),
		Advice:  adviceOn(status, object, verb),
	})
}

func adviceOn(status metav1.Status, object api.ObjectRef, verb string) string {
	resource := strings.ToLower(object.Kind) + "s.networking.istio.io"
	switch {
	case isTooLarge(status):
		return "Shorten the annotations of the Service, such as " + api.AnnotationMatch + "."
	case status.Reason == metav1.StatusReasonForbidden && strings.Contains(status.Message, " cannot "):
		return fmt.Sprintf("Grant Outrigger's ServiceAccount the permission to %s %s, as its chart does.", verb, resource)
	case status.Reason == metav1.StatusReasonForbidden || strings.Contains(status.Message, "admission webhook"):
		return fmt.Sprintf("Change the Service's annotations, or the policy that denies it. Outrigger retries every %v.", refusedAgain)
	}
	return fmt.Sprintf("Correct what the message names in the Service's annotations. Outrigger retries every %v.", refusedAgain)
}

// refusalOf returns the API server's answer to a write that it rejects for its content, so that repeating it is of no use: any 4xx
// except those that ask for a retry, and the 5xx for an object that is too large for etcd.
func refusalOf(err error) (metav1.Status, bool) {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return metav1.Status{}, false
	}
	status := answer.Status()
	switch status.Code {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return status, false
	}
	return status, status.Code >= 400 && status.Code < 500 || isTooLarge(status)
}

// isTooLarge reports whether an object exceeds what the API server accepts or etcd stores.
func isTooLarge(status metav1.Status) bool {
	return status.Code == http.StatusRequestEntityTooLarge || strings.Contains(status.Message, "request is too large") ||
		strings.Contains(status.Message, "larger than max")
}
