// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// Domain is the prefix of all of Outrigger's labels and annotations. It must not contain "istio.io": istiod pushes to every proxy when a
// key that contains it changes.
const Domain = "outrigger.dev"

// Labels and annotations that a user may write for routing.
const (
	LabelRouting              = Domain + "/routing"            // label on Namespace, Service
	AnnotationVersionLabel    = Domain + "/version-label"      // Namespace, Service
	AnnotationDefaultVersion  = Domain + "/default-version"    // Namespace, Service
	AnnotationWeights         = Domain + "/weights"            // Service
	AnnotationMatch           = Domain + "/match"              // Service
	AnnotationMirror          = Domain + "/mirror"             // Service
	AnnotationSticky          = Domain + "/sticky"             // Service
	AnnotationExpose          = Domain + "/expose"             // Service
	AnnotationHosts           = Domain + "/hosts"              // Service
	AnnotationAllowedHosts    = Domain + "/allowed-hosts"      // Namespace
	AnnotationGateway         = Domain + "/gateway"            // Namespace, Service
	AnnotationGatewaySelector = Domain + "/gateway-selector"   // Namespace, Service
	AnnotationGatewayPort     = Domain + "/gateway-port"       // Namespace, Service
	AnnotationTLSCredential   = Domain + "/tls-credential"     // Service
	AnnotationHTTPSRedirect   = Domain + "/https-redirect"     // Service
	AnnotationPath            = Domain + "/path"               // Service
	AnnotationPathRewrite     = Domain + "/path-rewrite"       // Service
	AnnotationServicePort     = Domain + "/service-port"       // Service
	AnnotationUnversioned     = Domain + "/unversioned"        // Namespace, Service
	AnnotationSubsetRetention = Domain + "/subset-retention"   // Namespace, Service
	AnnotationUnreadyAfter    = Domain + "/default-gone-after" // Namespace, Service
	AnnotationUnreadyPolicy   = Domain + "/default-gone"       // Namespace, Service
	AnnotationDefaultDeleted  = Domain + "/default-deleted"    // Namespace, Service
	AnnotationScaledToZero    = Domain + "/scaled-to-zero"     // Namespace, Service
	AnnotationDecidedAt       = Domain + "/decided-at"         // Service
	AnnotationDrift           = Domain + "/drift"              // Namespace, Service
	AnnotationEager           = Domain + "/eager"              // Namespace, Service
	AnnotationInheritPolicy   = Domain + "/inherit-policy"     // Namespace, Service

	AnnotationCanary            = Domain + "/canary"              // Namespace, Service
	AnnotationCanarySteps       = Domain + "/canary-steps"        // Namespace, Service
	AnnotationCanaryInterval    = Domain + "/canary-interval"     // Namespace, Service
	AnnotationCanaryChecks      = Domain + "/canary-checks"       // Namespace, Service
	AnnotationCanaryMinRequests = Domain + "/canary-min-requests" // Namespace, Service
	AnnotationCanaryDeadline    = Domain + "/canary-deadline"     // Namespace, Service
	AnnotationCanaryPaused      = Domain + "/canary-paused"       // Namespace, Service
)

// Labels and annotations that Outrigger writes on generated objects.
const (
	LabelManagedBy        = "app.kubernetes.io/managed-by" // value ManagedBy
	LabelService          = Domain + "/service"            // the Service's name
	LabelKialiWizard      = "kiali_wizard"
	ManagedBy             = "outrigger"
	FieldManager          = Domain
	AnnotationRecord      = Domain + "/record"                // both: what was decided, JSON
	AnnotationDefault     = Domain + "/default-version"       // both: the default, for people; never read
	AnnotationSubsetAdded = Domain + "/subset-added-at"       // DestinationRule: since when each subset exists
	AnnotationUnusedSince = Domain + "/subset-unused-since"   // DestinationRule: since when a subset has neither pods nor a route; VirtualService: since when it no longer routes to one that a workload replaces
	AnnotationLastRan     = Domain + "/last-ran"              // DestinationRule: the version that each rolling default ran last
	AnnotationWaiting     = Domain + "/waiting-workloads"     // DestinationRule: workloads that are known and not the default's
	AnnotationWithdrawn   = Domain + "/withdrawn-at"          // DestinationRule: since when no route of Outrigger names it
	AnnotationDefaultGone = Domain + "/default-gone-at"       // VirtualService: since when another version replaces a deleted default
	AnnotationUnready     = Domain + "/default-unready-since" // DestinationRule: since when the default has no ready pod, if a policy replaces it
	AnnotationWords       = Domain + "/words"                 // VirtualService: the last valid annotations, JSON
	AnnotationAway        = Domain + "/away"                  // VirtualService: versions with a weight and no pods, whose share the default has
	AnnotationExposedAt   = Domain + "/exposed-at"            // VirtualService: since when it is bound to its gateway as it is
	AnnotationClaimedAt   = Domain + "/claimed-at"            // VirtualService: since when each exposed host belongs to the Service
	AnnotationKeptHosts   = Domain + "/kept-hosts"            // VirtualService: wildcards that an earlier release exposed and that are no longer allowed
	AnnotationExportedAt  = Domain + "/exported-at"           // both: since when exportTo is as it is; absent as long as it never changed
	AnnotationInherited   = Domain + "/inherited-policy"      // DestinationRule: where its policy was copied from
	AnnotationWritten     = Domain + "/written"               // all: a digest of what Outrigger wrote, to detect edits by other clients
	AnnotationAdopted     = Domain + "/adopted-weights"       // VirtualService: shares that another client set on it and that apply
	AnnotationSubsets     = Domain + "/subset-versions"       // both: the version of each subset; on a VirtualService, of each subset that it names
	AnnotationSeal        = Domain + "/seal"                  // all: a digest of the annotations above, to detect edits
)

// AnnotationExportTo is Istio's annotation of a Service with the namespaces to which it is visible. Generated objects have the
// same visibility.
const AnnotationExportTo = "networking.istio.io/exportTo"

// RoutingMode is the value of LabelRouting.
type RoutingMode string

// The routing modes. With RoutingUnset, the label for injection can enable routing, and does not disable it. With
// RoutingSubsetsOnly, there is a DestinationRule and no route. With RoutingObserve, nothing is written, and the changes are
// reported.
const (
	RoutingUnset       RoutingMode = ""
	RoutingEnabled     RoutingMode = "enabled"
	RoutingSubsetsOnly RoutingMode = "subsets-only"
	RoutingObserve     RoutingMode = "observe"
	RoutingDisabled    RoutingMode = "disabled"
)

// IsWritten reports whether the mode is a valid value of the label.
func (m RoutingMode) IsWritten() bool {
	return m == RoutingEnabled || m == RoutingSubsetsOnly || m == RoutingObserve || m == RoutingDisabled
}

// DefaultPolicy says how the default version is chosen.
type DefaultPolicy string

// The policies of AnnotationDefaultVersion. DefaultLiteral means a version by name.
const (
	DefaultFirst   DefaultPolicy = "@first"
	DefaultLowest  DefaultPolicy = "@lowest"
	DefaultHighest DefaultPolicy = "@highest"
	DefaultAll     DefaultPolicy = "@all"
	DefaultLiteral DefaultPolicy = ""
)

// DriftMode says what happens to Outrigger's VirtualService after another client changed it.
type DriftMode string

// The values of AnnotationDrift.
const (
	DriftAdopt  DriftMode = "adopt"  // changed shares apply if there are no weights; other changes detach it
	DriftRevert DriftMode = "revert" // the change is reverted
	DriftDetach DriftMode = "detach" // Outrigger no longer writes it
)

// UnreadyPolicy says what happens to a default version that has had no ready pod for a while.
type UnreadyPolicy string

// The values of AnnotationUnreadyPolicy. UnreadyNext and UnreadyAll are not undone when the version is ready again.
const (
	UnreadyHold UnreadyPolicy = ""     // "hold", or unset: its route is kept
	UnreadyNext UnreadyPolicy = "next" // the next version is the default from then on
	UnreadyAll  UnreadyPolicy = "all"  // every version has its share from then on
)

// RouteIntent is what the user requests for a Service, whether on the Service or its Namespace.
type RouteIntent struct {
	// Wanted is true if Outrigger creates routes that do not exist: by LabelRouting, or else by the label for injection.
	Wanted bool
	// Disabled is true if existing objects are removed, in order.
	Disabled bool
	// SubsetsOnly is true for a DestinationRule without routes. Existing routes are removed.
	SubsetsOnly bool
	// Observe is true for a dry run: nothing is written or removed.
	Observe bool
	// VersionLabel is the pod label whose values are versions, by default "version".
	VersionLabel string
	Default      DefaultIntent
	Weights      []Weight  // as written, in the order written; empty if unset
	Match        []Match   // as written, in the order written
	Mirror       []Weight  // percent of the requests that no match claims, in the order written
	Sticky       *Sticky   // nil if each request is shared independently
	Expose       *Exposure // nil if the Service is not exposed
	// ExportTo lists the Namespaces that the Service is visible to, as in Istio's objects: "*", or names and "." for its own, sorted; nil
	// if unset.
	ExportTo []string
	// IgnoreUnversioned is true for unversioned=ignore.
	IgnoreUnversioned bool
	// DecidedAt is the time of the last shift, promote, or undo, or zero. A version of that decision applies from its first ready
	// pod after it.
	DecidedAt time.Time
	Drift     DriftMode // empty as DriftAdopt
	Deferred  bool      // eager=false: subsets and a route only when there is a second workload
	NoPolicy  bool      // inherit-policy=false: the policy of a wildcard DestinationRule is not copied
	// SubsetRetention and UnreadyAfter override the settings SubsetRetention and DefaultGoneAfter; 0 if unset.
	SubsetRetention, UnreadyAfter time.Duration
	// Unready is the policy for a default without a ready pod after UnreadyAfter.
	Unready UnreadyPolicy
	// HoldDeleted keeps the route of a default whose workload was deleted (default-deleted=hold).
	HoldDeleted bool
	// HoldScaledToZero keeps the share of a version whose workload is scaled to 0 (scaled-to-zero=hold).
	HoldScaledToZero bool
	Canary           *Canary // nil if no canary is requested
	// Texts contains the valid annotations by key, those of the Service before those of the Namespace.
	Texts map[string]string
	// Bad contains the keys of invalid annotations. They are ignored here; an existing route keeps the last valid value of the
	// key.
	Bad map[string]bool
}

// DefaultIntent is the value of default-version.
type DefaultIntent struct {
	Policy  DefaultPolicy // DefaultFirst if unset
	Version string        // for DefaultLiteral
	// OnService is true if the Service itself has the annotation. A default from the Namespace does not end an existing traffic
	// split.
	OnService bool
}

// Weight is one item of the weights annotation, or of mirror, where it is a percentage.
type Weight struct {
	Version string
	Weight  int32
}

// Sticky is the value of the annotation sticky: a caller stays on the version that it was given, with a cookie of this name and
// lifetime.
type Sticky struct {
	Cookie string        // its name
	TTL    time.Duration // whole seconds, from when the cookie is set
}

// Exposure is the value of expose and the annotations that belong to it.
type Exposure struct {
	Hosts           []string          // sorted, without duplicates; ["*"] if unset
	Gateway         string            // "namespace/name" of an existing Gateway; empty = create one
	GatewaySelector map[string]string // istio: ingressgateway
	GatewayPort     uint32            // 80, or 443 with a credential
	TLSCredential   string            // the Secret with the certificate, in the namespace of the gateway's pods; empty for plain HTTP
	HTTPSRedirect   bool              // HTTP requests on port 80 are redirected to HTTPS; only with a credential
	Path            string            // "/"
	PathRewrite     string            // replaces Path in requests to the Service; empty to leave it unchanged
	ServicePort     string            // name or number of a port of the Service; empty for its first HTTP port
	// AllowedHosts is the Namespace's list; nil if the Namespace has none.
	AllowedHosts []string
}

// RoutingSettings are the settings of routing, from the configuration file.
type RoutingSettings struct {
	Settle            time.Duration       // wait after a Service is first seen; 2s
	PropagationDelay  time.Duration       // between a DestinationRule and the VirtualService that names it; 2s
	SubsetRetention   time.Duration       // how long an unused subset stays; 60s
	SplitAge          time.Duration       // workloads older than this count as already serving; 5m
	DefaultGoneWindow time.Duration       // how long the return of a deleted default counts; 5m
	DefaultGoneAfter  time.Duration       // how long a default may have no ready pod before it is reported; 30s
	Expose            ExposeSetting       // enabled
	AllowWildcardHost bool                // true
	GatewaySelectors  []string            // labels of gateway pods that may be used, "key=value,key=value"; empty = any
	Gateways          []string            // existing Gateways that may be used, "namespace/name" or "namespace/*"; empty = any
	GatewayPorts      []string            // ports that may be used, "80" or "8000-8100"; empty = those of the gateway's Service
	ClusterDomain     string              // cluster.local
	MultiCluster      MultiClusterSetting // auto
	MaxVersions       int                 // subsets of one Service; 50; 0 = no limit
	MaxObjectBytes    int                 // of an object that is generated; 256 KiB; 0 = no limit
	Limits            RouteLimits         // of annotations; 16 KiB, 100 match items, 50 hosts
	Canary            CanarySettings
	Freeze            bool // existing routes do not change, and canaries stay at their step
}

// MultiClusterSetting says whether Services have endpoints in other clusters.
type MultiClusterSetting string

// The values of MultiClusterSetting. MultiClusterAuto looks for a network on Istio's namespace and for an east-west
// gateway.
const (
	MultiClusterAuto     MultiClusterSetting = "auto"
	MultiClusterEnabled  MultiClusterSetting = "enabled"
	MultiClusterDisabled MultiClusterSetting = "disabled"
)

// ExposeSetting says which Services can be exposed in this installation.
type ExposeSetting string

// The values of ExposeSetting. ExposeNamespaces permits exposure only where the Namespace lists allowed hosts.
const (
	ExposeEnabled    ExposeSetting = "enabled"
	ExposeNamespaces ExposeSetting = "namespaces"
	ExposeDisabled   ExposeSetting = "disabled"
)
