// SPDX-License-Identifier: Apache-2.0

package api

// KeyDoc documents one label or annotation that a user may write for routing.
type KeyDoc struct {
	Key     string
	Label   bool     // a label; otherwise an annotation
	On      []string // kinds: "Namespace", "Service"; the Service's value wins
	Default string   // as a user would write it; empty if there is none
	Values  string   // the valid values
	Doc     string   // one or two sentences
}

// RoutingKeys returns every label and annotation of routing that a user may write, in the order of the reference.
func RoutingKeys() []KeyDoc {
	both, service, namespace := []string{"Namespace", "Service"}, []string{"Service"}, []string{"Namespace"}
	return []KeyDoc{
		{LabelRouting, true, both, "", "enabled, subsets-only, observe, disabled", "Whether routes are managed (enabled), only the DestinationRule with its subsets (subsets-only), nothing but a dry run (observe), or nothing (disabled). Without it, the Namespace's injection label starts routing but does not end it."},
		{AnnotationVersionLabel, false, both, "version", "the key of a label that you set, such as app.kubernetes.io/version", "The pod label whose values are the versions. With an existing route, a change takes effect when it moves no traffic. Labels that Kubernetes generates, such as pod-template-hash, are invalid."},
		{AnnotationDefaultVersion, false, both, string(DefaultFirst), "@first, @lowest, @highest, @all, or a version such as v1", "The version that receives all traffic that is not routed otherwise; @all prefers none."},
		{AnnotationWeights, false, service, "", "v1=90,v2=10", "How versions share requests: whole numbers that are not all 0."},
		{AnnotationMatch, false, service, "", "v2=header:end-user:jason;v2=header-prefix:x-canary:yes;v2=cookie:beta:1;v3=query:v:3;v2=source:v2", "Routes matching requests to a version; the first match wins. header is an exact value, header-prefix its beginning, cookie and query a value, and source the version of the calling pod. In a name or value, write ; as %3B and % as %25."},
		{AnnotationMirror, false, service, "", "v2=10", "Mirrors this percentage of unmatched HTTP requests; responses are discarded."},
		{AnnotationSticky, false, service, "", "cookie:NAME:TTL, for example cookie:version:1h", "Keeps a caller on the version it was given, with a cookie of this name and lifetime. HTTP only."},
		{AnnotationExpose, false, service, "false", "true, false", "Whether the Service is exposed at an ingress gateway."},
		{AnnotationHosts, false, service, "*", "host names, separated by commas", "The hosts that the Service is exposed for."},
		{AnnotationAllowedHosts, false, namespace, "", "host names, separated by commas, with *. wildcards", "The hosts that Services in the Namespace may be exposed for. If set, all others are refused."},
		{AnnotationGateway, false, both, "", "namespace/name", "An existing Gateway to use. Without it, Outrigger creates one."},
		{AnnotationGatewaySelector, false, both, "istio=ingressgateway", "key=value,key=value", "The labels of the ingress gateway's pods."},
		{AnnotationGatewayPort, false, both, "80", "a number from 1 to 65535 that Istio's proxy does not use itself", "The port of the ingress gateway. With tls-credential, the default is 443."},
		{AnnotationTLSCredential, false, service, "", "the name of a Secret, for example web-tls", "Serves HTTPS with the certificate in this Secret, which must be in the namespace of the ingress gateway's pods. It cannot be combined with gateway."},
		{AnnotationHTTPSRedirect, false, service, "false", "true, false", "Redirects HTTP requests on port 80 to HTTPS, with status 301. Requires tls-credential."},
		{AnnotationPath, false, service, "/", "a path that begins with /", "The path prefix that the gateway serves for the Service."},
		{AnnotationPathRewrite, false, service, "", "a path that begins with /", "Replaces that prefix before the Service sees the path. Callers in the mesh are not affected."},
		{AnnotationServicePort, false, service, "", "the name or number of a port of the Service", "The Service port that the gateway routes to. By default its first HTTP port."},
		{AnnotationUnversioned, false, both, "all", "all, ignore", "With ignore, a default route is written although pods without a version lose their traffic."},
		{AnnotationDrift, false, both, string(DriftAdopt), "adopt, revert, detach", "What happens to Outrigger's VirtualService when you edit it. adopt: edited weights apply if the Service has none; after any other edit it is yours. revert: edits are reverted. detach: it is yours."},
		{AnnotationEager, false, both, "true", "true, false", "With false, subsets and a route are written only when a second workload appears or you choose a version."},
		{AnnotationInheritPolicy, false, both, "true", "true, false", "Whether Outrigger's DestinationRule copies the policy of a wildcard DestinationRule that it would shadow."},
		{AnnotationSubsetRetention, false, both, "1m", "a duration from 10s on, such as 5m", "How long a subset stays after its last pod is gone and no route names it. By default the setting routing.subsetRetention."},
		{AnnotationUnreadyAfter, false, both, "30s", "a duration from 1s on, such as 2m", "How long a default version may have no ready pod before it is reported and default-gone applies. By default the setting routing.defaultGoneAfter."},
		{AnnotationUnreadyPolicy, false, both, "hold", "hold, next, all", "What happens when the default version has no ready pod. hold: the route stays. next: the next version, in the order of default-version, becomes the default. all: requests go to all ready pods. The former default does not return by itself."},
		{AnnotationDefaultDeleted, false, both, "move", "move, hold", "What happens when the workload of the default version is deleted with its pods. move: the one remaining version receives the traffic. hold: the route stays, and requests fail until the workload is back or you choose another version."},
		{AnnotationScaledToZero, false, both, "move", "move, hold", "What happens to the share of a version with a weight whose workload is scaled to 0. move: the default receives it until the version is ready again. hold: the share stays, as scale-from-zero autoscalers need it."},
		{AnnotationCanary, false, both, "", "a version such as v2, or auto", "Moves traffic to this version step by step, and back to the default version if a check fails. auto does so for each new workload with a new version. On a Namespace, auto requires the setting routing.canary.autoOnNamespaces."},
		{AnnotationCanarySteps, false, both, "5,20,50,100", "rising percentages that end with 100, each with an optional duration: 5@2m,25@10m,100@10m", "The canary's share of the requests in each step. The last step is monitored, too; then the version is the default."},
		{AnnotationCanaryInterval, false, both, "5m", "a duration from 10s to 720h, such as 5m", "The duration of a step of a canary that has none of its own."},
		{AnnotationCanaryChecks, false, both, "error-rate<1%", "readiness, or comparisons such as error-rate<1%, p99<500ms, or p99<1.5x, separated by commas", "The checks that must pass in each step of a canary; x is a factor of the default version's value. The readiness of the pods is always checked. With readiness, no metric is: for a Service without HTTP metrics, such as TCP. That is the default if no metrics are configured."},
		{AnnotationCanaryMinRequests, false, both, "20", "a whole number from 0 to 1000000000", "A step of a canary with fewer requests to the canary is extended. Applies only if a metric is checked."},
		{AnnotationCanaryDeadline, false, both, "1h", "a duration from 10s to 720h, such as 1h", "A canary that cannot pass a step within this time beyond the step's own duration is aborted. A pause stops the clock."},
		{AnnotationCanaryPaused, false, both, "false", "true, false", "With true, the canary stays at its step. A failing check still aborts it."},
		{AnnotationDecidedAt, false, service, "", "a time such as 2026-01-02T03:04:05Z", "When outrigger shift or promote last ran; they write it. From then on, a name means the workload that has the version at that time."},
	}
}
