// SPDX-License-Identifier: Apache-2.0

package api

// RouteReason is the closed set of words that say what routing did not do, or did otherwise, and why.
type RouteReason string

// The reasons of routing.
const (
	RouteInvalidAnnotation    RouteReason = "InvalidAnnotation"         // an annotation or label does not parse
	RouteUnknownAnnotation    RouteReason = "UnknownAnnotation"         // a key of our domain that nobody reads
	RouteWithoutEffect        RouteReason = "WithoutEffect"             // something that was written does nothing as things are
	RouteObservedOnly         RouteReason = "ObservedOnly"              // a dry run: what would be written
	RoutePreexistingSplit     RouteReason = "PreexistingSplit"          // several versions served before anything was recorded
	RouteUnversionedPods      RouteReason = "UnversionedPods"           // pods without a version would lose their traffic
	RoutePendingVersions      RouteReason = "PendingVersions"           // a named version is not there or not ready
	RouteDefaultVersionGone   RouteReason = "DefaultVersionGone"        // a version that has traffic has no ready pod
	RouteDefaultMoved         RouteReason = "DefaultMoved"              // the deleted default was replaced for good
	RouteVersionSucceeded     RouteReason = "VersionSucceeded"          // a named workload runs another version by now
	RouteRolloutBesideOthers  RouteReason = "RolloutBesideOthers"       // a rollout in place that needs us
	RouteSubsetNameCollision  RouteReason = "SubsetNameCollision"       // two versions want the same subset name
	RouteVersionLabelMissing  RouteReason = "VersionLabelMissing"       // no pod has the version label
	RouteVersionLabelHeld     RouteReason = "VersionLabelHeld"          // a version label that is written is not followed
	RouteTooManyVersions      RouteReason = "TooManyVersions"           // more versions than the setting allows
	RouteRouteConflict        RouteReason = "RouteConflict"             // a foreign VirtualService of this namespace has the host
	RouteRouteHijackable      RouteReason = "RouteHijackable"           // a foreign VirtualService elsewhere has the host; ours wins
	RouteRouteShadowed        RouteReason = "RouteShadowed"             // a foreign VirtualService elsewhere has the host; theirs wins
	RouteGatewayBypasses      RouteReason = "GatewayBypassesSubsets"    // a foreign gateway route names no subset
	RouteDelegateBypasses     RouteReason = "DelegateBypassesSubsets"   // a delegate of a VirtualService names no subset
	RouteMeshBypasses         RouteReason = "MeshBypassesSubsets"       //nolint:gosec // no password: a foreign mesh route for another host names no subset
	RouteGatewayAPIBypasses   RouteReason = "GatewayAPIBypassesSubsets" // a route of Gateway API leads to the Service
	RouteIngressBypasses      RouteReason = "IngressBypassesSubsets"    // an Ingress that Istio serves leads to the Service
	RoutePolicyShared         RouteReason = "PolicyShared"              // a foreign DestinationRule of this namespace is merged with ours
	RouteSubsetConflict       RouteReason = "SubsetConflict"            // a foreign DestinationRule uses our names otherwise
	RouteShadowedInNamespaces RouteReason = "ShadowedInNamespaces"      // a foreign DestinationRule hides ours from its namespace
	RouteSubsetsInUse         RouteReason = "SubsetsInUse"              // a foreign route names subsets that would go
	RouteNameTaken            RouteReason = "NameTaken"                 // a foreign object has the names that ours would have
	RouteManagedElsewhere     RouteReason = "ManagedElsewhere"          // a Rollout, Canary or HTTPRoute takes the Service
	RouteAmbientUnsupported   RouteReason = "AmbientUnsupported"        // the namespace is in ambient mode
	RouteServiceSkipped       RouteReason = "ServiceSkipped"            // a kind of Service that routes cannot serve
	RoutePortNotRouted        RouteReason = "PortNotRouted"             // a TLS port, which gets subsets and no route
	RouteStillExposed         RouteReason = "StillExposed"              // an annotation about exposure is invalid or refused; what is exposed stays
	RouteExposeNotPermitted   RouteReason = "ExposeNotPermitted"        // the installation does not let this Service be exposed
	RouteHostNotAllowed       RouteReason = "HostNotAllowed"            // a host outside the Namespace's list
	RouteHostReserved         RouteReason = "HostReserved"              // a host of the cluster, or of another Service or ServiceEntry
	RouteGatewayNotAllowed    RouteReason = "GatewayNotAllowed"         // a gateway or port that the installation does not allow
	RouteGatewayPortConflict  RouteReason = "GatewayPortConflict"       // a port on which another Gateway speaks TLS or TCP
	RouteHostConflict         RouteReason = "HostConflict"              // a host that somebody else already serves
	RouteGatewayNotFound      RouteReason = "GatewayNotFound"           // the named Gateway is not there
	RouteGatewayHostMissing   RouteReason = "GatewayHostMissing"        // the named Gateway does not serve the host
	RouteGatewayPortUnexposed RouteReason = "GatewayPortNotExposed"     // no Service opens the gateway's port
	RouteGatewayNotExported   RouteReason = "GatewayNotExported"        // the Service's routes are hidden from the gateway's namespace
	RouteGatewayUnmatched     RouteReason = "GatewaySelectorUnmatched"  // no ingress gateway has the labels
	RouteWeightsAdopted       RouteReason = "WeightsAdopted"            // shares set on our VirtualService hold
	RouteObjectReplaced       RouteReason = "ObjectReplaced"            // our object was replaced by one of the user's
	RouteEditReverted         RouteReason = "EditReverted"              // an edit of our VirtualService or Gateway is written back
	RouteContested            RouteReason = "Contested"                 // another client keeps changing our object back
	RouteDrifted              RouteReason = "Drifted"                   // our VirtualService or Gateway was changed and is left alone
	RouteRecordEdited         RouteReason = "RecordEdited"              // annotations of ours on our objects were edited
	RouteTelemetryDiffers     RouteReason = "TelemetryRevisionDiffers"  // telemetry shows another version than routes mean
	RouteEndpointsElsewhere   RouteReason = "EndpointsElsewhere"        // in a mesh of several clusters no default route is written
	RoutePolicyInherited      RouteReason = "PolicyInherited"           // a wildcard DestinationRule's policy is copied into ours
	RouteWriteRefused         RouteReason = "WriteRefused"              // the API server rejects an object of ours
	RouteObjectTooLarge       RouteReason = "ObjectTooLarge"            // an object would exceed the limit and is not written
	RouteDelegateUnusable     RouteReason = "DelegateUnusable"          // a VirtualService <service>-extra cannot be a delegate
	RouteRestored             RouteReason = "RestoredFromBackup"        // restored objects were deleted and are recreated from their record
)

// RouteReasonDoc is one reason of routing with the sentence that explains it.
type RouteReasonDoc struct {
	Reason RouteReason
	Doc    string
}

// RouteReasons returns every reason of routing, in the order of the constants.
func RouteReasons() []RouteReasonDoc {
	return []RouteReasonDoc{
		{RouteInvalidAnnotation, "A label or annotation is invalid. It is ignored, and the current route is unchanged."},
		{RouteUnknownAnnotation, "Outrigger does not read this key under outrigger.dev/, which may be misspelled."},
		{RouteWithoutEffect, "A valid setting currently has no effect, for example a match whose requests an earlier one takes."},
		{RouteObservedOnly, "outrigger.dev/routing=observe: nothing is written. The message says what would be."},
		{RoutePreexistingSplit, "Several versions already received traffic before Outrigger; they keep it until you decide."},
		{RouteUnversionedPods, "Ready pods without a version label would lose their traffic to the default route, so no route is written."},
		{RoutePendingVersions, "A version that you named does not exist or is not ready; the current route is unchanged until it is."},
		{RouteDefaultVersionGone, "A version with traffic has no ready pod. Its route stays, unless its workload was deleted."},
		{RouteDefaultMoved, "The default's workload was deleted and did not come back; the version that took over is now the default."},
		{RouteVersionSucceeded, "The workload of a version that you named was rolled out to another version; the name now means that workload."},
		{RouteRolloutBesideOthers, "A workload with traffic changes its version in place beside others. Its share follows the ready pods while Outrigger runs."},
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
		{RouteGatewayPortConflict, "Another Gateway has another protocol on the same port of the same gateway pods: TLS or TCP beside HTTP of the exposure, or HTTP or TCP beside its HTTPS."},
		{RouteHostConflict, "Another object already serves the host; the first claim wins."},
		{RouteGatewayNotFound, "The Gateway that the annotation names does not exist."},
		{RouteGatewayHostMissing, "The Gateway that the annotation names does not serve the host."},
		{RouteGatewayPortUnexposed, "No Service of the ingress gateway has the port."},
		{RouteGatewayNotExported, "The Service is exposed, but exportTo hides its routes from the namespace of the ingress gateway."},
		{RouteGatewayUnmatched, "No ingress gateway with these labels was found."},
		{RouteWeightsAdopted, "Shares were set on Outrigger's VirtualService, for example with Kiali, and the Service has no weights. They apply until you set default-version or weights."},
		{RouteObjectReplaced, "You replaced one of Outrigger's objects, for example with kubectl apply of a file of the same name. It is yours, and Outrigger keeps its own object beside it."},
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
	}
}
