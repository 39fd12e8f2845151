{{- define "outrigger.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "outrigger.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "outrigger.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "outrigger.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of the Service for metrics, and the value of the label "job" in Prometheus. */}}
{{- define "outrigger.metricsName" -}}
{{ include "outrigger.fullname" . }}-metrics
{{- end }}

{{- define "outrigger.selectorLabels" -}}
app.kubernetes.io/name: {{ include "outrigger.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* "true" unless the condition of an umbrella chart or the user disables the chart. Values of an earlier release do not contain it. */}}
{{- define "outrigger.enabled" -}}
{{- if ne (toString .Values.enabled) "false" }}true{{ end }}
{{- end }}

{{- define "outrigger.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* The value of managed-by is Helm: the value "outrigger" marks the objects that routing creates. */}}
{{- define "outrigger.labels" -}}
{{- include "outrigger.labelsWith" (dict "root" .) }}
{{- end }}

{{/* The labels of an object with additional labels: dict "root" $ "own" (dict …). */}}
{{- define "outrigger.labelsWith" -}}
{{- $ := .root -}}
{{ include "outrigger.selectorLabels" $ }}
{{ include "outrigger.versionLabels" $ }}
{{- with merge (dict) (default dict .own) (include "outrigger.commonLabels" $ | fromYaml) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "outrigger.versionLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* commonLabels as YAML. Labels that the chart sets itself select pods or mark owned objects, so they cannot be replaced. */}}
{{- define "outrigger.commonLabels" -}}
{{- range $key := keys (default dict .Values.commonLabels) | sortAlpha }}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/component" "helm.sh/chart" "sidecar.istio.io/inject") }}
{{- fail (printf "commonLabels: the chart sets the label %s itself; remove it from commonLabels" $key) }}
{{- end }}
{{- end }}
{{- toYaml (default dict .Values.commonLabels) }}
{{- end }}

{{/* The annotations of an object, one per line, or nothing if there are none: dict "root" $ "own" (dict …). */}}
{{- define "outrigger.annotations" -}}
{{- range $key := keys (default dict .root.Values.commonAnnotations) | sortAlpha }}
{{- if hasPrefix "helm.sh/hook" $key }}
{{- fail (printf "commonAnnotations: %s would make a hook of every object; remove it" $key) }}
{{- end }}
{{- end }}
{{- with merge (dict) (default dict .own) (default dict .root.Values.commonAnnotations) }}
{{- printf "annotations:\n%s" (toYaml . | indent 2) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "outrigger.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "outrigger.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The image. A registry replaces the one at the beginning of the repository, which is recognized as container engines do. The tag is the
version without its build metadata (0.1.0-dev of 0.1.0-dev+0123456789ab), since a tag cannot contain "+". */}}
{{- define "outrigger.image" -}}
{{- $repository := .Values.image.repository }}
{{- with default .Values.image.registry (.Values.global).imageRegistry }}
{{- $parts := splitn "/" 2 $repository }}
{{- if and $parts._1 (or (contains "." $parts._0) (contains ":" $parts._0) (eq $parts._0 "localhost")) }}
{{- $repository = $parts._1 }}
{{- end }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default (.Chart.AppVersion | splitList "+" | first) .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The pull secrets of all pods as a list of objects: the global ones, and the chart's. Both may be names. */}}
{{- define "outrigger.imagePullSecrets" -}}
{{- $secrets := list }}
{{- range concat (default list (.Values.global).imagePullSecrets) (default list .Values.imagePullSecrets) }}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) }}
{{- end }}
{{- with uniq $secrets }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* The revision as a suffix of names: "" or "-REV". */}}
{{- define "outrigger.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}{{ printf "-%s" .Values.revision }}{{ end }}
{{- end }}

{{/* The default name does not depend on the release, and sorts after Istio's: the API server calls webhooks in the order of names. */}}
{{- define "outrigger.webhookName" -}}
{{- default (printf "outrigger-sidecar-injector%s" (include "outrigger.suffix" .)) .Values.webhook.name }}
{{- end }}

{{/* The port of the webhook. With hostNetwork, the kubelet uses the default port. */}}
{{- define "outrigger.webhookPort" -}}
{{- if and .Values.hostNetwork (eq (int .Values.webhook.port) 10250) }}10260{{ else }}{{ int .Values.webhook.port }}{{ end }}
{{- end }}

{{- define "outrigger.metricsPort" -}}
{{- default 8080 (.Values.containerPorts).metrics }}
{{- end }}

{{- define "outrigger.healthPort" -}}
{{- default 8081 (.Values.containerPorts).health }}
{{- end }}

{{/* Fails if the API server is too old. Development builds of Helm assume version 1.20 if they render without a cluster, so that
version is ignored. */}}
{{- define "outrigger.kubernetes" -}}
{{- $version := .Capabilities.KubeVersion.Version }}
{{- if and (semverCompare "<1.30.0-0" $version) (not (hasPrefix "v1.20." $version)) }}
{{- fail (printf "Kubernetes %s is too old: Outrigger requires 1.30 or later, for the match conditions of webhooks and ValidatingAdmissionPolicies. With \"helm template\", name the version of your cluster: --kube-version 1.30" $version) }}
{{- end }}
{{- end }}

{{/* A duration as whole seconds, rounded up: "1m30s" is 90. */}}
{{- define "outrigger.seconds" -}}
{{- $total := 0.0 }}
{{- range regexFindAll "[0-9.]+(h|ms|m|s)" . -1 }}
{{- $unit := regexReplaceAll "[0-9.]" . "" }}
{{- $total = addf $total (mulf (float64 (trimSuffix $unit .)) (get (dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001) $unit)) }}
{{- end }}
{{- ceil $total | int }}
{{- end }}

{{- define "outrigger.validatorName" -}}
outrigger-validator{{ include "outrigger.suffix" . }}
{{- end }}

{{/* The name of the policy on exposure. It is fixed, so that "outrigger check" finds the policy. */}}
{{- define "outrigger.exposurePolicyName" -}}
outrigger-exposure{{ include "outrigger.suffix" . }}
{{- end }}

{{/* The name of the policy that protects the webhook objects. */}}
{{- define "outrigger.webhookPolicyName" -}}
outrigger-webhook-objects{{ include "outrigger.suffix" . }}
{{- end }}

{{/* The expressions that exclude namespaces from every entry of both webhook objects, as a list. */}}
{{- define "outrigger.excluded" -}}
{{- list (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (concat (list (include "outrigger.namespace" .)) (default list .Values.webhook.excludedNamespaces) | uniq)) | toYaml }}
{{- end }}

{{- define "outrigger.lastGoodName" -}}
outrigger-last-good{{ include "outrigger.suffix" . }}
{{- end }}

{{/* Where the certificate comes from: selfManaged, secret or certManager. */}}
{{- define "outrigger.certificateSource" -}}
{{- if and (.Values.certManager).enabled (.Values.webhook.certificate).secretName }}
{{- fail "certManager.enabled and webhook.certificate.secretName exclude each other: the certificate comes from cert-manager, or from a Secret that is there" }}
{{- end }}
{{- if and (.Values.webhook.certificate).caBundle (not (.Values.webhook.certificate).secretName) }}
{{- fail "webhook.certificate.caBundle needs webhook.certificate.secretName: it verifies the certificate of that Secret" }}
{{- end }}
{{- if (.Values.certManager).enabled }}certManager{{ else if (.Values.webhook.certificate).secretName }}secret{{ else }}selfManaged{{ end }}
{{- end }}

{{/* The Secret of our own CA, or of the certificate. */}}
{{- define "outrigger.secretName" -}}
{{- $source := include "outrigger.certificateSource" . }}
{{- if eq $source "certManager" }}
{{- printf "%s-webhook-tls" (include "outrigger.fullname" .) }}
{{- else if eq $source "secret" }}
{{- (.Values.webhook.certificate).secretName }}
{{- else }}
{{- default (printf "%s-ca" (include "outrigger.fullname" .)) .Values.certificates.secretName }}
{{- end }}
{{- end }}

{{/* cert-manager's Certificate; empty with another source. */}}
{{- define "outrigger.certificateName" -}}
{{- if (.Values.certManager).enabled }}{{ include "outrigger.fullname" . }}-webhook{{ end }}
{{- end }}

{{/* The hosts that the certificate is for, as a list. The API server asks for the first. */}}
{{- define "outrigger.hosts" -}}
{{- compact (list (include "outrigger.urlHost" .) (printf "%s.%s.svc" (include "outrigger.fullname" .) (include "outrigger.namespace" .))) | toYaml }}
{{- end }}

{{/* The annotation that makes cert-manager's cainjector write the caBundle of a webhook object. */}}
{{- define "outrigger.injectCA" -}}
{{- if (.Values.certManager).enabled }}
cert-manager.io/inject-ca-from: {{ include "outrigger.namespace" . }}/{{ include "outrigger.certificateName" . }}
{{- end }}
{{- end }}

{{/* The Lease of who leads: who keeps the routes, or only counts pods. Empty if there is nothing to lead. */}}
{{- define "outrigger.leaseName" -}}
{{- if eq (include "outrigger.routingEnabled" .) "true" }}
{{- default "outrigger-routing" .Values.leaderElection.leaseName }}
{{- else if eq (include "outrigger.coverageEnabled" .) "true" }}
{{- printf "outrigger-coverage%s" (include "outrigger.suffix" .) }}
{{- end }}
{{- end }}

{{/* Whether pods are counted that lack their sidecar: the interval is a duration that is not zero. */}}
{{- define "outrigger.coverageEnabled" -}}
{{- regexMatch "[1-9]" (default "1m" .Values.coverage.interval) }}
{{- end }}

{{- define "outrigger.routingEnabled" -}}
{{- if kindIs "invalid" .Values.routing.enabled }}
{{- not (include "outrigger.suffix" .) }}
{{- else }}
{{- .Values.routing.enabled }}
{{- end }}
{{- end }}

{{/* The host under which the API server reaches the webhook when it does not go through the Service. */}}
{{- define "outrigger.urlHost" -}}
{{- if .Values.webhook.url }}
{{- regexReplaceAll ":[0-9]+$" (urlParse .Values.webhook.url).host "" | trimPrefix "[" | trimSuffix "]" }}
{{- end }}
{{- end }}

{{/* The configuration file of "outrigger serve": what Kubernetes objects the release consists of, and what the values say. */}}
{{- define "outrigger.config" -}}
{{- $chosen := dict "source" (include "outrigger.certificateSource" .) "secretName" (include "outrigger.secretName" .) }}
{{- with include "outrigger.certificateName" . }}
{{- $_ := set $chosen "certificateName" . }}
{{- end }}
{{- with (.Values.webhook.certificate).caBundle }}
{{- $_ := set $chosen "caBundle" . }}
{{- end }}
{{- $routing := omit .Values.routing "exposure" }}
{{- with omit (default dict .Values.routing.exposure) "requireGatewayRights" }}
{{- $_ := set $routing "exposure" . }}
{{- end }}
{{- with .Values.routing.metrics }}
{{- $_ := set $routing "metrics" (merge (omit . "secretName") (ternary (dict "credentials" "/etc/outrigger-metrics") dict (not (empty .secretName)))) }}
{{- end }}
{{- $config := dict
  "apiVersion" "config.outrigger.dev/v1alpha1"
  "kind" "Configuration"
  "istio" (merge (dict "revision" .Values.revision) (omit .Values.istio "revision" "revisions"))
  "webhook" (merge (dict "port" (include "outrigger.webhookPort" . | int)) (pick .Values.webhook "name" "minTLSVersion" "clientCA" "clientNames" "maxContainers" "maxVolumes" "warnings"))
  "certificates" (merge $chosen .Values.certificates (dict "hosts" (include "outrigger.hosts" . | fromYamlArray)))
  "routing" (merge (dict "enabled" (eq (include "outrigger.routingEnabled" .) "true")) $routing)
  "coverage" .Values.coverage
  "shutdown" .Values.shutdown
  "log" .Values.log
  "leaderElection" .Values.leaderElection
  "apiServer" .Values.apiServer
  "health" (dict "address" (printf ":%s" (include "outrigger.healthPort" .)))
  "metrics" (dict "address" (printf ":%s" (include "outrigger.metricsPort" .))) }}
{{- toYaml $config }}
{{- end }}

{{/* The checksum of the settings for which pods restart. They follow routing.freeze while they run: an incident is no time to restart. */}}
{{- define "outrigger.configChecksum" -}}
{{- $config := include "outrigger.config" . | fromYaml }}
{{- $_ := unset $config.routing "freeze" }}
{{- $config | toYaml | sha256sum }}
{{- end }}

{{- define "outrigger.systemPriority" -}}
{{- has .Values.priorityClassName (list "system-cluster-critical" "system-node-critical") }}
{{- end }}

{{- /* Pods of hooks are none of the Service's, the Deployment's or the budget's. */ -}}
{{- define "outrigger.hookLabels" -}}
app.kubernetes.io/name: {{ include "outrigger.name" . }}-hook
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "outrigger.versionLabels" . }}
{{- with include "outrigger.commonLabels" . | fromYaml }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the pod of a hook shares with those of the Deployment: dict "root" $ "account" NAME "args" (list …). */}}
{{- define "outrigger.hookPod" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: true
restartPolicy: Never
{{- with include "outrigger.imagePullSecrets" .root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
containers:
  - name: outrigger
    image: {{ include "outrigger.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      {{- toYaml .args | nindent 6 }}
    env:
      - name: POD_NAMESPACE
        valueFrom:
          fieldRef:
            apiVersion: v1
            fieldPath: metadata.namespace
      {{- with .root.Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .root.Values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .root.Values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      - name: config
        mountPath: /etc/outrigger
        readOnly: true
volumes:
  - name: config
    configMap:
      name: {{ include "outrigger.fullname" .root }}-config
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Rights of a hook are made before it, and are taken away after it, whether it went well or not. */}}
{{- define "outrigger.preDeleteRights" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: "-5"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{/* The ways of asking for a sidecar, as a list of names with the selectors of each. Selectors are AND-ed, so every way needs an
entry of its own. At most one of them matches a pod. */}}
{{- define "outrigger.entries" -}}
{{- $revision := default "default" .Values.revision }}
{{- $default := or (not (include "outrigger.suffix" .)) (has "default" (default list .Values.revisionTags)) }}
{{- $no := list (dict "key" "istio-injection" "operator" "DoesNotExist") (dict "key" "istio.io/rev" "operator" "DoesNotExist") }}
{{- $noRevision := list (dict "key" "istio.io/rev" "operator" "DoesNotExist") }}
{{- $notOut := list (dict "key" "sidecar.istio.io/inject" "operator" "NotIn" "values" (list "false")) }}
{{- $ours := list (dict "key" "istio.io/rev" "operator" "In" "values" (concat (list $revision) (default list .Values.revisionTags) | uniq)) }}
{{- $entries := list
  (dict "name" "rev.namespace" "namespace" (concat $ours (list (dict "key" "istio-injection" "operator" "DoesNotExist"))) "object" $notOut)
  (dict "name" "rev.object" "namespace" $no "object" (concat $notOut $ours)) }}
{{- if $default }}
{{- $entries = concat (list
  (dict "name" "namespace" "namespace" (list (dict "key" "istio-injection" "operator" "In" "values" (list "enabled"))) "object" $notOut)
  (dict "name" "object" "namespace" $no "object" (concat (list (dict "key" "sidecar.istio.io/inject" "operator" "In" "values" (list "true"))) $noRevision))) $entries }}
{{- if .Values.webhook.enableNamespacesByDefault }}
{{- $entries = append $entries
  (dict "name" "auto" "namespace" (append $no (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (list "kube-system" "kube-public" "kube-node-lease" "local-path-storage"))) "object" (concat (list (dict "key" "sidecar.istio.io/inject" "operator" "DoesNotExist")) $noRevision)) }}
{{- end }}
{{- end }}
{{- toYaml $entries }}
{{- end }}
