// SPDX-License-Identifier: Apache-2.0

package api

// injectAdvice says what to change, where a Problem does not say it better for the case at hand.
var injectAdvice = map[InjectReason]string{
	InjectOptedIn:        "Nothing is to be done.",
	InjectAlwaysSelector: "Nothing is to be done; to keep the pod out, label it sidecar.istio.io/inject=false.",
	InjectPolicyEnabled:  "Nothing is to be done; to keep the pod out, label it sidecar.istio.io/inject=false.",

	InjectHostNetwork:      "Take hostNetwork out of the pod's spec, or do without a sidecar.",
	InjectIgnoredNamespace: "Create the pod in another namespace.",
	InjectWindowsPod:       "Nothing is to be done for a Windows pod; for another one change spec.os.name or the nodeSelector.",
	InjectOptedOut:         "Take sidecar.istio.io/inject off the pod's template, or write true.",
	InjectNeverSelector:    "Label the pod's template sidecar.istio.io/inject=true, or change neverInjectSelector in ConfigMap istio-sidecar-injector.",
	InjectPolicyDisabled:   "Label the pod's template sidecar.istio.io/inject=true, or set the policy in ConfigMap istio-sidecar-injector to enabled.",
	InjectPolicyInvalid:    "Write policy: enabled, or disabled, in ConfigMap istio-sidecar-injector.",
	InjectAlready:          "Nothing is to be done.",
	InjectEphemeral:        "Restart the workload: its new pods get the sidecar when they are created.",
	InjectPodExists:        "Remove all operations but CREATE from the rules of the webhook object: helm upgrade writes them.",

	InjectNoIstioConfiguration:        "Install Istio with the ConfigMaps istio and istio-sidecar-injector, or set istio.namespace and revision of Outrigger's chart to where they are.",
	InjectIstioConfigurationForbidden: "Add the revision to istio.revisions of Outrigger's chart.",
	InjectIstioConfigurationRefused:   "Mend ConfigMap istio-sidecar-injector or istio; an Event on it names the place.",
	InjectIstioConfigurationWarning:   "Fix the template, or ignore this if no pod uses it.",
	InjectInvalidAnnotation:           "Correct the annotation on the pod's template.",
	InjectUnknownTemplate:             "Name templates of Istio's configuration in inject.istio.io/templates, or take the annotation away.",
	InjectTemplateFailed:              "Change what the message names: the annotation that the template reads, or the template.",
	InjectUnsafeValue:                 "Take the character that the message names out of the value.",
	InjectInvalidResult:               "Rename or remove what the message names, in the pod's template or in Istio's.",
	InjectTooLarge:                    "Reduce what the message names, or raise the setting that it names.",

	InjectUnreadableChoice:   `Write "true" or "false", in quotes and lower case.`,
	InjectMisspelledKey:      "Write it as the message says.",
	InjectMisplacedKey:       "Move it to where the message says.",
	InjectUnknownKey:         "Correct or remove it; docs/reference/annotations.md lists all keys.",
	InjectForeignSidecar:     "Let one mesh alone inject the pod.",
	InjectRunsAsProxyUser:    "Give the container another runAsUser and runAsGroup.",
	InjectJobWillNotComplete: "Annotate the pod's template sidecar.istio.io/nativeSidecar=true.",

	InjectRequestExceedsLimit: "Raise the limit of the proxy, or lower its request.",
	InjectUnknownProbePort:    "Write the number of the port, or the name of a port of the container.",

	InjectForeignProxy: "Remove the annotation sidecar.istio.io/status and the container istio-proxy, so that the pod is injected.",

	InjectError:      "Look at Outrigger's log and its pods; the pod is created when they answer.",
	InjectPanic:      "Report it with the lines that Outrigger's log has of it.",
	InjectOverloaded: "Workloads retry. Find out what creates so many pods in the namespace.",
	InjectAbandoned:  "Workloads retry. If it happens often, see the alert OutriggerSlow.",
	InjectBadRequest: "Let nothing but the API server call the webhook, and keep the pod under the API server's own limit.",
}

// Advice says in one sentence what to change where a pod has met with this reason.
func (r InjectReason) Advice() string { return injectAdvice[r] }
