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
	RouteStillExposed         RouteReason = "StillExposed"              // an annotation about exposure is invalid; what is exposed stays
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
	RouteEditReverted         RouteReason = "EditReverted"              // an edit of our VirtualService or Gateway is written back
	RouteContested            RouteReason = "Contested"                 // another client keeps changing our object back
	RouteDrifted              RouteReason = "Drifted"                   // our VirtualService or Gateway was changed and is left alone
	RouteRecordEdited         RouteReason = "RecordEdited"              // annotations of ours on our objects were edited
	RouteTelemetryDiffers     RouteReason = "TelemetryRevisionDiffers"  // telemetry shows another version than routes mean
	RouteEndpointsElsewhere   RouteReason = "EndpointsElsewhere"        // in a mesh of several clusters nothing is routed without a word
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
		{RouteInvalidAnnotation, "An annotation or label does not parse; it is as if unwritten, and a route that stands keeps what the same key said last."},
		{RouteUnknownAnnotation, "A key under outrigger.dev/ that Outrigger does not read, perhaps misspelt."},
		{RouteWithoutEffect, "Something that you wrote can be read and does nothing as things are, for example a match whose requests an earlier one takes."},
		{RouteObservedOnly, "routing=observe: nothing is written, and this is what would be."},
		{RoutePreexistingSplit, "Several versions received traffic before Outrigger came; it stays so until you decide."},
		{RouteUnversionedPods, "Ready pods without a version label would lose their traffic to the default route, so none is written."},
		{RoutePendingVersions, "A version that you named is not there or not ready; the route is as if it were unnamed until it is."},
		{RouteDefaultVersionGone, "A version that has traffic has no ready pod; its route is kept, or a deleted default's place is taken for the time being."},
		{RouteDefaultMoved, "The default's workload was deleted and did not come back; the version that took over is the default now."},
		{RouteVersionSucceeded, "A version that you named was rolled out to another one in place; the name means that workload and goes with it."},
		{RouteRolloutBesideOthers, "A workload that has traffic changes its version in place beside others; its shares follow the ready pods while Outrigger runs."},
		{RouteSubsetNameCollision, "Two versions would get the same subset name; the later one gets a longer name."},
		{RouteTooManyVersions, "There are more versions than routing.maxVersions; those beyond have no subset, so a decision for one of them is pending."},
		{RouteRouteConflict, "A VirtualService in the Service's namespace is for the same host; ours gives way."},
		{RouteRouteHijackable, "A VirtualService in another namespace is for the same host; ours wins, as it is older."},
		{RouteRouteShadowed, "A VirtualService in another namespace is for the same host and wins over ours for some or all callers."},
		{RouteGatewayBypasses, "A VirtualService that is bound to a gateway leads to the Service and names no version: every version gets traffic through it."},
		{RouteDelegateBypasses, "A delegate of a VirtualService routes to the Service and names no subset: every version gets a share of the requests that the delegate takes."},
		{RouteMeshBypasses, "A VirtualService routes callers in the mesh to the Service under another host and names no subset: every version gets a share of these requests."},
		{RouteGatewayAPIBypasses, "An HTTPRoute, GRPCRoute, TCPRoute or TLSRoute routes to the Service, which such a route cannot do by version: every version gets a share of its requests."},
		{RouteIngressBypasses, "An Ingress that Istio serves routes to the Service, which an Ingress cannot do by version: every version gets a share of its requests."},
		{RoutePolicyShared, "A DestinationRule in the Service's namespace is for the same host; Istio merges it with ours."},
		{RouteSubsetConflict, "A DestinationRule in the Service's namespace uses the name of a version for other labels; nothing is written, and what stands stays."},
		{RouteShadowedInNamespaces, "A DestinationRule in another namespace is for the same host; callers there do not see the versions."},
		{RouteSubsetsInUse, "A VirtualService of somebody else names subsets that would be removed; they stay until it does not."},
		{RouteNameTaken, "An object that Outrigger did not make has the name that ours would have."},
		{RouteManagedElsewhere, "A Rollout, Canary or HTTPRoute takes the Service; Outrigger leaves it alone."},
		{RouteAmbientUnsupported, "The namespace is in ambient mode, where these routes do not hold; nothing is written, and what stands stays."},
		{RouteServiceSkipped, "Routes cannot serve this kind of Service, for example a headless one."},
		{RoutePortNotRouted, "The port carries TLS or HTTPS, which cannot be routed by version: every version gets its share."},
		{RouteStillExposed, "An annotation about exposure is invalid; the existing exposure stays as it was, and nothing new is exposed."},
		{RouteExposeNotPermitted, "The installation does not let this Service be exposed (routing.expose)."},
		{RouteHostNotAllowed, "The host is not in the list that the Namespace or the installation allows."},
		{RouteHostReserved, "The host is a name of the cluster, or belongs to another Service or a ServiceEntry; nothing new is exposed under it."},
		{RouteGatewayNotAllowed, "The installation does not allow the gateway or port (routing.gatewaySelectors, routing.gateways, routing.gatewayPorts)."},
		{RouteGatewayPortConflict, "Another Gateway serves TLS or TCP on the same port of the same gateway pods, and a listener has one protocol."},
		{RouteHostConflict, "Somebody else already serves the host; who was there first keeps it."},
		{RouteGatewayNotFound, "The Gateway that is named is not there."},
		{RouteGatewayHostMissing, "The Gateway that is named does not serve the host."},
		{RouteGatewayPortUnexposed, "No Service of the ingress gateway opens the port."},
		{RouteGatewayNotExported, "The Service is exposed, and exportTo hides its routes from the namespace of the ingress gateway."},
		{RouteGatewayUnmatched, "No ingress gateway with these labels was found."},
		{RouteWeightsAdopted, "Somebody set the shares on our VirtualService, with Kiali for instance, and no weights are declared; they hold until default-version or weights is written."},
		{RouteEditReverted, "Another client changed our VirtualService, Gateway or subsets; the annotations say otherwise, and the change was reverted."},
		{RouteContested, "Another client keeps changing our object back, and its field manager is named; the object is written ever more rarely, at most 5 minutes apart, but a subset that the current route names is restored within a second."},
		{RouteDrifted, "Somebody changed our VirtualService in more than its shares, or with drift=detach our Gateway; it is not written any more, and the subsets that it names stay."},
		{RouteRecordEdited, "Another client edited annotations in which Outrigger keeps its record; they are written back from the other copy. Without one, everything stays as it is until you decide."},
		{RouteTelemetryDiffers, "Telemetry and Kiali show another version than the label that routes follow, since Istio prefers other labels; the Event says which to set."},
		{RouteEndpointsElsewhere, "The mesh spans several clusters, so the Service may have endpoints that are not seen; no default route is written until you say which version is meant."},
		{RoutePolicyInherited, "A wildcard DestinationRule's policy would no longer hold beside ours; it is copied into ours and kept in step."},
		{RouteWriteRefused, "The API server refuses to write an object, by a policy or since it is invalid or too large; what exists stays, and it is tried again every five minutes."},
		{RouteObjectTooLarge, "An object would have more bytes than routing.maxObjectBytes; it is not written, and what exists stays."},
		{RouteDelegateUnusable, "A VirtualService <service>-extra would hold your rules before ours, but has hosts, gateways, or rules that are not http; it is left out."},
		{RouteRestored, "Generated objects from a backup were deleted by Kubernetes, because their owner was the Service of the backup; they are recreated with the default that they recorded."},
	}
}
