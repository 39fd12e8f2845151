#!/usr/bin/env bash
# From this repository to an application in the mesh, with all traffic on v1. Every command that it prints and runs is a line of
# docs/start/quickstart.md; a test compares the two. It may run again: it changes what differs.
#
#   CLUSTER        kind or k3d: create the cluster "outrigger" and use it. current: use the cluster of your kubeconfig.
#                  Default: current if KUBECONFIG is set, else kind or k3d, whichever is installed.
#   LOAD           with CLUSTER=current, a command that loads an image archive into the nodes: "sudo k3s ctr images import"
#   REGISTRY       with CLUSTER=current, a registry that you can push to and the nodes can pull from: "registry.example.com"
#   ISTIO          existing: do not install Istio; the cluster has it, with its ingress gateway. install: install it, or upgrade what
#                  is installed. Default: install it, but with CLUSTER=current stop if the cluster has an istiod
#   ISTIO_CHARTS   folder with Istio's charts base, istiod, and gateway, instead of Istio's chart repository
#   ISTIO_ARGS     more arguments of the helm commands that install Istio: "--set global.hub=registry.example.com/istio"
#   EXAMPLE_IMAGE  name of the example's image without its tag, instead of xjk27400861/springbootapp
# shellcheck disable=SC2016 # commands are printed as you would type them, and expanded when they run
set -Eeuo pipefail
cd "$(dirname "$0")/.."

# run prints a command and runs it. Helm's notes are shown only if it fails.
run() {
  local out
  printf '\n$ %s\n' "$1"
  case $1 in
    helm*) out=$(eval "$1" 2>&1) || { printf '%s\n' "$out"; return 1; }; grep STATUS <<<"$out" || true ;;
    *) eval "$1" ;;
  esac
}
fail() { printf '%s\n' "$@" >&2; exit 1; }
installed() { command -v "$1" >/dev/null; }
answers='' # whether kubectl's context is that of the chosen cluster, and it answers
failed() {
  trap - ERR
  printf '\nThe last command failed.\n'
  if [ -n "$answers" ]; then
    printf 'The latest warnings of the cluster:\n\n'
    kubectl get events -A --field-selector=type=Warning --sort-by=.lastTimestamp --request-timeout=15s | tail -n 5 || true
  fi
  printf '\nSee docs/start/quickstart.md#if-a-step-fails. If the nodes cannot pull the image of the example, set EXAMPLE_IMAGE.\n'
} >&2
trap failed ERR

installed kubectl || fail "kubectl is not installed: https://kubernetes.io/docs/tasks/tools/"
installed helm || fail "helm is not installed: https://helm.sh/docs/intro/install/"
if [ -z "${CLUSTER:-}" ]; then
  if [ -n "${KUBECONFIG:-}" ]; then CLUSTER=current
  elif installed kind; then CLUSTER=kind
  elif installed k3d; then CLUSTER=k3d
  else fail "There is no cluster to use: KUBECONFIG is not set, and neither kind nor k3d is installed." \
    "Install kind (https://kind.sigs.k8s.io) or k3d (https://k3d.io), and Docker, or name a cluster:" \
    "  make quickstart KUBECONFIG=\$HOME/.kube/config REGISTRY=registry.example.com" \
    "To try Outrigger without a cluster: make demo"
  fi
fi
case ${ISTIO:-} in
  '' | install) ;;
  existing) [ -z "${ISTIO_CHARTS:-}${ISTIO_ARGS:-}" ] || fail "ISTIO=existing installs no Istio, so ISTIO_CHARTS and ISTIO_ARGS have no effect. Remove either." ;;
  *) fail "ISTIO=$ISTIO is unknown. Use existing to keep the Istio of the cluster, or install to install or upgrade it." ;;
esac
case $CLUSTER in
  kind | k3d) [ -z "${LOAD:-}${REGISTRY:-}" ] || fail "CLUSTER=$CLUSTER loads the image into the cluster that it creates, so LOAD and REGISTRY have no effect. Remove them, or use CLUSTER=current." ;;
esac
case $CLUSTER in
  kind) installed kind || fail "CLUSTER=kind, but kind is not installed: https://kind.sigs.k8s.io" ;;
  k3d) installed k3d || fail "CLUSTER=k3d, but k3d is not installed: https://k3d.io" ;;
  current) [ -n "${LOAD:-}${REGISTRY:-}" ] || fail "The nodes need Outrigger's image. Name a registry that they can pull from, or a command that loads an archive, or create a cluster:" \
    "  make quickstart CLUSTER=current REGISTRY=registry.example.com" '  make quickstart CLUSTER=current LOAD="sudo k3s ctr images import"' "  make quickstart CLUSTER=kind" ;;
  *) fail "CLUSTER=$CLUSTER is unknown. Use kind, k3d, or current." ;;
esac
[[ ${EXAMPLE_IMAGE:-a} =~ ^[A-Za-z0-9._-]+((:[0-9]+)?(/[A-Za-z0-9._-]+)+)?$ ]] ||
  fail "EXAMPLE_IMAGE=$EXAMPLE_IMAGE is not the name of an image without its tag. Example: EXAMPLE_IMAGE=registry.example.com/springbootapp"
ISTIO_ARGS=${ISTIO_ARGS:+ $ISTIO_ARGS}

# The cluster comes first: if it does not answer, or has an Istio, nothing is built. Only the platforms of its nodes are built.
case $CLUSTER in
  kind)
    kind get clusters | grep -qx outrigger || run 'kind create cluster --name outrigger'
    run 'kubectl config use-context kind-outrigger' ;;
  k3d)
    k3d cluster get outrigger >/dev/null 2>&1 || run 'k3d cluster create outrigger'
    run 'kubectl config use-context k3d-outrigger' ;;
  current)
    run 'kubectl config current-context'
    run 'kubectl version --request-timeout=15s'
    answers=yes
    if [ -z "${ISTIO:-}" ]; then
      istiod=$(kubectl get deployments -A -l app=istiod -o 'jsonpath={range .items[*]} {.metadata.namespace}/{.metadata.name}{end}')
      [ -z "$istiod" ] || fail "The cluster has an Istio: deployment$istiod. Nothing was changed. To keep it as it is, and use it:" \
        "  make quickstart ISTIO=existing ..." "If it was installed by an earlier run of this script, or you want it upgraded:" "  make quickstart ISTIO=install ..."
    fi ;;
esac
answers=yes
run 'make build image PLATFORMS=$(kubectl get nodes -o jsonpath="{.items[*].status.nodeInfo.architecture}" | tr " " "\n" | sort -u | sed "s|^|linux/|" | paste -sd , -)'
case $CLUSTER in
  kind) run 'kind load image-archive bin/outrigger-image.tar --name outrigger' ;;
  k3d) run 'k3d image import bin/outrigger-image.tar --cluster outrigger' ;;
  current)
    [ -z "${LOAD:-}" ] || run "$LOAD bin/outrigger-image.tar"
    [ -z "${REGISTRY:-}" ] || run 'go tool -modfile=hack/tools/oci/go.mod crane push bin/image $REGISTRY/outrigger:$(sed -n "s/^appVersion: //p" charts/outrigger/Chart.yaml)' ;;
esac

# istiod leaves injection to Outrigger, so the gateway, whose pod is injected too, comes after Outrigger.
if [ "${ISTIO:-}" != existing ]; then
  [ -n "${ISTIO_CHARTS:-}" ] || run 'helm repo add istio https://istio-release.storage.googleapis.com/charts --force-update'
  run "helm upgrade --install istio-base ${ISTIO_CHARTS:-istio}/base -n istio-system --create-namespace --wait$ISTIO_ARGS"
  run "helm upgrade --install istiod ${ISTIO_CHARTS:-istio}/istiod -n istio-system --set global.operatorManageWebhooks=true --wait$ISTIO_ARGS"
fi
run "helm upgrade --install outrigger charts/outrigger -n outrigger-system --create-namespace --wait${REGISTRY:+ --set image.repository=\$REGISTRY/outrigger}"
if [ "${ISTIO:-}" != existing ]; then
  run "helm upgrade --install istio-ingressgateway ${ISTIO_CHARTS:-istio}/gateway -n istio-system --set service.type=NodePort --wait"
fi

kubectl get namespace springistiodemo >/dev/null 2>&1 || run 'kubectl create namespace springistiodemo'
run 'kubectl label namespace springistiodemo istio-injection=enabled --overwrite'
if [ -n "${EXAMPLE_IMAGE:-}" ]; then
  run 'sed "s|xjk27400861/springbootapp|$EXAMPLE_IMAGE|" examples/springbootapp/app.yaml | kubectl apply -n springistiodemo -f -'
else
  run 'kubectl apply -n springistiodemo -f examples/springbootapp/app.yaml'
fi
run 'kubectl annotate service springbootapp outrigger.dev/expose=true --overwrite -n springistiodemo'
run 'kubectl wait --for=condition=Available deployment --all -n springistiodemo --timeout=5m'

cat <<'END'

All traffic goes to v1; v2 runs and gets none until you choose it. Try it:

  kubectl port-forward -n istio-system service/istio-ingressgateway 8080:80 >/dev/null &
  curl -s --retry 5 --retry-connrefused -w '\n' http://localhost:8080/hello
  bin/outrigger status -n springistiodemo
  bin/outrigger shift springbootapp v1=90 v2=10 -n springistiodemo --wait
  for i in $(seq 20); do curl -s -w '\n' http://localhost:8080/hello; done
  bin/outrigger promote springbootapp v2 -n springistiodemo --wait
  curl -s -w '\n' http://localhost:8080/hello
  bin/outrigger undo springbootapp -n springistiodemo --wait
END
