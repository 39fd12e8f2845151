// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// RouteReason is why routing did not do what a user may expect. The set is closed.
type RouteReason string

// The reasons of routing.
const (
	RouteInvalidAnnotation    RouteReason = "InvalidAnnotation"
	RouteUnknownAnnotation    RouteReason = "UnknownAnnotation"
	RouteWithoutEffect        RouteReason = "WithoutEffect"
	RouteObservedOnly         RouteReason = "ObservedOnly"
	RoutePreexistingSplit     RouteReason = "PreexistingSplit"
	RouteUnversionedPods      RouteReason = "UnversionedPods"
	RoutePendingVersions      RouteReason = "PendingVersions"
	RouteDefaultVersionGone   RouteReason = "DefaultVersionGone"
	RouteDefaultMoved         RouteReason = "DefaultMoved"
	RouteVersionSucceeded     RouteReason = "VersionSucceeded"
	RouteRolloutBesideOthers  RouteReason = "RolloutBesideOthers"
	RouteSubsetNameCollision  RouteReason = "SubsetNameCollision"
	RouteVersionLabelMissing  RouteReason = "VersionLabelMissing"
	RouteVersionLabelHeld     RouteReason = "VersionLabelHeld"
	RouteTooManyVersions      RouteReason = "TooManyVersions"
	RouteRouteConflict        RouteReason = "RouteConflict"
	RouteRouteHijackable      RouteReason = "RouteHijackable"
	RouteRouteShadowed        RouteReason = "RouteShadowed"
	RouteGatewayBypasses      RouteReason = "GatewayBypassesSubsets"
	RouteDelegateBypasses     RouteReason = "DelegateBypassesSubsets"
	RouteMeshBypasses         RouteReason = "MeshBypassesSubsets" //nolint:gosec // not a password
	RouteGatewayAPIBypasses   RouteReason = "GatewayAPIBypassesSubsets"
	RouteIngressBypasses      RouteReason = "IngressBypassesSubsets"
	RoutePolicyShared         RouteReason = "PolicyShared"
	RouteSubsetConflict       RouteReason = "SubsetConflict"
	RouteShadowedInNamespaces RouteReason = "ShadowedInNamespaces"
	RouteSubsetsInUse         RouteReason = "SubsetsInUse"
	RouteNameTaken            RouteReason = "NameTaken"
	RouteManagedElsewhere     RouteReason = "ManagedElsewhere"
	RouteAmbientUnsupported   RouteReason = "AmbientUnsupported"
	RouteServiceSkipped       RouteReason = "ServiceSkipped"
	RoutePortNotRouted        RouteReason = "PortNotRouted"
	RouteStillExposed         RouteReason = "StillExposed"
	RouteExposeNotPermitted   RouteReason = "ExposeNotPermitted"
	RouteHostNotAllowed       RouteReason = "HostNotAllowed"
	RouteHostReserved         RouteReason = "HostReserved"
	RouteGatewayNotAllowed    RouteReason = "GatewayNotAllowed"
	RouteGatewayPortConflict  RouteReason = "GatewayPortConflict"
	RouteHostConflict         RouteReason = "HostConflict"
	RouteGatewayNotFound      RouteReason = "GatewayNotFound"
	RouteGatewayHostMissing   RouteReason = "GatewayHostMissing"
	RouteGatewayPortUnexposed RouteReason = "GatewayPortNotExposed"
	RouteGatewayNotExported   RouteReason = "GatewayNotExported"
	RouteGatewayUnmatched     RouteReason = "GatewaySelectorUnmatched"
	RouteWeightsAdopted       RouteReason = "WeightsAdopted"
	RouteObjectReplaced       RouteReason = "ObjectReplaced"
	RouteEditReverted         RouteReason = "EditReverted"
	RouteContested            RouteReason = "Contested"
	RouteDrifted              RouteReason = "Drifted"
	RouteRecordEdited         RouteReason = "RecordEdited"
	RouteTelemetryDiffers     RouteReason = "TelemetryRevisionDiffers"
	RouteEndpointsElsewhere   RouteReason = "EndpointsElsewhere"
	RoutePolicyInherited      RouteReason = "PolicyInherited"
	RouteWriteRefused         RouteReason = "WriteRefused"
	RouteObjectTooLarge       RouteReason = "ObjectTooLarge"
	RouteDelegateUnusable     RouteReason = "DelegateUnusable"
	RouteRestored             RouteReason = "RestoredFromBackup"
	RouteCanaryAborted        RouteReason = "CanaryAborted"
	RouteCanaryHeld           RouteReason = "CanaryHeld"
	RouteCanaryNoData         RouteReason = "CanaryNoData"
	RouteCanaryFewRequests    RouteReason = "CanaryFewRequests"
	RouteCanaryUndersized     RouteReason = "CanaryUndersized"
	RouteCanarySkipped        RouteReason = "CanarySkipped"
	RouteFrozen               RouteReason = "Frozen"
)

// RouteReasonDoc documents a reason of routing.
type RouteReasonDoc struct {
	Reason RouteReason
	Doc    string // what is wrong and what happens now, in one or two sentences
}

// RouteReasons returns every reason of routing, in the order of the constants.
func RouteReasons() []RouteReasonDoc { return slices.Clone(routeReasons) }

var routeReasons = []RouteReasonDoc{
	{RouteInvalidAnnotation, "A label or annotation is invalid. It is ignored, and the current route is unchanged."},
	{RouteUnknownAnnotation, "Outrigger does not read this key under outrigger.dev/, which may be misspelled."},
	{RouteWithoutEffect, "A valid setting currently has no effect, for example a match whose requests an earlier one takes."},
	{RouteObservedOnly, "outrigger.dev/routing=observe: nothing is written. The message says what would be."},
	{RoutePreexistingSplit, "Several versions already received traffic before Outrigger; they keep it until you decide."},
	{RouteUnversionedPods, "Ready pods without a version label would lose their traffic to the default route, so no route is written."},
	{RoutePendingVersions, "A version that you named does not exist or is not ready; the current route is unchanged until it is."},
	{RouteDefaultVersionGone, "A version with traffic has no ready pod. Its route stays, unless its workload was deleted."},
	{RouteDefaultMoved, "The default's workload was deleted and not recreated; the version that took over is now the default."},
	{RouteVersionSucceeded, "The workload of a version that you named was rolled out to another version; the name now means that workload."},
	{RouteRolloutBesideOthers, "A workload with traffic changes its version in place while others have traffic, too. Its share follows the ready pods while Outrigger runs."},
	{RouteSubsetNameCollision, "Two versions would get the same subset name; the later one gets a longer name."},
	{RouteVersionLabelMissing, "No pod of the Service has the version label, so there is no version to route to, and no route is created. The message names the label to use, if the pods have a common one."},
	{RouteVersionLabelHeld, "The annotation outrigger.dev/version-label was changed to a label that would move traffic, or that no pod has. The label that the route was made with still applies."},
	{RouteTooManyVersions, "There are more versions than routing.maxVersions. Those over the limit have no subset, and a decision for one of them is pending."},
	{RouteRouteConflict, "A VirtualService in the Service's namespace routes the same host, so Outrigger's is removed."},
	{RouteRouteHijackable, "A VirtualService in another namespace routes the same host. Outrigger's wins because it is older."},
	{RouteRouteShadowed, "A VirtualService in another namespace routes the same host, and wins over Outrigger's for some or all callers."},
	{RouteGatewayBypasses, "A VirtualService bound to a gateway routes to the Service without naming a version, so all versions get traffic through it."},
	{RouteDelegateBypasses, "A delegate of a VirtualService routes to the Service without naming a subset, so all versions get the delegate's requests."},
	{RouteMeshBypasses, "A VirtualService routes another host in the mesh to the Service without naming a subset, so all versions get these requests."},
	{RouteGatewayAPIBypasses, "An HTTPRoute, GRPCRoute, TCPRoute, or TLSRoute routes to the Service. It cannot route by version, so all versions get its requests."},
	{RouteIngressBypasses, "An Ingress that Istio serves routes to the Service. It cannot route by version, so all versions get its requests."},
	{RoutePolicyShared, "A DestinationRule in the Service's namespace is for the same host; Istio merges it with Outrigger's."},
	{RouteSubsetConflict, "A DestinationRule in the Service's namespace uses a version's name for other labels. Nothing new is written; existing objects stay."},
	{RouteShadowedInNamespaces, "A DestinationRule in a namespace of callers is for the same host. Callers there do not see the versions, and a route that names one fails for them."},
	{RouteSubsetsInUse, "A VirtualService that Outrigger does not write names subsets that would be removed; they stay as long as it does."},
	{RouteNameTaken, "An object that Outrigger did not create has the name of one that it would create."},
	{RouteManagedElsewhere, "A Rollout, Canary, or HTTPRoute routes the Service, so Outrigger skips it."},
	{RouteAmbientUnsupported, "The namespace is in ambient mode, where these routes do not apply. Nothing is written; existing objects stay."},
	{RouteServiceSkipped, "Outrigger cannot route this kind of Service, for example a headless one."},
	{RoutePortNotRouted, "The port carries TLS or HTTPS, which cannot be routed by version: all versions get traffic."},
	{RouteStillExposed, "An exposure annotation is invalid or refused. The existing exposure is unchanged, and nothing new is exposed."},
	{RouteExposeNotPermitted, "The installation does not allow this Service to be exposed (routing.expose)."},
	{RouteHostNotAllowed, "The Namespace or the installation does not allow the host."},
	{RouteHostReserved, "The host is a name in the cluster, a wildcard for a top-level domain, or a host of another Service or a ServiceEntry. Nothing new is exposed for it."},
	{RouteGatewayNotAllowed, "The installation does not allow the gateway or port (routing.gatewaySelectors, routing.gateways, routing.gatewayPorts)."},
	{RouteGatewayPortConflict, "Another Gateway has another protocol on the same port of the same gateway pods: TLS or TCP where the exposure has HTTP, or HTTP or TCP where it has HTTPS."},
	{RouteHostConflict, "Another object already serves the host; the first claim wins."},
	{RouteGatewayNotFound, "The Gateway that the annotation names does not exist."},
	{RouteGatewayHostMissing, "The Gateway that the annotation names does not serve the host."},
	{RouteGatewayPortUnexposed, "No Service of the ingress gateway has the port."},
	{RouteGatewayNotExported, "The Service is exposed, but exportTo hides its routes from the namespace of the ingress gateway."},
	{RouteGatewayUnmatched, "No ingress gateway with these labels was found."},
	{RouteWeightsAdopted, "Shares were set on Outrigger's VirtualService, for example with Kiali, and the Service has no weights. They apply until you set default-version or weights."},
	{RouteObjectReplaced, "You replaced one of Outrigger's objects, for example with kubectl apply of a file of the same name. It is yours, and Outrigger keeps a separate object."},
	{RouteEditReverted, "Another client changed Outrigger's VirtualService, Gateway, or subsets, and Outrigger reverted the change."},
	{RouteContested, "Another client, named by its field manager, keeps reverting Outrigger's object. It is written at growing intervals of up to 5 minutes, but a subset of the current route is restored within a second."},
	{RouteDrifted, "Outrigger's VirtualService was changed in more than its shares, or its Gateway with drift=detach. It is no longer written, and the subsets that it names stay."},
	{RouteRecordEdited, "Another client edited the annotations in which Outrigger keeps its record. They are restored from the copy on another object. Without a copy, the route is unchanged until you decide."},
	{RouteTelemetryDiffers, "Telemetry and Kiali show another version than the label that routes follow, because Istio prefers other labels. The message says which to set."},
	{RouteEndpointsElsewhere, "The mesh spans several clusters, so the Service may have endpoints that Outrigger does not see. No default route is written until you choose a version."},
	{RoutePolicyInherited, "Outrigger's DestinationRule would shadow the policy of a wildcard DestinationRule, so it contains a copy that is kept in sync."},
	{RouteWriteRefused, "The API server refused to write an object: a policy or a missing permission denied it, or it is invalid or too large. The existing object is unchanged, and the write is retried every five minutes."},
	{RouteObjectTooLarge, "An object would be larger than routing.maxObjectBytes. It is not written; the existing object is unchanged."},
	{RouteDelegateUnusable, "A VirtualService <service>-extra cannot be a delegate, because it has hosts, gateways, or rules that are not http. It is ignored."},
	{RouteRestored, "Kubernetes deleted generated objects that came from a backup, because the backup's Service owned them. They are recreated with the recorded default."},
	{RouteCanaryAborted, "A canary ended without success, and its requests go to the default version. It does not start again until you decide to retry it."},
	{RouteCanaryHeld, "A canary stays at its step, because the route was edited, an annotation is invalid, or the default version cannot receive its requests."},
	{RouteCanaryNoData, "A check of a canary has no data. The canary stays at its step, and is aborted at its deadline."},
	{RouteCanaryFewRequests, "A canary had too few requests to pass its step, so the step is extended, until its deadline."},
	{RouteCanaryUndersized, "A canary receives a larger part of the requests than it has of the ready pods."},
	{RouteCanarySkipped, "With outrigger.dev/canary=auto, a newer version replaced this one before its canary began."},
	{RouteFrozen, "routing.freeze is true, and the routes would change. They stay as they are, and canaries stay at their step."},
}
